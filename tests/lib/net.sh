# Sourced by the end-to-end scripts about sockets, which run in ~/work on the test host `here'.
#
# direction forward|reverse: "${INSIDE[@]}" CMD then runs CMD under nexec, "${SLAVE[@]}" CMD natively on the host whose
# network and files that one has.
. /opt/fsyscall/src/tests/lib/e2e.sh

direction() {
  way=$1
  case $way in
  forward) SLAVE=(env) INSIDE=(nexec there) ;;
  reverse) SLAVE=(twohosts-on there) INSIDE=(nexec -r --cwd "$HOME/work" there) ;;
  esac
  "${SLAVE[@]}" sh -c 'rm -rf ~/work && mkdir ~/work'
  mkdir -p ~/work && cd ~/work
}

# until_open PORT: waits until something listens there on the slave's loopback. A server that serves one connection only
# must not be asked so.
until_open() {
  "${SLAVE[@]}" python3 - "$1" <<'P'
import socket, sys, time
end = time.monotonic() + 30
while time.monotonic() < end:
    try:
        socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.05)
P
}

# until_it COMMAND...: waits until it succeeds, 30 s at most.
until_it() {
  local n
  for n in $(seq 300); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  fail "never: $*"
}

# end_of PID...: ends what was started in the background.
end_of() {
  kill "$@" 2>/dev/null
  wait "$@" 2>/dev/null
}

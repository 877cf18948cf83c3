# Sourced by the scripts that try everyday programs; see e2e.sh.
#
# every CMD...: runs CMD natively on `there', then in each of MODES: by nexec with that host's programs (there) and with
# the caller's (here), and without a slave, with rewriting (agent) and without (trap). Each run starts in ~/work as
# `fill' made it. Output, errors, status and the tree left must be those of the native run.

. /opt/fsyscall/src/tests/lib/e2e.sh

mkdir -p ~/work
: "${MODES:=there here trap}"

# run_as MODE CMD...
run_as() {
  local mode=$1
  shift
  cd ~/work || return
  case $mode in
  native) exec twohosts-on there LC_ALL=C.UTF-8 "$@" ;;
  there) exec timeout -s KILL ${LIMIT:-60} nexec there "$@" ;;
  here) exec timeout -s KILL ${LIMIT:-60} nexec --programs=here there "$@" ;;
  agent) exec twohosts-on there LC_ALL=C.UTF-8 timeout -s KILL ${LIMIT:-60} fmaster --standalone -- "$@" ;;
  trap) exec twohosts-on there LC_ALL=C.UTF-8 timeout -s KILL ${LIMIT:-60} fmaster --standalone --no-rewrite -- "$@" ;;
  esac
}

host_of() {
  case $1 in there | here) echo here ;; *) echo there ;; esac
}

# outcome MODE CMD...: in $r/MODE.*
outcome() {
  local mode=$1 host
  shift
  host=$(host_of $mode)
  fresh $host || { echo "cannot fill ~/work"; return 1; }
  (run_as $mode "$@" <"$INPUT" >$r/$mode.out 2>$r/$mode.err)
  echo $? >$r/$mode.status
  tree_of $host >$r/$mode.tree
}

every() {
  local r=/tmp/e2e.$$ mode part bad
  mkdir -p $r
  outcome native "$@"
  for mode in $MODES; do
    cases=$((cases + 1)) bad=
    outcome $mode "$@"
    for part in status out err tree; do
      cmp -s $r/native.$part $r/$mode.$part || bad="$bad $part"
    done
    [ -z "$bad" ] && continue
    fail "$mode: $*: different:$bad"
    for part in status out err tree; do
      diff -u --label native.$part --label $mode.$part $r/native.$part $r/$mode.$part | head -${DIFF_LINES:-30} | sed 's/^/    /'
    done
  done
}

# each TEXT: bash -c TEXT in every way.
each() {
  every bash -c "$1"
}

# succeeds TEXT: as each, and the native run must have succeeded, or nothing is shown.
succeeds() {
  each "$1"
  [ "$(cat /tmp/e2e.$$/native.status)" = 0 ] || { fail "natively: $1"; cat /tmp/e2e.$$/native.err; }
}

# programs_done: the last line; nothing of any session is left.
programs_done() {
  check_that "processes are left" all_gone
  done_testing
}

# have PROGRAM...: or the script is skipped.
have() {
  local p
  for p; do
    command -v "$p" >/dev/null || skip "not installed: $p"
  done
}

# Sourced by the tests of slaves for other machines, which run them under qemu's user emulation on this one.
#
# Owns the list of what the emulator cannot do. The script ends with done_trying.

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
SIZE_MAX=1000000
failures=0

fail() {
  echo "FAIL: $*"
  failures=$((failures + 1))
}

declare -A emulator=([aarch64]=qemu-aarch64 [armv7l]=qemu-arm [riscv64]=qemu-riscv64 [s390x]=qemu-s390x)

# What the emulator (7.2) does not pass on, all of it newer than the oldest kernel that a slave may have: openat2, the
# check whether a file is being written (execveat), F_CREATED_QUERY, attributes of inodes, and the mount's number in statx.
unknown="execveat fcntl file_attr file_handles openat2"

build_slave() {
  ninja -C "$build" "fslave-$1" >"$work/log" 2>&1 || { cat "$work/log"; fail "fslave for $1 does not build"; return 1; }
  local size
  size=$(stat -c %s "$build/fslave-$1")
  echo "fslave-$1: $size bytes"
  [ "$size" -lt $SIZE_MAX ] || fail "fslave-$1 has $size bytes"
  readelf -lW "$build/fslave-$1" >"$work/log" && ! grep -q INTERP "$work/log" || fail "fslave-$1 is not static"
}

# try_slave MACHINE NAME...: these tests with that machine's fslave.
try_slave() {
  local machine=$1 test
  shift
  build_slave "$machine" || return
  TWOHOSTS_SLAVE="${emulator[$machine]} /opt/fsyscall/build/fslave-$machine" BUILD=$build \
    "$top/tests/run" -j 1 "$@" >"$work/log" 2>&1
  for test in $unknown; do
    sed -i "s,^FAIL syscalls/hosts/$test:,unknown to the emulator: $test," "$work/log"
  done
  if grep -q '^FAIL' "$work/log" || ! grep -q '^ok' "$work/log"; then
    cat "$work/log"
    fail "with the slave of $machine"
  fi
  echo "$machine: $(grep -c '^ok' "$work/log") passed, $(grep -c '^unknown to the emulator' "$work/log") unknown to the emulator"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

done_trying() {
  [ $failures = 0 ]
  exit
}

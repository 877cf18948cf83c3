# Sourced by the tests of other slaves than this machine's ordinary one: they run other tests with it.
#
# Owns the lists of what such a slave cannot do. The script ends with done_trying.

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$top/build}
SIZE_MAX=1000000
failures=0

fail() {
  echo "FAIL: $*"
  failures=$((failures + 1))
}

# try WHAT COMMAND UNKNOWN TEST...: those tests with the slave that COMMAND starts. UNKNOWN: syscalls/hosts tests that it
# must fail, since they are about nothing but what is not there; passed, they no longer belong there.
try() {
  local what=$1 command=$2 unknown=$3 test
  shift 3
  TWOHOSTS_SLAVE=$command BUILD=$build "$top/tests/run" -j 1 "$@" >"$work/log" 2>&1
  for test in $unknown; do
    sed -i "s,^FAIL syscalls/hosts/$test:,not there: $test,; s,^ok   syscalls/hosts/$test ,FAIL although not there: $test," \
      "$work/log"
  done
  if grep -q '^FAIL' "$work/log" || ! grep -q '^ok' "$work/log"; then
    cat "$work/log"
    fail "$what"
  fi
  echo "$what: $(grep -c '^ok' "$work/log") passed, $(grep -c '^not there' "$work/log") about what is not there"
}

# ---- other machines, under qemu's user emulation ----

declare -A emulator=([aarch64]=qemu-aarch64 [armv7l]=qemu-arm [riscv64]=qemu-riscv64 [s390x]=qemu-s390x)

# What the emulator (7.2) does not pass on: openat2, the check whether a file is being written (execveat), F_CREATED_QUERY,
# attributes of inodes, and the mount's number in statx.
not_emulated="execveat fcntl file_attr file_handles openat2"

build_slave() {
  ninja -C "$build" "fslave-$1" >"$work/log" 2>&1 || { cat "$work/log"; fail "fslave for $1 does not build"; return 1; }
  local size
  size=$(stat -c %s "$build/fslave-$1")
  echo "fslave-$1: $size bytes"
  [ "$size" -lt $SIZE_MAX ] || fail "fslave-$1 has $size bytes"
  readelf -lW "$build/fslave-$1" >"$work/log" && ! grep -q INTERP "$work/log" || fail "fslave-$1 is not static"
}

# try_machine MACHINE TEST...
try_machine() {
  local machine=$1
  shift
  build_slave "$machine" && try "$machine" "${emulator[$machine]} /opt/fsyscall/build/fslave-$machine" "$not_emulated" "$@"
}

# ---- an old kernel ----

# Later than Linux 3.10: copy_file_range, the check of execveat, F_CREATED_QUERY, attributes of inodes, locks of
# descriptions (and so all record locks), O_TMPFILE, openat2 and what renameat2 adds.
later="copy execveat fcntl file_attr flock_end locks locks_end locks_wait open_tmpfile openat2 rename"

# try_old TEST...
try_old() {
  try "an old kernel" "/opt/fsyscall/src/tests/lib/oldkernel.py /opt/fsyscall/fslave" "$later" "$@"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

done_trying() {
  [ $failures = 0 ]
  exit
}

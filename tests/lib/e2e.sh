# Sourced by the end-to-end scripts, which run on the test host `here'.
#
# both CMD...: runs CMD natively on `there' and by `nexec there', each in ~/work as `fill' (a shell function of the
# script, run on each host) made it; standard output, standard error, status and the tree left must be equal. Since the
# two hosts have nothing in common, what the nexec run left is on `here' only.

SRC=/opt/fsyscall/src BUILD=/opt/fsyscall/build LIB=/opt/fsyscall/src/tests/lib
failures=0 cases=0
export LC_ALL=C.UTF-8

fail() {
  echo "FAIL: $*"
  failures=$((failures + 1))
  return 1
}

# done_testing: the last line of a script. Nothing of any session may be left then, on either host.
done_testing() {
  all_gone || fail "processes of a session are left"
  [ "$failures" = 0 ] || { echo "$failures of $cases failed"; exit 1; }
  echo "$cases cases"
  exit 0
}

skip() {
  echo "$*"
  exit 77
}

fill() {
  :
}

# fresh HOST: an empty ~/work there, filled. Times are fixed, so that they may be printed.
fresh() {
  twohosts-on "$1" bash -c "chmod -R u+rwx ~/work 2>/dev/null; rm -rf ~/work; mkdir ~/work; cd ~/work
    $(declare -f fill)
    SRC=$SRC LIB=$LIB
    export LC_ALL=C.UTF-8
    fill && find . -exec touch -h -d '2020-02-02 02:02:02' {} +"
}

# tree_of HOST
tree_of() {
  twohosts-on "$1" "$LIB/tree.py" "$HOME/work"
}

: "${INPUT:=/dev/null}"

# both CMD...
both() {
  local r=/tmp/e2e.$$ native nexec bad=
  cases=$((cases + 1))
  mkdir -p $r
  fresh there && fresh here || { fail "cannot fill ~/work"; return 1; }
  (cd ~/work && exec twohosts-on there LC_ALL=C.UTF-8 "$@" <"$INPUT" >$r/native.out 2>$r/native.err)
  native=$?
  (cd ~/work && exec timeout -s KILL ${LIMIT:-60} nexec ${NEXEC_OPTIONS:-} there "$@" <"$INPUT" >$r/nexec.out 2>$r/nexec.err)
  nexec=$?
  tree_of there >$r/native.tree
  tree_of here >$r/nexec.tree
  [ $native = $nexec ] || bad="$bad status($native natively, $nexec)"
  for part in out err tree; do
    cmp -s $r/native.$part $r/nexec.$part || bad="$bad $part"
  done
  [ -z "$bad" ] && return 0
  fail "nexec there $*: different:$bad"
  for part in out err tree; do
    diff -u --label native.$part --label nexec.$part $r/native.$part $r/nexec.$part | head -${DIFF_LINES:-30} | sed 's/^/    /'
  done
  return 1
}

# script TEXT: bash -c TEXT, as in both.
script() {
  both bash -c "$1"
}

# expect WHAT WANTED GOT
expect() {
  cases=$((cases + 1))
  [ "$2" = "$3" ] || fail "$1: expected '$2', got '$3'"
}

# check_that WHAT COMMAND...: the command must succeed.
check_that() {
  local what=$1
  shift
  cases=$((cases + 1))
  "$@" || fail "$what"
}

# session_left HOST: processes of fsyscall on that host, but for nexecd itself; its own ps, since PIDs are apart.
session_left() {
  twohosts-on "$1" ps -eo pid=,comm=,args= | grep -E ' (nexec|fmaster|fslave|fsyscall-agent)|sleep 98765' | grep -v grep |
    grep -v -E 'nexecd --|twohosts'
}

# all_gone: within 3 s nothing of any session is left on either host, apart from the listening nexecd.
all_gone() {
  local n
  for n in $(seq 30); do
    [ -z "$(session_left here)$(session_left there)" ] && return 0
    sleep 0.1
  done
  session_left here | sed 's/^/    here: /'
  session_left there | sed 's/^/    there: /'
  return 1
}

# figure NAME: one of the link's.
figure() {
  twohosts-ctl stats "$1"
}

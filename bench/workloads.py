"""What bench/run measures, and what is expected of it.

Owns the table of workloads and of goals. A workload is a shell line that is run twice in one shell, `between' in between,
unmeasured; `fresh' runs natively before. $N says which of the two it is. They run in the directory that tree.py made,
$W being one of its own that is empty at the beginning. Must never print to standard output but what the marks are for.
"""

SQLITE = '''
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('create table if not exists t(a integer primary key, b text)')
for n in range(int(sys.argv[2])):
    db.execute('insert into t(b) values(?)', ('row %d' % n,))
'''
MODULES = 'import json, ssl, asyncio'


class Workload:
    def __init__(self, title, line, fresh='', between='', ways=None, sessions=False, options=(), bulk=0):
        self.title, self.line, self.fresh, self.between = title, line, fresh, between
        self.ways = ways          # only these
        self.sessions = sessions  # warm: a second session instead of a second time in one
        self.options = options    # of nexec
        self.bulk = bulk          # megabytes that move


def table(sizes):
    """{name: Workload}, in the order in which they are shown"""
    read, write = sizes['read'], sizes['write']
    copy = 'for n in 1 2; do cp -r tree $W/$n; done'
    return {
        'true': Workload('nexec there true', 'true', sessions=True, ways=('native', 'nexec', 'ssh')),
        'find': Workload('find -ls', 'find tree -ls | wc -l >/dev/null'),
        'grep': Workload('grep -r', 'grep -r qqqq tree | wc -l >/dev/null'),
        'status': Workload('git status', 'git -C repo status --porcelain | wc -l >/dev/null'),
        'make': Workload('make -j2', 'make -s -j2 -C $W/project', fresh='cp -r project $W/project',
                         between='make -s -C $W/project clean'),
        'tar': Workload('tar x', 'mkdir $W/$N && tar xf some.tar -C $W/$N'),
        'cp': Workload('cp -r', 'cp -r tree $W/$N'),
        'rm': Workload('rm -r', 'rm -r $W/$N', fresh=copy),
        'read': Workload('read %d MiB' % read, 'dd if=big of=/dev/null bs=1M status=none', bulk=read,
                         ways=('native', 'nexec', 'sshfs', 'sshfs-fast', 'tcp')),
        'write': Workload('write %d MiB' % write, 'dd if=/dev/zero of=$W/$N bs=1M count=%d conv=fsync status=none' % write,
                          bulk=write, ways=('native', 'nexec', 'sshfs', 'sshfs-fast', 'tcp')),
        'python': Workload('python3 import, programs here', "python3 -c '%s'" % MODULES, sessions=True,
                           ways=('native', 'nexec'), options=('--programs=here',)),
        'sqlite': Workload('sqlite, %d inserts' % sizes['inserts'],
                           "python3 -c \"$SQLITE\" $W/$N %d" % sizes['inserts']),
    }


class Goal:
    """value(get, rtt) -> figure; it must not be above the limit (or, `least', not below it)."""

    def __init__(self, workload, text, value, limit, rtts=None, least=False):
        self.workload, self.text, self.value, self.limit, self.rtts, self.least = workload, text, value, limit, rtts, least

    def met(self, figure):
        return figure >= self.limit if self.least else figure <= self.limit


def seconds(phase):
    return lambda get, rtt: get('nexec', phase)


def over(way, phase):
    """How many times as long as that way."""
    return lambda get, rtt: get('nexec', phase) / get(way, phase)


def gain(phase):
    """How many times as fast as sshfs, the better of both; one that ran into the limit counts with the limit."""
    return lambda get, rtt: min(get('sshfs', phase), get('sshfs-fast', phase)) / get('nexec', phase)


def goals(sizes):
    full = sizes['files'] >= 5000
    out = []
    for name in 'find', 'grep', 'status':
        limit = 2 if name == 'grep' else 1
        out.append(Goal(name, 'warm, of native', over('native', 'warm'), 1.2))
        out.append(Goal(name, 'cold, seconds', seconds('cold'), limit, rtts=(20,)))
        out.append(Goal(name, 'cold, times faster than sshfs', gain('cold'), 20, rtts=(20,), least=True))
    out.append(Goal('make', 'cold, of native', over('native', 'cold'), 1.5, rtts=(20,)))
    out.append(Goal('make', 'cold, times faster than sshfs', gain('cold'), 10, rtts=(20,), least=True))
    for name in 'tar', 'cp', 'rm':
        out.append(Goal(name, 'cold, seconds', seconds('cold'), 2, rtts=(20,)))
        out.append(Goal(name, 'cold, times faster than sshfs', gain('cold'), 20, rtts=(20,), least=True))
    for name in 'read', 'write':
        out.append(Goal(name, 'cold, speed of raw TCP', lambda get, rtt: get('tcp', 'cold') / get('nexec', 'cold'), 0.9,
                        rtts=(0,), least=True))
        out.append(Goal(name, 'cold, times faster than sshfs', gain('cold'), 1, rtts=(0,), least=True))
    out.append(Goal('true', 'seconds', seconds('cold'), 4 * 0.02 + 0.03, rtts=(20,)))
    out.append(Goal('python', 'cold, seconds', seconds('cold'), 40 * 0.02, rtts=(20,)))
    out.append(Goal('python', 'second session, seconds', seconds('warm'), 5 * 0.02, rtts=(20,)))
    out.append(Goal('sqlite', 'cold, round trips an fsync', lambda get, rtt: get('nexec', 'per fsync'), 1.1, rtts=(20,)))
    return out if full else []


# Of one call, in nanoseconds; names as bench/calls.c has them.
CALLS = {'file-stat': 1.0, 'file-access': 1.0, 'file-readlink': 1.0, 'file-open-read': 1.5}

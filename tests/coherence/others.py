"""others.py ROUNDS SEED: who else may change what a reader under nexec has looked at: another session, a hard link in another
directory, a bind mount of the tree, a mount over a directory of it, and more changes at once than a watch's queue holds. After
each the reader is asked, and must see what is there. ~/tree and ~/bound are made and mounted by the caller."""
import os
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import reader_look  # noqa: E402

ROUNDS, SEED = int(sys.argv[1]), int(sys.argv[2])
rnd = random.Random(SEED)
FILES = ['d/f%d' % i for i in range(6)]
WRITER = '''
import os, sys
for line in sys.stdin:
    act, name, text = line.split()
    try:
        if act == 'put':
            with open(name, 'w') as f: f.write(text)
        elif act == 'append':
            with open(name, 'a') as f: f.write(text)
        elif act == 'replace':
            with open('other', 'w') as f: f.write(text)
            os.rename('other', name)
        elif act == 'remove': os.remove(name)
        elif act == 'link': os.link(text, name)
        elif act == 'chmod': os.chmod(name, 0o600 if len(text) % 2 else 0o644)
        elif act == 'cut': os.truncate(name, len(text) // 2)
    except OSError: pass
    print('done', flush=True)
'''
ACTS = 'put', 'append', 'replace', 'remove', 'link', 'chmod', 'cut'


class Program:
    """One that answers each line with one."""
    def __init__(self, *argv, cwd=None):
        self.p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=cwd)

    def ask(self, line):
        self.p.stdin.write(line + '\n')
        return self.p.stdout.readline().rstrip('\n')

    def end(self):
        self.p.stdin.close()
        if self.p.wait():
            raise SystemExit('a program ended with status %d' % self.p.returncode)


def change():
    act, name = rnd.choice(ACTS), rnd.choice(FILES)
    text = rnd.choice(FILES) if act == 'link' else 'x' * rnd.choice((1, 7, 900, 5000))
    return '%s %s %s' % (act, name, text)


def check(reader, what, names):
    right = repr([reader_look.look(n) for n in names])
    seen = reader.ask(' '.join(names))
    if seen != right:
        raise SystemExit('%s, seed %d: %s\n right %s\n seen  %s' % (what, SEED, names, right[:400], seen[:400]))


def by_programs(reader):
    """Each writes in its turn; all of them are asked about by the reader."""
    python = '/usr/bin/python3', '-S', '-c', WRITER
    writers = {'another session': Program('nexec', 'there', *python),
               'a bind mount': Program(*python, cwd=os.path.expanduser('~/bound')),
               'the same session': None}
    for _ in range(ROUNDS):
        what = rnd.choice(list(writers))
        for _ in range(rnd.choice((1, 1, 5))):
            if writers[what]:
                writers[what].ask(change())
            else:
                reader.ask('!' + change())
        check(reader, what, rnd.sample(FILES, 3) + ['d'])
    for w in filter(None, writers.values()):
        w.end()


def by_links(reader):
    for i in range(ROUNDS):
        name, link = rnd.choice(FILES), 'elsewhere/l%d' % (i % 4)
        if os.path.lexists(link):
            os.remove(link)
        if not os.path.exists(name):
            open(name, 'w').close()
        check(reader, 'before', [name])
        os.link(name, link)
        check(reader, 'a second name', [name])
        with open(link, 'a') as f:
            f.write('by the link')
        check(reader, 'written by a hard link', [name, link])


def by_mounts(reader):
    for i in range(4):
        check(reader, 'not mounted', FILES + ['d'])
        subprocess.run(['twohosts-on', '--root', 'here', 'mount', '-t', 'tmpfs', '-o', 'mode=1777', 'tmpfs', os.getcwd() + '/d'],
                       check=True)
        with open('d/f1', 'w') as f:
            f.write('on the mount %d' % i)
        check(reader, 'mounted over', FILES + ['d'])
        subprocess.run(['twohosts-on', '--root', 'here', 'umount', os.getcwd() + '/d'], check=True)
        check(reader, 'uncovered', FILES + ['d'])


def children(pid):
    with open('/proc/%d/task/%d/children' % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


def slave_of(reader):
    found, names = [reader.p.pid], []
    for pid in found:
        found += children(pid)
        with open('/proc/%d/comm' % pid) as f:
            names.append(f.read().strip())
    if names.count('fslave') != 1:
        raise SystemExit('no slave, or several, among %s' % names)
    return found[names.index('fslave')]


def state(pid):
    with open('/proc/%d/stat' % pid) as f:
        return f.read().rsplit(')', 1)[1].split()[0]


def by_overflow(reader):
    """While the slave stands still: events of different names, so that the kernel does not merge them."""
    with open('/proc/sys/fs/inotify/max_queued_events') as f:
        most = int(f.read())
    check(reader, 'before the flood', FILES + ['d'])
    pid = slave_of(reader)
    os.kill(pid, signal.SIGSTOP)
    while state(reader.p.pid) != 'T':  # nexec follows its slave
        time.sleep(0.01)
    try:
        for i in range(most // 4 + 1000):
            os.rename('d/f%d' % (i % 2), 'd/moved')
            os.rename('d/moved', 'd/f%d' % (i % 2))
        with open('d/f2', 'w') as f:
            f.write('in the flood')
        os.replace('d/f3', 'd/f4')
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(reader.p.pid, signal.SIGCONT)
    check(reader, 'the queue has overflowed', FILES + ['d'])
    with open('d/f2', 'a') as f:
        f.write(' and behind it')
    check(reader, 'after it', FILES + ['d'])


def main():
    os.makedirs('d')
    os.makedirs('elsewhere')
    for name in FILES:
        with open(name, 'w') as f:
            f.write(name)
    reader = Program('nexec', 'there', '/usr/bin/python3', os.path.join(HERE, 'reader.py'), WRITER)
    by_programs(reader)
    by_links(reader)
    by_mounts(reader)
    for name in FILES:
        open(name, 'a').close()
    by_overflow(reader)
    by_programs(reader)
    reader.end()
    print('%d rounds, all as they are' % ROUNDS)


main()

#!/usr/bin/python3
"""The part of bench/run that runs on the test host `here': a result a line, as JSON, on standard output.

Owns the order of the runs, the files they work on, the sshd here and the mounts there. Ways take turns, so that a change of
the machine's speed meets all of them. Must never measure what a way needs to be set up.

    native      the program here, on the files here
    nexec       the program there, on the files here, by `nexec there'
    sshfs       the program there, on a mount there of the files here, sshfs as it comes
    sshfs-fast  the same with whatever makes sshfs faster and leaves it usable
    ssh         the program there, by plain ssh
    tcp         only the bytes, by a plain TCP connection
"""
import json
import os
import shutil
import subprocess
import sys

import tree
import workloads
from agent import link, timed

BENCH = os.path.dirname(os.path.realpath(__file__))
CALLS = '/opt/fsyscall/build/tests/calls'
HOME = os.path.expanduser('~')
FILES = HOME + '/files'
MOUNT = HOME + '/mount'
PORT = 9022
SSH = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR', '-p', str(PORT),
       '-o', 'IdentityFile=%s/key' % HOME]
FAST = ['-o', 'kernel_cache,dcache_timeout=3600,dcache_max_size=100000,entry_timeout=3600,attr_timeout=3600,'
        'negative_timeout=3600,max_conns=2,no_check_root', '-o', 'Ciphers=aes128-gcm@openssh.com',
        '-o', 'Compression=no']
USUAL = 'native', 'nexec', 'sshfs', 'sshfs-fast'
SSHD = '''Port %d
HostKey %s
AuthorizedKeysFile %s
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
'''


class Agent:
    def __init__(self, *where):
        self.p = subprocess.Popen(['twohosts-on', *where, 'python3', BENCH + '/agent.py'], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)

    def __call__(self, op, **arguments):
        self.p.stdin.write(json.dumps({'op': op, **arguments}) + '\n')
        self.p.stdin.flush()
        line = self.p.stdout.readline()
        answer = json.loads(line) if line else {'error': 'it has ended'}
        if 'error' in answer:
            raise OSError('%s: %s' % (op, answer['error']))
        return answer['answer']


class Hosts:
    def __init__(self, options, sizes):
        self.o, self.sizes = options, sizes
        self.root, self.there = Agent('--root', 'here'), Agent('there')
        self.root('memory', names=['fslave'])
        self.there('memory', names=['fmaster'])
        tree.make(FILES, sizes)
        if any(way.startswith('ssh') for way in options['ways']):
            self.start_sshd()

    def start_sshd(self):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', HOME + '/key'], check=True)
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', HOME + '/host'], check=True)
        with open(HOME + '/sshd', 'w') as f:
            f.write(SSHD % (PORT, HOME + '/host', HOME + '/key.pub'))
        with open(HOME + '/key') as f:
            key = f.read()
        self.on_there('umask 77; cat >~/key <<END\n%sEND\nmkdir -p %s' % (key, MOUNT))
        self.root('run', argv=['mkdir', '-p', '/run/sshd'], limit=9)
        self.root('start', argv=['/usr/sbin/sshd', '-D', '-f', HOME + '/sshd'])
        self.on_there('for n in $(seq 100); do ssh %s here true && exit; sleep 0.1; done; exit 1' % ' '.join(SSH))

    def on_there(self, script):
        result = self.there('run', argv=['bash', '-c', script], limit=60)
        if not result or result['status']:
            raise OSError('on there: %s' % (result and result['said']))

    def unmount(self):
        self.there('run', argv=['sh', '-c', 'mountpoint -q %s && fusermount3 -uz %s' % (MOUNT, MOUNT)], limit=20)

    def mount(self, way):
        self.unmount()
        extra = FAST if way == 'sshfs-fast' else []
        argv = ['sshfs', *SSH, '-o', 'idmap=user', *extra, 'here:' + FILES, MOUNT]
        result = self.there('run', argv=argv, limit=60)
        if not result or result['status']:
            raise OSError('%s: %s' % (way, result and result['said']))

    # ---- one run ----

    def run(self, way, words, env=None, options=()):
        if way == 'ssh':
            return self.there('run', argv=['ssh', *SSH, 'here', *words], limit=self.o['limit'])
        if way.startswith('sshfs'):
            return self.there('run', argv=words, limit=self.o['limit'], cwd=MOUNT, env=env)
        if way == 'nexec':
            added = [word for name, value in (env or {}).items() for word in ('--env', name + '=' + value)]
            words = ['nexec', *options, *added, 'there', *words]
        return timed(words, self.o['limit'], FILES, env)

    def prepare(self, w):
        shutil.rmtree(FILES + '/work', ignore_errors=True)
        os.mkdir(FILES + '/work')
        if w.fresh:
            subprocess.run(['bash', '-c', w.fresh], cwd=FILES, check=True, env={**os.environ, 'W': 'work'})

    def new_session(self, way):
        if way.startswith('sshfs'):
            self.mount(way)
        if not self.o['keep_caches']:
            self.root('drop')

    def once(self, w, way):
        """{phase: (seconds, round trips, bytes)}, or None if it took too long"""
        self.prepare(w)
        self.new_session(way)
        if way == 'tcp':
            return self.tcp(w)
        script = 'N=1; %s\n' % w.line
        if w.sessions:
            results = [self.run(way, ['bash', '-c', script] if w.line != 'true' else ['true'], options=w.options)
                       for _ in range(2)]
            return {phase: self.between(r, 0, -1) for phase, r in zip(('cold', 'warm'), results)} if all(results) else None
        script += 'echo\n%s\necho\nN=2; %s\n' % (w.between or ':', w.line)
        r = self.run(way, ['bash', '-ec', script], {'W': 'work', 'SQLITE': workloads.SQLITE}, w.options)
        return r and {'cold': self.between(r, 0, 1), 'warm': self.between(r, 2, -1)}

    def between(self, result, first, last):
        if result['status']:
            raise OSError('status %d: %s' % (result['status'], result['said']))
        a, b = result['moments'][first], result['moments'][last]
        return b[0] - a[0], b[1], b[2]

    def tcp(self, w):
        link('reset')
        size = w.bulk << 20
        if w.title.startswith('read'):
            self.there('take', port=PORT + 1, bytes=size, path='/dev/null')
            giver, host, path = self.root, 'there', FILES + '/big'
        else:
            self.root('take', port=PORT + 1, bytes=size, path=FILES + '/work/tcp')
            giver, host, path = self.there, 'here', '/dev/zero'
        return {'cold': (giver('give', host=host, port=PORT + 1, bytes=size, path=path), 1, size)}

    # ---- all of them ----

    def ways_of(self, w):
        return [way for way in w.ways or USUAL if way in self.o['ways']]

    def measure(self, name, w, rtt):
        gathered, late = {}, set()
        for _ in range(self.o['runs']):
            for way in self.ways_of(w):
                if way in late:
                    continue
                try:
                    phases = self.once(w, way)
                except OSError as e:
                    tell({'workload': name, 'rtt': rtt, 'way': way, 'failed': str(e)})
                    late.add(way)
                    continue
                if phases is None:
                    late.add(way)
                    tell({'workload': name, 'rtt': rtt, 'way': way, 'phase': 'cold', 'limit': self.o['limit']})
                    continue
                for phase, figures in phases.items():
                    gathered.setdefault((way, phase), []).append(figures)
        for (way, phase), all_runs in gathered.items():
            runs = sorted(all_runs)
            middle = runs[len(runs) // 2]
            tell({'workload': name, 'rtt': rtt, 'way': way, 'phase': phase, 'seconds': middle[0], 'trips': middle[1],
                  'bytes': middle[2], 'all': [r[0] for r in runs]})
        if name == 'sqlite' and 'nexec' in self.o['ways']:
            self.count_fsyncs(w, rtt)

    def count_fsyncs(self, w, rtt):
        """How many of them there are, from a trace; those of the trace's run take no part in the times."""
        self.prepare(w)
        trace = FILES + '/work/trace'
        result = self.run('nexec', ['bash', '-c', 'N=1; ' + w.line], {'W': 'work', 'SQLITE': workloads.SQLITE},
                          ('--trace=' + trace,))
        with open(trace, errors='replace') as f:
            count = sum('fsync(' in line or 'fdatasync(' in line for line in f)
        if result and not result['status']:
            tell({'workload': 'sqlite', 'rtt': rtt, 'fsyncs': count})

    def one_call(self, way, name, batch):
        """Nanoseconds, or None"""
        r = self.run(way, [CALLS, str(batch), name, 'small'])
        return float(r['printed'].split()[1]) if r and not r['status'] else None

    def measure_calls(self, rtt):
        """Few of a kind first, since what has to ask takes a round trip or more each."""
        for way in USUAL:
            if way not in self.o['ways']:
                continue
            self.new_session(way)
            for name in [*workloads.CALLS, 'round-trip']:
                ns = self.one_call(way, name, 2)
                if ns and ns < 50000:
                    ns = self.one_call(way, name, 2000)
                if ns:
                    tell({'call': name, 'rtt': rtt, 'way': way, 'ns': ns})

    def all(self):
        table = workloads.table(self.sizes)
        for rtt in self.o['rtt']:
            link('rtt %g' % rtt)
            for name, w in table.items():
                if not self.o['only'] or name in self.o['only']:
                    self.measure(name, w, rtt)
            if not self.o['only'] or 'calls' in self.o['only']:
                self.measure_calls(rtt)
        self.unmount()
        tell({'memory': {**self.root('peak'), **self.there('peak')}})


def tell(result):
    print(json.dumps(result), flush=True)


def main():
    options = json.loads(sys.argv[1])
    Hosts(options, tree.SIZES['quick' if options['quick'] else 'full']).all()


main()

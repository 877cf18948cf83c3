"""A terminal of the calling side with nexec on it, worked by a program; for the scripts of tests/e2e and tests/fault.

Session(WORDS...) runs `nexec WORDS...' as the leader of a session on a new pty. Every wait ends by a condition, or after
PATIENCE seconds as a failure.
"""
import errno
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

PATIENCE = 20
failures = []


def expect(what, good, seen=''):
    if not good:
        failures.append(what)
        print('FAIL: %s %s' % (what, seen))


def until(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def figure(name):
    return int(subprocess.run(['twohosts-ctl', 'stats', name], stdout=subprocess.PIPE, check=True).stdout)


def there(*command):
    return subprocess.run(['twohosts-on', 'there', *command], stdout=subprocess.PIPE).stdout.decode()


class Session:
    def __init__(self, *words, size=(40, 100), stdin=None, stdout=None, stderr=None, run=('nexec',)):
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b''
        self.p = subprocess.Popen([*run, *words], stdin=self.or_slave(stdin), stdout=self.or_slave(stdout),
                                  stderr=self.or_slave(stderr), preexec_fn=self.own)

    def or_slave(self, given):
        return self.slave if given is None else given

    def own(self):
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, rows, columns):
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def read(self, seconds=0.05):
        """What the terminal shows just now; False if nothing came."""
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            self.seen += os.read(self.master, 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            return False
        return True

    def wait_for(self, text, seconds=PATIENCE):
        end = time.monotonic() + seconds
        while text not in self.seen and time.monotonic() < end:
            self.read()
        return text in self.seen

    def send(self, data):
        os.write(self.master, data)

    def ask(self, data, answer):
        """Types data; whether the answer is shown after that."""
        self.seen = b''
        self.send(data)
        return self.wait_for(answer)

    def end(self, seconds=PATIENCE):
        """The status; what is shown until then is read."""
        end = time.monotonic() + seconds
        while self.p.poll() is None and time.monotonic() < end:
            self.read()
        while self.read(0):
            pass
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
            return 'no end'
        return self.p.returncode

    def modes(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        return not self.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def restored(self):
        return until(lambda: self.modes() == self.before, 5)


def done():
    print('%d failed' % len(failures))
    sys.exit(bool(failures))

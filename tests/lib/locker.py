"""locker.py FILE COMMAND...: locks FILE step by step, and says what came of it.

set KIND START LEN, wait KIND START LEN, get KIND START LEN; flock KIND; hold NAME (creates NAME, goes on when NAME.go
exists). KIND: r, w or u."""
import fcntl
import os
import struct
import sys
import time

KINDS = {'r': fcntl.F_RDLCK, 'w': fcntl.F_WRLCK, 'u': fcntl.F_UNLCK}
FORM = 'hhxxxxqqixxxx'


def record(fd, command, kind, start, length):
    return struct.unpack(FORM, fcntl.fcntl(fd, command, struct.pack(FORM, KINDS[kind], 0, int(start), int(length), 0)))


def hold(name):
    open(name, 'w').close()
    while not os.path.exists(name + '.go'):
        time.sleep(0.02)


def main(name, *words):
    fd = os.open(name, os.O_RDWR)
    words = list(words)
    while words:
        what = words.pop(0)
        try:
            if what == 'hold':
                hold(words.pop(0))
                continue
            if what == 'flock':
                kind = {'r': fcntl.LOCK_SH, 'w': fcntl.LOCK_EX, 'u': fcntl.LOCK_UN}[words.pop(0)]
                fcntl.flock(fd, kind | fcntl.LOCK_NB)
                print('flock', flush=True)
                continue
            arguments = [words.pop(0) for _ in range(3)]
            command = {'set': fcntl.F_SETLK, 'wait': fcntl.F_SETLKW, 'get': fcntl.F_GETLK}[what]
            found = record(fd, command, *arguments)
            print(what, *('free' if found[0] == fcntl.F_UNLCK else
                          '%d %d+%d by %d' % (found[0], found[2], found[3], found[4]) if what == 'get' else 'ok',),
                  flush=True)
        except OSError as e:
            print(what, e.strerror, flush=True)


main(*sys.argv[1:])

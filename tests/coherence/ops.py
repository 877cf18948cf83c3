"""ops.py ROUNDS SEED: operations on a few files, at random, by three processes in turn; prints what each of them returns, so that
two runs can be compared: what one has done, the next one sees."""
import mmap
import os
import random
import sys

ROUNDS, SEED = int(sys.argv[1]), int(sys.argv[2])
NAMES = ['a', 'b', 'c', 'd/a', 'd/b', 'e']
SIZES = 0, 1, 100, 4095, 4096, 5000, 65536, 70000, 200000
MODES = (os.O_RDONLY, os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_APPEND, os.O_RDWR | os.O_CREAT | os.O_EXCL,
         os.O_RDWR | os.O_TRUNC, os.O_RDONLY, os.O_RDONLY)
open_ones = {}


def digest(data):
    return '%d:%x' % (len(data), hash_of(data))


def hash_of(data):
    h = 0
    for n in range(0, len(data), max(len(data) // 997, 1)):
        h = (h * 31 + data[n] + 1) & 0xffffffff
    return h


def block(rnd):
    return bytes([rnd.randrange(1, 256)]) * rnd.choice(SIZES)


def do_open(rnd):
    slot = rnd.randrange(4)
    if slot in open_ones:
        os.close(open_ones.pop(slot))
    open_ones[slot] = os.open(rnd.choice(NAMES), rnd.choice(MODES), 0o644)
    return 'opened'


def some(rnd):
    return open_ones[rnd.choice(sorted(open_ones))]


def do_map(rnd):
    fd = some(rnd)
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE) as m:
        return digest(bytes(m))


def do_copy(rnd):
    return os.copy_file_range(some(rnd), some(rnd), rnd.choice(SIZES), rnd.choice(SIZES), rnd.choice(SIZES))


def whole(rnd):
    with open(rnd.choice(NAMES), 'rb', buffering=0) as f:
        return digest(f.read())


def look(rnd):
    s = os.stat(rnd.choice(NAMES))
    return s.st_size, s.st_nlink, oct(s.st_mode)


def look_open(rnd):
    s = os.fstat(some(rnd))
    return s.st_size, s.st_nlink


OPS = [do_open, do_open, do_open, do_map, do_copy, whole, whole, look, look, look_open,
       lambda r: digest(os.read(some(r), r.choice(SIZES))),
       lambda r: digest(os.pread(some(r), r.choice(SIZES), r.choice(SIZES))),
       lambda r: os.write(some(r), block(r)), lambda r: os.write(some(r), block(r)),
       lambda r: os.pwrite(some(r), block(r), r.choice(SIZES)),
       lambda r: os.lseek(some(r), r.choice(SIZES), r.randrange(3)),
       lambda r: os.ftruncate(some(r), r.choice(SIZES)),
       lambda r: os.truncate(r.choice(NAMES), r.choice(SIZES)),
       lambda r: os.rename(r.choice(NAMES), r.choice(NAMES)),
       lambda r: os.unlink(r.choice(NAMES)),
       lambda r: os.link(r.choice(NAMES), r.choice(NAMES)),
       lambda r: os.chmod(r.choice(NAMES), r.choice((0o644, 0o600))),
       lambda r: os.fsync(some(r)),
       lambda r: sorted(os.listdir(r.choice(('.', 'd'))))]


def one(rnd):
    op = rnd.randrange(len(OPS))
    try:
        return '%d %s' % (op, OPS[op](rnd))
    except (OSError, ValueError) as e:
        return '%d %s' % (op, getattr(e, 'errno', 'bad'))
    except IndexError:
        return '%d nothing is open' % op


def worker(r, w, seed):
    rnd = random.Random(seed)
    while os.read(r, 1):
        os.write(w, (one(rnd) + '\n').encode().ljust(200))


def main():
    os.mkdir('d')
    rnd, workers = random.Random(SEED), []
    for k in range(3):
        ask, answer = os.pipe(), os.pipe()
        if not os.fork():
            os.close(ask[1])
            for other, _ in workers:
                os.close(other)
            worker(ask[0], answer[1], SEED * 10 + k)
            os._exit(0)
        os.close(ask[0])
        workers.append((ask[1], answer[0]))
    for _ in range(ROUNDS):
        k = rnd.randrange(3)
        os.write(workers[k][0], b'!')
        print(k, os.read(workers[k][1], 200).decode().strip())
    for ask, _ in workers:
        os.close(ask)
    for _ in workers:
        os.wait()


main()

"""writer.py ROUNDS SEED: changes a tree natively, at random; after each change a reader under nexec, which has looked at
everything often, is asked what it sees. Since the question came after the change, no older answer is right."""
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import reader_look  # noqa: E402

ROUNDS, SEED = int(sys.argv[1]), int(sys.argv[2])
rnd = random.Random(SEED)
NAMES = ['a', 'b', 'c', 'd1', 'd2', 'd1/a', 'd1/b', 'd1/s', 'd2/a', 'd2/b', 'd1/s/x', 'd1/s/y', 'd2/s', 'd2/s/x']


def quietly(f, *args):
    try:
        f(*args)
    except OSError:
        pass


def write(name):
    with open(name, 'wb') as f:
        f.write(rnd.randbytes(rnd.choice((0, 1, 10, 5000, 70000))))


def append(name):
    with open(name, 'ab') as f:
        f.write(b'more')


def remove(name):
    if os.path.isdir(name) and not os.path.islink(name):
        shutil.rmtree(name)
    else:
        os.remove(name)


def change():
    name, other = rnd.choice(NAMES), rnd.choice(NAMES)
    act = rnd.randrange(13)
    if act < 3:
        quietly(write, name)
    elif act == 3:
        quietly(append, name)
    elif act == 4:
        quietly(remove, name)
    elif act == 5:
        quietly(os.rename, name, other)
    elif act == 6:
        quietly(os.mkdir, name)
    elif act == 7:
        quietly(os.symlink, other, name)
    elif act == 8:
        quietly(os.link, name, other)
    elif act == 9:
        quietly(os.chmod, name, rnd.choice((0o644, 0o600, 0o755, 0o700)))
    elif act == 10:
        quietly(os.truncate, name, rnd.choice((0, 3, 9000)))
    elif act == 11:
        quietly(os.utime, name, (rnd.randrange(10 ** 9), 7))
    else:
        quietly(os.makedirs, name)


def main():
    command = ['nexec', 'there', '/usr/bin/python3', os.path.join(os.path.dirname(os.path.realpath(__file__)), 'reader.py')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as p:
        for i in range(ROUNDS):
            change()
            asked = rnd.sample(NAMES, rnd.randrange(1, 5))
            right = repr([reader_look.look(n) for n in asked])
            p.stdin.write(' '.join(asked) + '\n')
            seen = p.stdout.readline().rstrip('\n')
            if seen != right:
                print('round %d of seed %d: %s\n right %s\n seen  %s' % (i, SEED, asked, right[:400], seen[:400]))
                return 1
        p.stdin.close()
        p.wait()
    print('%d rounds, all as they are' % ROUNDS)
    return 0


sys.exit(main())

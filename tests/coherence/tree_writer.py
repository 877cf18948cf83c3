"""tree_writer.py ROUNDS SEED: changes files of a tree natively while a reader under nexec walks it, so that what is told
ahead of the walk goes stale on its way; after each walk the reader tells all that it sees, which has to be what is there."""
import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.insert(0, HERE)
import tree_reader  # noqa: E402

ROUNDS, SEED = int(sys.argv[1]), int(sys.argv[2])
rnd = random.Random(SEED)
PLACES = ['d%d/e%d' % (i, j) for i in range(4) for j in range(3)]


def any_file():
    return os.path.join(rnd.choice(PLACES), 'f%d' % rnd.randrange(6))


def write(name, mode='wb'):
    with open(name, mode) as f:
        f.write(rnd.randbytes(rnd.choice((0, 1, 700, 5000))))


def change():
    act, name = rnd.randrange(6), any_file()
    try:
        if act < 2:
            write(name)
        elif act == 2:
            write(name, 'ab')
        elif act == 3:
            os.remove(name)
        elif act == 4:
            os.rename(name, any_file())
        else:
            os.link(name, any_file())
    except OSError:
        pass


def main():
    for place in PLACES:
        os.makedirs(place)
        for i in range(6):
            write(os.path.join(place, 'f%d' % i))
    command = ['nexec', 'there', '/usr/bin/python3', os.path.join(HERE, 'tree_reader.py')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as p:
        for i in range(ROUNDS):
            p.stdin.write('walk\n')
            for _ in range(rnd.randrange(1, 40)):
                change()
            p.stdout.readline()
            right = repr(tree_reader.seen('.'))
            p.stdin.write('tell\n')
            told = p.stdout.readline().rstrip('\n')
            if told != right:
                at = next((k for k, (a, b) in enumerate(zip(told, right)) if a != b), min(len(told), len(right)))
                print('round %d of seed %d: right %s, seen %s' % (i, SEED, right[at - 80:at + 80], told[at - 80:at + 80]))
                return 1
        p.stdin.close()
        p.wait()
    print('%d rounds, all as they are' % ROUNDS)
    return 0


sys.exit(main())

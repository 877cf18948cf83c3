"""Makes what the workloads work on; the same bytes at every run and on every machine.

Owns the shapes: a tree of text files, a git repository of it, a C project, an archive, large files. Must never use the clock or
a random number that is not seeded.
"""
import os
import random
import subprocess
import tarfile

WORDS = [''.join(random.Random(n).choices('abcdefghijklmnopqrstuvwxyz', k=3 + n % 9)) for n in range(2000)]
THEN = 1580608922
GIT = ['git', '-c', 'user.name=Bench', '-c', 'user.email=bench@example.org', '-c', 'init.defaultBranch=main',
       '-c', 'gc.auto=0']


def put(path, data):
    with open(path, 'wb') as f:
        f.write(data)
    os.utime(path, (THEN, THEN))


def text(rng, size):
    """Lines of words, about as compressible as source code."""
    lines, length = [], 0
    while length < size:
        line = ' '.join(rng.choices(WORDS, k=9)) + '\n'
        lines.append(line)
        length += len(line)
    return ''.join(lines)[:size].encode()


def directories(top, count):
    """Three levels: some hold directories only a level down, as projects do."""
    made = []
    for n in range(count):
        parent = top if n < 10 else made[(n - 10) // 6]
        made.append('%s/dir%03d' % (parent, n))
        os.mkdir(made[-1])
    return made


def tree(top, files, dirs, total):
    """`files' files in `dirs' directories, `total' bytes; most are small, a few have hundreds of kilobytes."""
    rng = random.Random(5)
    os.mkdir(top)
    places = directories(top, dirs)
    sizes = [min(rng.lognormvariate(8, 1.2), 300000) for _ in range(files)]
    scale = total / sum(sizes)
    for n, size in enumerate(sizes):
        put('%s/file%04d.txt' % (places[n % dirs], n), text(rng, int(size * scale)))


def repository(top, source):
    subprocess.run(['cp', '-a', source, top], check=True)
    env = {**os.environ, 'GIT_AUTHOR_DATE': '%d +0000' % THEN, 'GIT_COMMITTER_DATE': '%d +0000' % THEN}
    for words in ['init', '-q'], ['add', '.'], ['commit', '-qm', 'All of it'], ['repack', '-adq']:
        subprocess.run(GIT + words, cwd=top, env=env, check=True)


def project(top, sources, headers):
    """Every source includes a dozen of the headers, which lie in three directories of the search path."""
    rng = random.Random(7)
    for part in '', '/src', '/include', '/include/base', '/include/more':
        os.mkdir(top + part)
    names = ['%s/h%03d.h' % (('include', 'include/base', 'include/more')[n % 3], n) for n in range(headers)]
    for n, name in enumerate(names):
        lines = ['#ifndef H%03d\n#define H%03d\n' % (n, n)]
        lines += ['#include "h%03d.h"\n' % (n + k) for k in (7, 31) if n + k < headers]
        lines += ['struct s%03d_%d { int a, b; const char *name; };\nint f%03d_%d(struct s%03d_%d *s, int n);\n'
                  % (n, k, n, k, n, k) for k in range(12)]
        put('%s/%s' % (top, name), ''.join(lines + ['#endif\n']).encode())
    for n in range(sources):
        used = sorted(rng.sample(range(headers), 12))
        lines = ['#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n']
        lines += ['#include "h%03d.h"\n' % k for k in used]
        lines += ['int g%d_%d(struct s%03d_0 *s) { return s ? s->a * %d + (int)strlen(s->name) : atoi("%d"); }\n'
                  % (n, k, used[k % 12], k, k) for k in range(20)]
        put('%s/src/s%02d.c' % (top, n), ''.join(lines).encode())
    put(top + '/src/main.c', b'int main(void) { return 0; }\n')
    put(top + '/Makefile', b'CFLAGS = -O1 -Iinclude -Iinclude/base -Iinclude/more\n'
        b'OBJECTS = $(patsubst %.c,%.o,$(wildcard src/*.c))\n'
        b'prog: $(OBJECTS)\n\t$(CC) -o $@ $^\nclean:\n\trm -f prog src/*.o\n')


def archive(path, files):
    rng = random.Random(11)
    plain = path + '.d'
    os.mkdir(plain)
    for n, place in enumerate(places := directories(plain, max(files // 20, 10))):
        for k in range(files // len(places)):
            put('%s/f%02d' % (place, k), text(rng, rng.randint(100, 12000)))
    with tarfile.open(path, 'w') as t:
        for root, dirs, names in os.walk(plain):
            dirs.sort()
            for name in sorted(dirs + names):
                full = os.path.join(root, name)
                t.add(full, os.path.relpath(full, plain), recursive=False)


def noise(path, megabytes):
    """Not compressible."""
    rng = random.Random(13)
    block = rng.randbytes(1 << 20)
    with open(path, 'wb') as f:
        for n in range(megabytes):
            f.write(block[n % 4096:] + block[:n % 4096])


def make(top, sizes):
    """Everything, under `top'. `sizes': a row of SIZES."""
    os.makedirs(top)
    tree(top + '/tree', sizes['files'], sizes['dirs'], sizes['bytes'])
    repository(top + '/repo', top + '/tree')
    project(top + '/project', sizes['sources'], sizes['headers'])
    archive(top + '/some.tar', sizes['unpacked'])
    noise(top + '/big', sizes['read'])
    put(top + '/small', text(random.Random(17), 4096))
    os.symlink('small', top + '/link')


SIZES = {
    'full': {'files': 5000, 'dirs': 250, 'bytes': 40 << 20, 'sources': 60, 'headers': 300, 'unpacked': 2000,
             'read': 1024, 'write': 512, 'inserts': 1000},
    'quick': {'files': 500, 'dirs': 25, 'bytes': 4 << 20, 'sources': 8, 'headers': 40, 'unpacked': 200,
              'read': 128, 'write': 64, 'inserts': 50},
}

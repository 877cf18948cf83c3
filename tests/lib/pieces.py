"""Reads one large file by pieces while somebody else changes it: each line on standard input says that byte N is now V,
and what is read from then on must say so too. Prints how many rounds were true."""
import os
import sys

PIECE = 4096
fd = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
rounds = 0
for line in sys.stdin:
    at, value = map(int, line.split())
    start = at // PIECE * PIECE
    if os.pread(fd, PIECE, start)[at - start] != value:
        sys.exit('byte %d is not %d after it was said to be' % (at, value))
    # In order from there on, so that more than was asked for is here when the next line comes.
    for n in range(1, 1 + at % 5):
        os.pread(fd, PIECE, start + n * PIECE)
    rounds += 1
    print(rounds, flush=True)

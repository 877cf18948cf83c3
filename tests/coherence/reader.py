"""Under nexec: tells what it sees of the names it is asked for, a line a question. A line that begins with `!' is for a child,
a program that is its argument: it answers with a line."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import reader_look  # noqa: E402

child = None
for line in sys.stdin:
    if line.startswith('!'):
        child = child or subprocess.Popen([sys.executable, '-S', '-c', sys.argv[1]], stdin=subprocess.PIPE,
                                          stdout=subprocess.PIPE, text=True, bufsize=1)
        child.stdin.write(line[1:])
        print(child.stdout.readline(), end='', flush=True)
    else:
        print(repr([reader_look.look(n) for n in line.split()]), flush=True)
if child:
    child.stdin.close()
    child.wait()

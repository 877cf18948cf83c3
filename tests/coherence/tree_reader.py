"""Under nexec: walks a tree, and tells what it has seen if it is asked to."""
import os
import sys


def seen(root):
    found = []
    for place, dirs, files in os.walk(root):
        dirs.sort()
        for name in sorted(files):
            try:
                with open(os.path.join(place, name), 'rb', buffering=0) as f:
                    found.append((place, name, f.read(300000)))
            except OSError as e:
                found.append((place, name, e.errno))
    return found


if __name__ == '__main__':
    for line in sys.stdin:
        now = seen('.')
        print(repr(now) if line == 'tell\n' else 'walked', flush=True)

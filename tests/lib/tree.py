#!/usr/bin/python3
"""tree.py DIR: what lies under DIR, a line each: type, mode, links, size, a hash of the contents or the target, name.

No times, no owners, no inode numbers, so that two runs of one command can be compared; files that are one (hard links)
are shown to be one; extended attributes are shown where there are any."""
import hashlib
import os
import stat
import sys

KINDS = {stat.S_IFREG: 'file', stat.S_IFDIR: 'dir', stat.S_IFLNK: 'link', stat.S_IFIFO: 'fifo', stat.S_IFSOCK: 'sock',
         stat.S_IFCHR: 'chr', stat.S_IFBLK: 'blk'}


def contents(path, st):
    if stat.S_ISLNK(st.st_mode):
        return '-> ' + os.readlink(path)
    if not stat.S_ISREG(st.st_mode):
        return '-'
    digest = hashlib.sha256()
    try:
        with open(path, 'rb') as f:
            while block := f.read(1 << 20):
                digest.update(block)
    except PermissionError:
        return 'unreadable'
    return digest.hexdigest()[:16]


def attributes(path, kind):
    names = os.listxattr(path) if kind in ('file', 'dir') else []
    return ''.join(' %s=%s' % (n, os.getxattr(path, n).hex()) for n in sorted(names) if n.startswith('user.'))


def snapshot(top):
    names, first, lines = [], {}, []
    for directory, dirs, files in os.walk(top):
        names += [os.path.relpath(os.path.join(directory, n), top) for n in dirs + files]
    for name in sorted(names):
        path = os.path.join(top, name)
        st = os.lstat(path)
        kind = KINDS[stat.S_IFMT(st.st_mode)]
        size = st.st_size if kind in ('file', 'link') else '-'
        links = st.st_nlink if kind != 'dir' else '-'
        same = first.setdefault(st.st_ino, name) if kind == 'file' else name
        lines.append('%-4s %04o %s %s %s %s%s%s' % (kind, st.st_mode & 0o7777, links, size, contents(path, st), name,
                                                    '' if same == name else ' = ' + same, attributes(path, kind)))
    return lines


if __name__ == '__main__':
    print('\n'.join(snapshot(sys.argv[1])))

#!/usr/bin/python3
"""oldkernel.py COMMAND...: runs COMMAND as on Linux 3.10: every later system call is ENOSYS (x86-64 numbers them in order),
and what later kernels have added to older calls answers as it did then.
"""
import ctypes
import os
import struct
import sys

FIRST_LATER = 314  # sched_setattr, 3.14; 313, finit_module, came with 3.8
LOAD, JEQ, JSET, JGE, RET = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, ERRNO = 0x7fff0000, 0x00050000
ENOSYS, EISDIR, EINVAL, ENOTTY = 38, 21, 22, 25
X86_64 = 0xc000003e
TMPFILE, EMPTY_PATH = 0o20000000, 0x1000
OPEN, IOCTL, FCNTL, OPENAT, UTIMENSAT = 2, 16, 72, 257, 280
# call, argument, whether a bit or the value, which, what it is
ADDED = [
    (OPEN, 1, JSET, TMPFILE, EISDIR), (OPENAT, 2, JSET, TMPFILE, EISDIR),  # 3.11; before, a directory opened to be written
    (UTIMENSAT, 3, JSET, EMPTY_PATH, EINVAL),                              # 5.8
    (IOCTL, 1, JEQ, 0x801c581f, ENOTTY), (IOCTL, 1, JEQ, 0x401c5820, ENOTTY),  # FS_IOC_FS?ETXATTR, 4.5
]
ADDED += [(FCNTL, 1, JEQ, command, EINVAL) for command in (36, 37, 38, 1028)]  # F_OFD_*, 3.15; F_CREATED_QUERY, 6.12


def program():
    code = [(LOAD, 0, 0, 4), (JEQ, 1, 0, X86_64), (RET, 0, 0, ERRNO | ENOSYS), (LOAD, 0, 0, 0),
            (JGE, 0, 1, FIRST_LATER), (RET, 0, 0, ERRNO | ENOSYS)]
    for nr, argument, how, value, err in ADDED:
        code += [(LOAD, 0, 0, 0), (JEQ, 0, 3, nr), (LOAD, 0, 0, 16 + 8 * argument), (how, 0, 1, value),
                 (RET, 0, 0, ERRNO | err)]
    return code + [(RET, 0, 0, ALLOW)]


def apply(code):
    libc = ctypes.CDLL(None, use_errno=True)
    data = b''.join(struct.pack('HBBI', *c) for c in code)
    room = ctypes.create_string_buffer(data)
    prog = struct.pack('HxxxxxxQ', len(code), ctypes.addressof(room))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, prog, 0, 0):
        sys.exit('no filter: ' + os.strerror(ctypes.get_errno()))


apply(program())
os.execvp(sys.argv[1], sys.argv[1:])

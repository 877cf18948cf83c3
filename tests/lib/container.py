#!/usr/bin/python3
"""container.py COMMAND...: runs COMMAND under the system call filter that Docker gives containers by default, for one
without capabilities: what its profile does not list is EPERM, clone3 is ENOSYS, clone makes no namespaces.
"""
import ctypes
import os
import re
import struct
import subprocess
import sys

# Not in the profile's list, or only with a capability that containers do not have.
DENIED = '''
  acct add_key afs_syscall bpf clock_adjtime clock_settime create_module delete_module fanotify_init finit_module fsconfig
  fsmount fsopen fspick get_kernel_syms get_mempolicy getpmsg init_module io_uring_enter io_uring_register io_uring_setup
  ioperm iopl kcmp kexec_file_load kexec_load keyctl listmount lookup_dcookie mbind migrate_pages mount mount_setattr
  move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree perf_event_open pivot_root
  process_madvise putpmsg query_module quotactl quotactl_fd reboot request_key security set_mempolicy
  set_mempolicy_home_node setdomainname sethostname setns settimeofday statmount swapoff swapon sysfs syslog tuxcall
  umount2 unshare uselib userfaultfd ustat vhangup vserver _sysctl
'''.split()
PERSONALITIES = 0, 8, 0x20000, 0x20008, 0xffffffff
NAMESPACES = 0x7e020000

LOAD, JEQ, JSET, JGE, RET = 0x20, 0x15, 0x45, 0x35, 0x06
ALLOW, ERRNO = 0x7fff0000, 0x00050000
EPERM, ENOSYS = 1, 38
X86_64 = 0xc000003e


def numbers():
    text = subprocess.run(['cc', '-E', '-dM', '-include', 'asm/unistd.h', '-x', 'c', '/dev/null'],
                          stdout=subprocess.PIPE, check=True, text=True).stdout
    return {name: int(nr) for name, nr in re.findall(r'^#define __NR_(\w+) (\d+)$', text, re.M)}


def program():
    nr = numbers()
    code = [(LOAD, 0, 0, 4), (JEQ, 1, 0, X86_64), (RET, 0, 0, ERRNO | EPERM), (LOAD, 0, 0, 0)]
    for name in DENIED:
        if name in nr:
            code += [(JEQ, 0, 1, nr[name]), (RET, 0, 0, ERRNO | EPERM)]
    code += [(JEQ, 0, 1, nr['clone3']), (RET, 0, 0, ERRNO | ENOSYS)]
    code += [(JEQ, 0, 4, nr['clone']), (LOAD, 0, 0, 16), (JSET, 0, 1, NAMESPACES), (RET, 0, 0, ERRNO | EPERM),
             (RET, 0, 0, ALLOW)]
    code += [(JEQ, 0, 3 + len(PERSONALITIES), nr['personality']), (LOAD, 0, 0, 16)]
    for i, p in enumerate(PERSONALITIES):
        code.append((JEQ, len(PERSONALITIES) - i, 0, p))
    code += [(RET, 0, 0, ERRNO | EPERM), (RET, 0, 0, ALLOW)]
    code += [(JGE, 0, 1, max(nr.values()) + 1), (RET, 0, 0, ERRNO | ENOSYS), (RET, 0, 0, ALLOW)]
    return code


def apply(code):
    libc = ctypes.CDLL(None, use_errno=True)
    data = b''.join(struct.pack('HBBI', *c) for c in code)
    room = ctypes.create_string_buffer(data)
    prog = struct.pack('HxxxxxxQ', len(code), ctypes.addressof(room))
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, prog, 0, 0):
        sys.exit('no filter: ' + os.strerror(ctypes.get_errno()))


apply(program())
os.execvp(sys.argv[1], sys.argv[1:])

"""What can be seen of a name: attributes, and text, contents or names."""
import os
import stat


def look(name):
    try:
        s = os.lstat(name)
    except OSError as e:
        return [e.errno]
    seen = [s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_uid]
    if stat.S_ISLNK(s.st_mode):
        seen.append(os.readlink(name))
    elif stat.S_ISREG(s.st_mode):
        try:
            with open(name, 'rb', buffering=0) as f:
                seen.append(f.read(300000))
        except OSError as e:
            seen.append(e.errno)
    else:
        seen.append(sorted(os.listdir(name)))
    return seen + [os.access(name, os.R_OK), os.access(name, os.F_OK)]

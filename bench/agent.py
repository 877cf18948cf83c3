#!/usr/bin/python3
"""One of these on each test host does what bench/run wants there: a line of JSON in, a line out.

Owns the processes it starts, until they end. The pipes to it do not pass the link. Must never print anything else.
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

PIECE = 1 << 20
peak = {}


def link(words):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect('/run/twohosts/link')
    s.send(words.encode())
    answer = s.recv(4096).decode()
    s.close()
    return answer


def moment():
    """The time and the link's figures now."""
    figures = dict(line.split() for line in link('stats').splitlines())
    return [time.monotonic(), int(figures['roundtrips']), int(figures['here_payload']) + int(figures['there_payload'])]


def timed(argv, limit, cwd=None, env=None):
    """Runs it: a moment at the beginning, at each line that it prints and at its end, its status and what it said. None: it
    took longer. The link's counters begin anew at each line."""
    link('reset')
    moments = [moment()]
    p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         cwd=cwd, env={**os.environ, **(env or {})}, start_new_session=True)
    end, said, open_ones = time.monotonic() + limit, {p.stdout: b'', p.stderr: b''}, [p.stdout, p.stderr]
    while open_ones:
        ready, _, _ = select.select(open_ones, [], [], max(end - time.monotonic(), 0))
        if not ready:
            return give_up(p)
        for f in ready:
            data = os.read(f.fileno(), 65536)
            if not data:
                open_ones.remove(f)
            if f is p.stdout:
                moments += [moment()] * data.count(b'\n')
                if data.count(b'\n'):
                    link('reset')
            said[f] += data
    p.wait()
    moments.append(moment())
    return {'moments': moments, 'status': p.returncode, 'said': said[p.stderr].decode(errors='replace')[-500:],
            'printed': said[p.stdout].decode(errors='replace')[-500:]}


def give_up(p):
    for number in signal.SIGTERM, signal.SIGKILL:
        try:
            os.killpg(p.pid, number)
        except ProcessLookupError:
            pass
        try:
            p.wait(3)
        except subprocess.TimeoutExpired:
            pass
    return None


def op_run(argv, limit, cwd=None, env=None):
    return timed(argv, limit, cwd, env)


def op_start(argv):
    """What goes on in the background, to the end of the hosts."""
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=2).pid


def op_drop():
    """Pages, names and inodes that the kernel remembers; of both hosts, since it is one kernel."""
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('3')
    return True


# ---- memory of the session's two processes ----

def watch_memory(names):
    while True:
        for pid in filter(str.isdigit, os.listdir('/proc')):
            try:
                with open('/proc/%s/status' % pid) as f:
                    status = dict(line.split(':', 1) for line in f)
                name = status['Name'].strip()
                if name in names and 'VmHWM' in status:
                    peak[name] = max(peak.get(name, 0), int(status['VmHWM'].split()[0]))
            except (OSError, ValueError, KeyError):
                pass
        time.sleep(0.2)


def op_memory(names):
    threading.Thread(target=watch_memory, args=(names,), daemon=True).start()
    return True


def op_peak():
    return peak


# ---- a raw TCP copy ----

def op_take(port, bytes, path):
    """Listens in the background for one connection; what comes on it goes to `path', and a byte goes back at the end."""
    listener = socket.create_server(('', port))

    def take():
        s, _ = listener.accept()
        listener.close()
        buffer, left = bytearray(PIECE), bytes
        with open(path, 'wb', buffering=0) as f:
            while left and (n := s.recv_into(buffer)):
                f.write(memoryview(buffer)[:n])
                left -= n
            if path != '/dev/null':
                os.fsync(f.fileno())
        s.sendall(b'!')
        s.close()
    threading.Thread(target=take, daemon=True).start()
    return True


def op_give(host, port, bytes, path):
    """Sends so many bytes of a file (or zeros) and waits for the end: seconds."""
    start = time.monotonic()
    with socket.create_connection((host, port)) as s, open(path, 'rb', buffering=0) as f:
        left, buffer = bytes, bytearray(PIECE)
        while left:
            if path == '/dev/zero':
                n = s.send(memoryview(buffer)[:left])
            else:
                n = os.sendfile(s.fileno(), f.fileno(), None, min(left, PIECE))
            left -= n
        s.recv(1)
    return time.monotonic() - start


OPS = {'run': op_run, 'start': op_start, 'drop': op_drop, 'memory': op_memory, 'peak': op_peak, 'take': op_take,
       'give': op_give}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        op = OPS[request.pop('op')]
        try:
            answer = {'answer': op(**request)}
        except (OSError, subprocess.SubprocessError) as e:
            answer = {'error': str(e)}
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()

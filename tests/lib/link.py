#!/usr/bin/python3
"""Measures the link with TCP of its own: link.py serve PORT | rtt HOST PORT N | push HOST PORT BYTES.

serve: echoes one byte for `p', swallows what follows `b' and answers its end; for ever, one connection at a time.
rtt: N times one byte there and back; prints the median in milliseconds. push: prints the rate in Mbit/s."""
import socket
import statistics
import sys
import time


def serve(port):
    listener = socket.create_server(('', port))
    while True:
        conn, _ = listener.accept()
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kind = conn.recv(1)
        while kind == b'p' and conn.recv(1):
            conn.sendall(b'x')
        while kind == b'b' and conn.recv(1 << 20):
            pass
        if kind == b'b':
            conn.sendall(b'e')
        conn.close()


def connect(host, port):
    for _ in range(100):
        try:
            s = socket.create_connection((host, port), 5)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return s
        except ConnectionRefusedError:
            time.sleep(0.02)
    sys.exit('nobody listens')


def rtt(host, port, n):
    s, times = connect(host, port), []
    s.sendall(b'p')
    for _ in range(n):
        start = time.monotonic()
        s.sendall(b'x')
        s.recv(1)
        times.append(time.monotonic() - start)
    print('%.3f' % (statistics.median(times) * 1000))


def push(host, port, amount):
    s = connect(host, port)
    s.sendall(b'b')
    start, block = time.monotonic(), bytes(1 << 16)
    for _ in range(amount >> 16):
        s.sendall(block)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
    print('%.1f' % (amount * 8 / 1e6 / (time.monotonic() - start)))


command, arguments = sys.argv[1], sys.argv[2:]
if command == 'serve':
    serve(int(arguments[0]))
{'rtt': rtt, 'push': push}[command](arguments[0], int(arguments[1]), int(arguments[2]))

#!/usr/bin/python3
"""Stands between nexec and nexecd: between.py PORT FILE [FLIP]. Prints `ready', serves one connection on 127.0.0.1:PORT and hands it on
to there:57005; what passes in either direction is kept in FILE. FLIP: the byte of the answers, counted from 0, of which
one bit is turned over."""
import os
import select
import socket
import sys

port, name = int(sys.argv[1]), sys.argv[2]
flip = int(sys.argv[3]) if len(sys.argv) > 3 else None
listener = socket.create_server(('127.0.0.1', port))
print('ready', flush=True)
near, _ = listener.accept()
far = socket.create_connection(('there', 57005))
other = {near: far, far: near}
passed = 0
with open(name, 'wb') as kept:
    while other:
        for s in select.select(list(other), [], [])[0]:
            try:
                data = bytearray(s.recv(65536))
            except OSError:
                data = b''
            if s is far and flip is not None and passed <= flip < passed + len(data):
                data[flip - passed] ^= 1
            passed += len(data) if s is far else 0
            try:
                if data:
                    kept.write(data)
                    other[s].sendall(data)
                    continue
                other[s].shutdown(socket.SHUT_WR)
            except OSError:
                pass
            del other[s]

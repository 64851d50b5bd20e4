"""A stranger that begins TLS handshakes as fast as it can, and ends none.

`python shaker.py PORT COUNT`
"""

from __future__ import annotations

import socket
import ssl
import sys


def main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for _ in range(count // 50):
        sockets = []
        for _ in range(50):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            try:
                context.wrap_bio(incoming, outgoing).do_handshake()
            except ssl.SSLWantReadError:
                pass
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sock.sendall(outgoing.read())
            sockets.append(sock)
        for sock in sockets:
            with sock:
                try:
                    sock.recv(1)  # The door has done its part.
                except ConnectionResetError:
                    pass  # It lost its patience.


if __name__ == "__main__":
    main()

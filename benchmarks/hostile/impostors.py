"""Servers that are none, which an honest client meets at the address of a master."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gfs_ha.config import Config, MasterAddress
from gfs_ha.errors import GfsError
from gfs_ha.net.entry import enter_as_person
from gfs_ha.net.leader import LeaderLink
from gfs_ha.pki.names import PeerName, Role
from hostile.attack import OTHER_CLUSTER, Row
from hostile.loot import RUNTIME
from hostile.people import People

_HOST = "127.0.0.1"
_WAIT_S = 10.0
_TRIES = 5  # On a busy machine a dial may end before the reason is heard.
_BELIEVED = "it was believed"


def meet(config: Config, people: People, other: People) -> Iterator[Row]:
    """Have a client dial each of them; yield what it made of them."""
    then = datetime.now(UTC) - timedelta(days=60)
    shown = {
        "wrong host name": (people.enrol(Role.MASTER, "m7", ["other.example"]), "not good"),
        "wrong role: a client": (people.enrol(Role.CLIENT, "mallory"), "not good"),
        "wrong role: a chunkserver": (
            people.enrol(Role.CHUNKSERVER, "cs8", [_HOST]),
            "must be that of a master",
        ),
        "expired": (people.enrol(Role.MASTER, "m8", now=then, days=30), "expired"),
        "another authority": (other.enrol(Role.MASTER, "m1"), "not good"),
        "another cluster": (
            people.forge(PeerName(OTHER_CLUSTER, Role.MASTER, "m2")),
            "is for cluster 'cluster-2'",
        ),
        "no TLS": (None, "TLS"),
    }
    for name, (directory, reason) in shown.items():
        with _server(directory) as (port, heard):
            for _ in range(_TRIES):
                said = _dial(config, port)
                if reason in said or said == _BELIEVED:
                    break
        row = Row(name, "a server in a master's place", "client", 1, said, "", (0, 0), (0, 0), 0.0)
        row.told = "the client says why"
        if reason not in said:
            row.wrong.append(f"it does not say {reason!r}")
        if any(b"hello" in one or config.cluster.id.encode() in one for one in heard):
            row.wrong.append("it was told the first words")
        yield row


def _dial(config: Config, port: int) -> str:
    entry = enter_as_person(config, "honest", RUNTIME)
    masters = (MasterAddress("m1", _HOST, port, 1),)
    link = LeaderLink(masters, entry.network, entry.hello, RUNTIME)
    try:
        (answer,) = link.facts(_WAIT_S).values()
    finally:
        link.close()
    return answer.message if isinstance(answer, GfsError) else _BELIEVED


@contextmanager
def _server(directory: Path | None) -> Iterator[tuple[int, list[bytes]]]:
    """Listen with a certificate, or without TLS; yield the port, and what comes in."""
    context = None
    if directory is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    listener = socket.create_server((_HOST, 0))
    listener.settimeout(_WAIT_S)
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.settimeout(_WAIT_S)
            with sock:
                try:
                    if context is None:
                        sock.recv(65_536)
                        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        continue
                    with context.wrap_socket(sock, server_side=True) as secured:
                        heard.append(secured.recv(65_536))
                except OSError:
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(_WAIT_S)

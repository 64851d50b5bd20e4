"""Real processes killed and stopped amid a push, and what their disks hold afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from chunk_house import BIRTH, BOOT_ID, CHUNK, client_room, identity
from replica_house import noise

from gfs_ha.chunk.disk import PosixDisk, opened
from gfs_ha.chunk.slots.format import DATA_OFFSET
from gfs_ha.chunk.slots.store import ChunkStore
from gfs_ha.client.data_room import DataRoom
from gfs_ha.client.push import Push, PushResult, PushTarget
from gfs_ha.errors import UnknownReplica
from gfs_ha.ids import LogIndex, ServerId
from gfs_ha.limits import MIB
from gfs_ha.protocol.data import Durability, Hop
from gfs_ha.runtime import ThreadedRuntime

pytestmark = pytest.mark.processes

PROGRAM = Path(__file__).with_name("data_port_program.py")
FIRST = noise(700_000, 1)
SECOND = noise(3 * MIB, 2)


class Server:
    def __init__(self, directory: Path, server_id: int) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), str(server_id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._server_id = ServerId(server_id)
        self._port = 0

    @property
    def hop(self) -> Hop:
        if not self._port:
            assert self.process.stdout is not None
            self._port = int(self.process.stdout.readline())
        return Hop(self._server_id, "127.0.0.1", self._port)

    def fence(self, order_index: int) -> str:
        """Return the end, or the code of the error."""
        assert self.hop and self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(b"%d\n" % order_index)
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60.0)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        made = []
        for number in (1, 2, 3):
            server = Server(tmp_path / f"cs{number}", number)
            stack.callback(server.close)
            made.append(server)
        yield made


@pytest.fixture
def room() -> Iterator[DataRoom]:
    with client_room() as made:
        yield made


def push_twice(room: DataRoom, servers: list[Server], hit: signal.Signals, at: int) -> PushResult:
    """Push FIRST whole, then SECOND with one server hit in the middle of it."""
    chain = tuple(server.hop for server in servers)
    where = PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.DISK, chain)
    with Push(room, where, 0, len(FIRST), 20.0) as push:
        push.write(FIRST)
        assert push.finish().complete
    with Push(room, where, len(FIRST), len(SECOND), 20.0) as push:
        push.write(SECOND[: len(SECOND) // 2])
        servers[at].process.send_signal(hit)
        push.write(SECOND[len(SECOND) // 2 :])
        return push.finish()


def check_disk(server: Server, complete: bool) -> None:
    """Look at the directory as the next start of the server would."""
    disk = PosixDisk(server.directory)
    try:
        number = int(server.hop.server_id)
        store = ChunkStore.on(disk, identity(number), ThreadedRuntime(), BOOT_ID)
        answer = store.fence(CHUNK, BIRTH, LogIndex(9))
        whole = FIRST + SECOND
        assert answer.proof, answer
        assert answer.end in ({len(whole)} if complete else {len(FIRST), len(whole)})
        into = memoryview(bytearray(answer.end))
        with opened(disk, store.get(CHUNK).name) as file:
            file.read(DATA_OFFSET, into)
        assert into == whole[: answer.end]
    finally:
        disk.close()


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("hit", [signal.SIGKILL, signal.SIGSTOP])
def test_the_replicas_above_a_lost_server_are_complete(
    room: DataRoom, servers: list[Server], hit: signal.Signals, at: int
) -> None:
    result = push_twice(room, servers, hit, at)
    codes = [ack.code for ack in result.acks]
    assert codes[:at] == [""] * at
    assert codes[at] == "Unreachable"
    assert codes[at + 1 :] == ["UnknownOutcome"] * (2 - at)
    for number, server in enumerate(servers):
        server.close()
        check_disk(server, complete=number < at)


def test_all_servers_killed_after_an_acknowledged_push(
    room: DataRoom, servers: list[Server]
) -> None:
    chain = tuple(server.hop for server in servers)
    where = PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.MEMORY, chain)
    with Push(room, where, 0, 4 * MIB, 20.0) as push:
        push.write(FIRST)
        push.write(SECOND)
        assert push.finish().complete
    for server in servers:
        server.process.kill()
    for server in servers:
        server.close()
        check_disk(server, complete=True)


def test_a_client_that_is_gone_leaves_no_half_push(room: DataRoom, servers: list[Server]) -> None:
    chain = tuple(server.hop for server in servers)
    where = PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.DISK, chain)
    with Push(room, where, 0, 4 * MIB, 20.0) as push:
        push.write(SECOND)
    for server in servers:
        server.close()
        disk = PosixDisk(server.directory)
        number = int(server.hop.server_id)
        store = ChunkStore.on(disk, identity(number), ThreadedRuntime(), BOOT_ID)
        try:
            assert store.fence(CHUNK, BIRTH, LogIndex(9)).end == 0
        except UnknownReplica:
            pass  # Killed before the first packet came to it.
        disk.close()


def test_a_server_killed_after_it_said_unknown_still_refuses_the_push(
    room: DataRoom, servers: list[Server]
) -> None:
    assert servers[0].fence(9) == "UnknownReplica"
    servers[0].close()
    again = Server(servers[0].directory, 1)
    try:
        chain = tuple(server.hop for server in (again, *servers[1:]))
        where = PushTarget(CHUNK, BIRTH, 4 * MIB, Durability.DISK, chain)
        with Push(room, where, 0, len(FIRST), 20.0) as push:
            push.write(FIRST)
            result = push.finish()
        assert [ack.code for ack in result.acks] == ["Fenced", "", ""]
        assert again.fence(9) == "UnknownReplica"
    finally:
        again.close()

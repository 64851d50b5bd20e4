"""Real servers of a tail killed and stopped amid appends: nothing acknowledged is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from append_house import APPENDER, PATIENCE_S, record_bytes
from chunk_house import BIRTH, CHUNK, CLUSTER
from replica_house import RUNTIME, noise

from gfs_ha.checksum import crc32c
from gfs_ha.errors import Fenced, GfsError, Unreachable
from gfs_ha.ids import ServerId, StartId
from gfs_ha.net.streams import TcpStreams
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request
from gfs_ha.protocol.frames import FRAME_BYTES, FrameKind, decode_error, decode_frame
from gfs_ha.protocol.records import RecordAck, decode_record_acks

pytestmark = pytest.mark.processes

PROGRAM = Path(__file__).with_name("tail_program.py")
START = 900


class Server:
    def __init__(self, directory: Path, server_id: int, start_id: int = START) -> None:
        self.directory = directory
        self.server_id = server_id
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(directory), str(server_id), str(start_id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self._line()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60.0)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def servers(tmp_path: Path, stack: ExitStack) -> list[Server]:
    made = []
    for number in (1, 2, 3):
        made.append(Server(tmp_path / f"cs{number}", number))
        stack.callback(made[-1].close)
    for server in made[1:]:
        assert server.ask("make") == "made"
    assert made[0].ask(f"lead {made[1].port} 2 {made[2].port} 3") == "led"
    assert [server.ask("journal") for server in made] == ["journal"] * 3
    return made


class Client:
    """Appends records of growing length, and knows which were acknowledged."""

    def __init__(self, server: Server, start_id: int = START) -> None:
        self._stream = TcpStreams(RUNTIME).connect(("127.0.0.1", server.port), 5.0)
        request = DataRequest(
            op=Op.APPEND,
            cluster=cluster_hash(CLUSTER),
            target=ServerId(1),
            chunk_id=CHUNK,
            birth=BIRTH,
            offset=0,
            length=0,
            deadline_ms=60_000,
            op_id=7,
            start_id=StartId(start_id),
        )
        self._stream.send([encode_request(request)], lambda idle_s: None)
        self.acks: dict[int, RecordAck] = {}

    def send(self, first: int, count: int) -> None:
        data = b"".join(record_bytes(n, content(n)) for n in range(first, first + count))
        self._stream.send([data], lambda idle_s: None)

    def receive(self, until: int) -> None:
        """Take acknowledgements up to that record. Raises: what ended the stream."""
        while until not in self.acks:
            kind, body = self._frame()
            if kind is FrameKind.FAILED:
                raise decode_error(body)
            if kind is FrameKind.RECORDED:
                for ack in decode_record_acks(body):
                    assert ack.appender == APPENDER
                    self.acks[ack.sequence] = ack

    def failure(self) -> GfsError:
        try:
            self.receive(-1)
        except GfsError as error:
            return error
        raise AssertionError

    def _frame(self) -> tuple[FrameKind, bytes]:
        head = memoryview(bytearray(FRAME_BYTES))
        self._stream.receive(head, _give_up)
        frame = decode_frame(head)
        body = memoryview(bytearray(frame.body_length))
        if body:
            self._stream.receive(body, _give_up)
        return frame.kind, bytes(body)

    def close(self) -> None:
        self._stream.close()


def _give_up(idle_s: float) -> None:
    assert idle_s < PATIENCE_S, "nothing came"


def content(sequence: int) -> bytes:
    return noise(10 + sequence * 7, seed=sequence)


def check_nothing_lost(servers: list[Server], acks: dict[int, RecordAck]) -> None:
    """Seal as the leader does: every acknowledged record is in what all of them prove."""
    told = [server.ask("fence").split() for server in servers]
    assert {proof for _, proof in told} == {"True"}
    length = min(int(end) for end, _ in told)
    proofs = {server.ask(f"prove {length}") for server in servers}
    assert len(proofs) == 1, "replicas differ"
    crc, *sequences = proofs.pop().split()
    found = [int(one) for one in sequences]
    assert set(acks) <= set(found)
    whole = b"".join(content(sequence) for sequence in found)
    assert len(whole) == length and crc32c(whole) == int(crc)
    for sequence, ack in acks.items():
        assert whole[ack.offset : ack.offset + ack.length] == content(sequence)


def start_again(server: Server, stack: ExitStack) -> Server:
    server.process.wait(60.0)
    again = Server(server.directory, server.server_id, START + 1)
    stack.callback(again.close)
    return again


@pytest.mark.parametrize("acknowledged", [1, 60, 150])
def test_a_killed_primary_forgets_nothing_and_leads_no_more(
    servers: list[Server], stack: ExitStack, acknowledged: int
) -> None:
    client = Client(servers[0])
    stack.callback(client.close)
    client.send(1, 200)
    client.receive(acknowledged)
    servers[0].process.kill()
    assert isinstance(client.failure(), Unreachable)
    again = start_again(servers[0], stack)
    for start_id in (START, START + 1):
        late = Client(again, start_id)
        stack.callback(late.close)
        late.send(500, 1)
        assert isinstance(late.failure(), Fenced)
    assert again.ask(f"lead {servers[1].port} 2 {servers[2].port} 3") == "Fenced"
    check_nothing_lost([again, *servers[1:]], client.acks)


@pytest.mark.parametrize("at", [1, 2])
def test_a_killed_server_below_is_named_and_what_was_acknowledged_stays(
    servers: list[Server], stack: ExitStack, at: int
) -> None:
    client = Client(servers[0])
    stack.callback(client.close)
    client.send(1, 100)
    client.receive(50)
    servers[at].process.kill()
    servers[at].process.wait(60.0)
    client.send(101, 50)
    failure = client.failure()
    assert failure.details["server"] == at + 1
    again = start_again(servers[at], stack)
    all_of_them = [again if server is servers[at] else server for server in servers]
    check_nothing_lost(all_of_them, client.acks)


def test_a_server_that_is_stopped_below_ends_the_appends_within_its_silence(
    servers: list[Server], stack: ExitStack
) -> None:
    client = Client(servers[0])
    stack.callback(client.close)
    client.send(1, 10)
    client.receive(10)
    servers[1].process.send_signal(signal.SIGSTOP)
    client.send(11, 1)
    failure = client.failure()
    assert isinstance(failure, Unreachable) and failure.details["server"] == 2
    servers[1].process.send_signal(signal.SIGCONT)
    check_nothing_lost(servers, client.acks)

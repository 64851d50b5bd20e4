"""Hostile peers against a door in a process of its own: each may lose its connection, no more.

The packets are those that freeze, fill, read or take over a stock RPyC server.
"""

from __future__ import annotations

import os
import pickle
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from door_house import BIG, ECHO, GREETING, LATER, PATIENCE_S, House, Peer
from hostile.packets import HEADER, PACKETS, frame, value
from rpyc.core import consts

from gfs_ha.errors import DeadlineExceeded, Unreachable
from gfs_ha.net.rpc import encode_request

MIB = 1 << 20


class Victim:
    """The door's process."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("victim.py")), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.memory_before = self.memory_peak()

    def memory_peak(self) -> int:
        """Return the largest resident size so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def memory_growth(self) -> int:
        return self.memory_peak() - self.memory_before

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def serves_honest(self, house: House) -> bool:
        channel = house.dial(self.port)
        served = channel.call(ECHO, b"", b"honest", PATIENCE_S) == b"/honest"
        channel.close()
        return served

    def close(self) -> None:
        """End it the proper way; fail if it did not survive until here."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.close()
            assert self.process.wait(PATIENCE_S) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.fixture(scope="module")
def victims() -> Iterator[dict[bool, Victim]]:
    """One door in the clear and one in TLS, as the tests come to need them."""
    made: dict[bool, Victim] = {}
    yield made
    for victim in made.values():
        victim.close()


@pytest.fixture
def victim(house: House, victims: dict[bool, Victim], master_directory: Path) -> Victim:
    secured = house.server is not None
    if secured not in victims:
        victims[secured] = Victim(*arguments(house, master_directory))
    return victims[secured]


@pytest.fixture
def own_victim(house: House, master_directory: Path) -> Iterator[Victim]:
    made = Victim(*arguments(house, master_directory))
    yield made
    made.process.kill()
    made.process.wait()
    assert made.process.stdin is not None and made.process.stdout is not None
    made.process.stdin.close()
    made.process.stdout.close()


def arguments(house: House, master_directory: Path) -> list[str]:
    return ["--tls", str(master_directory)] if house.server is not None else []


class Canary:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.close, (os.open(self.path, os.O_CREAT | os.O_WRONLY),))


@pytest.mark.parametrize("who", ["stranger", "without a word", "greeted"])
@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_that_is_no_call_costs_its_sender_the_connection(
    victim: Victim, house: House, name: str, who: str
) -> None:
    peer = house.stranger(victim.port) if who == "without a word" else house.peer(victim.port)
    if who == "greeted":
        peer.greet()
    peer.send(PACKETS[name])
    assert peer.dropped()
    assert victim.serves_honest(house)
    assert victim.memory_growth() < 64 * MIB


def test_a_pickle_is_never_loaded(victim: Victim, house: House, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    evil = pickle.dumps(Canary(str(canary)))
    canary.unlink()  # Pickling it made the file, too.
    peer = house.peer(victim.port).greet()
    peer.send(encode_request(1, ECHO, evil, evil))
    assert peer.reply().body == evil + b"/" + evil
    peer.send(frame(consts.MSG_REPLY, 1, value(evil)))
    assert peer.dropped() and not canary.exists()


def test_random_bytes_never_hurt(victim: Victim, house: House) -> None:
    chance = random.Random(1)
    for index in range(200):
        peer = house.peer(victim.port)
        if index % 2:
            peer.greet()
        peer.send(chance.randbytes(chance.randrange(1, 200)))
        peer.close()
    assert victim.serves_honest(house)


def test_a_flood_of_unasked_exceptions_fills_no_cache(victim: Victim, house: House) -> None:
    peer = house.peer(victim.port).greet()
    for start in range(0, 50_000, 500):
        names = range(start, start + 500)
        flood = [
            frame(consts.MSG_EXCEPTION, 10**6 + i, (("m", f"X{i}"), (), (), "")) for i in names
        ]
        if not peer.send(b"".join(flood)):
            break
    assert peer.dropped() and victim.serves_honest(house)
    assert victim.memory_growth() < 64 * MIB


def test_a_huge_announced_frame_is_not_waited_for(victim: Victim, house: House) -> None:
    for length in (0xFFFFFFF0, 5 * MIB):
        peer = house.peer(victim.port).greet()
        peer.send(HEADER.pack(length, 0))
        sent = 0
        while sent < 400 and peer.send(b"\0" * MIB):
            sent += 1
        assert sent < 64, "the door hangs up at the header"
        assert peer.dropped()
    assert victim.memory_growth() < 64 * MIB


def test_a_stranger_may_not_send_more_than_a_hello(victim: Victim, house: House) -> None:
    peer = house.peer(victim.port)
    peer.send(encode_request(0, 0, b"", GREETING + b"x" * 10_000))
    with pytest.raises((EOFError, ConnectionResetError)):
        peer.reply()  # Not even the refusal that a hello of another cluster gets.


def test_peers_stuck_in_a_header_are_dropped(victim: Victim, house: House) -> None:
    peers = []
    for index in range(60):
        peer = house.peer(victim.port)
        if index % 2:
            peer.greet()
        peer.send(b"\0\0")
        peers.append(peer)
    assert victim.serves_honest(house)
    assert all(peer.dropped() for peer in peers)


def test_a_frame_that_dribbles_in_is_dropped_at_its_deadline(victim: Victim, house: House) -> None:
    peer = house.peer(victim.port).greet()
    data = encode_request(1, ECHO, b"", b"x" * 1000)
    sent = 0
    while peer.send(data[sent : sent + 1]):
        sent += 1
        assert sent < len(data), "the frame was whole before the door lost its patience"
        if select.select([peer.sock], [], [], 0.02)[0]:
            break
    assert peer.dropped()


def test_whole_frames_in_ever_new_pieces_are_no_reason_to_drop(
    victim: Victim, house: House
) -> None:
    """The deadline is that of one frame, not of a stream that is never cut between frames."""
    peer = house.peer(victim.port).greet()
    data = encode_request(1, ECHO, b"", b"x")
    peer.send(data[:5])
    end = time.monotonic() + 3.2  # More than twice the frame's deadline.
    while time.monotonic() < end:
        peer.send(data[5:] + data[:5])
        assert peer.reply().body == b"/x"
    peer.send(data[5:])
    assert peer.reply().body == b"/x"


def test_silent_strangers_are_dropped(victim: Victim, house: House) -> None:
    peers = [house.peer(victim.port) for _ in range(30)]
    assert victim.serves_honest(house)
    assert all(peer.dropped() for peer in peers)


def test_a_thousand_idle_connections_do_not_disturb_an_honest_one(
    victim: Victim, house: House
) -> None:
    peers = [house.peer(victim.port).greet() for _ in range(1000)]
    for _ in range(50):
        assert victim.serves_honest(house)
    assert victim.memory_growth() < 64 * MIB
    peers[0].send(encode_request(1, ECHO, b"", b"idle, not dead"))
    assert peers[0].reply().body == b"/idle, not dead"
    for peer in peers:
        peer.close()


def test_what_was_served_is_not_kept_for_idle_peers(house: House, own_victim: Victim) -> None:
    peers = [house.peer(own_victim.port).greet() for _ in range(30)]
    for peer in peers:
        peer.send(encode_request(1, BIG, b"x" * 4_000_000, b"1"))
        assert peer.reply().body == b"x"
    assert own_victim.serves_honest(house)
    assert own_victim.memory_growth() < 48 * MIB  # 30 times 4 MB were sent.


def test_peers_that_never_read_their_answers_are_dropped(house: House, own_victim: Victim) -> None:
    peers = [house.peer(own_victim.port, receive_buffer=4096).greet() for _ in range(25)]
    asking = b"".join(encode_request(i, BIG, b"", b"1000000") for i in range(1, 61))
    for peer in peers:
        peer.send(asking)
    assert own_victim.serves_honest(house)
    # 25 times 60 MB were asked for; the door keeps at most 8 MiB and one answer of each.
    assert own_victim.memory_growth() < 25 * 12 * MIB
    hung_up = select.poll()
    for peer in peers:
        hung_up.register(peer.sock, select.POLLRDHUP)
    gone: set[int] = set()
    while len(gone) < len(peers):
        ready = hung_up.poll(PATIENCE_S * 1000)
        assert ready, "the door still waits for peers that do not read"
        for descriptor, _ in ready:
            gone.add(descriptor)
            hung_up.unregister(descriptor)


def test_a_reset_in_the_middle_of_a_call_costs_nothing(victim: Victim, house: House) -> None:
    for _ in range(50):
        peer = house.peer(victim.port).greet()
        peer.send(encode_request(1, LATER, b"", b"a") + encode_request(2, BIG, b"", b"1000000"))
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    assert victim.serves_honest(house)


class TestWithoutDescriptors:
    @pytest.fixture
    def poor(self, house: House, master_directory: Path) -> Iterator[Victim]:
        made = Victim("--files", "64", *arguments(house, master_directory))
        yield made
        made.close()

    def test_strangers_that_take_all_descriptors_do_not_keep_honest_peers_out(
        self, poor: Victim, house: House
    ) -> None:
        strangers = [house.peer(poor.port) for _ in range(120)]
        assert poor.serves_honest(house)
        for peer in strangers:
            peer.close()
        assert poor.serves_honest(house)

    def test_the_port_works_again_when_descriptors_come_back(
        self, poor: Victim, house: House
    ) -> None:
        greeted: list[Peer] = []
        with pytest.raises((EOFError, ConnectionResetError)):
            for _ in range(120):
                peer = house.peer(poor.port)
                greeted.append(peer)
                peer.greet()
        assert len(greeted) > 40
        before_s = poor.cpu_s()
        time.sleep(0.5)
        assert poor.cpu_s() - before_s < 0.25, "the door spins"
        greeted[0].send(encode_request(1, ECHO, b"", b"served"))
        assert greeted[0].reply().body == b"/served"
        for peer in greeted:
            peer.close()
        assert poor.serves_honest(house)


def test_a_killed_server_ends_its_calls_at_once(house: House, own_victim: Victim) -> None:
    channel = house.dial(own_victim.port)
    future = channel.call_async(LATER, b"", b"a", PATIENCE_S)
    assert channel.call(ECHO, b"", b"", PATIENCE_S) == b"/"
    own_victim.process.kill()
    with pytest.raises(Unreachable) as caught:
        future.result(PATIENCE_S)
    assert caught.value.details["sent"] == 1
    with pytest.raises(Unreachable) as caught:
        house.dial(own_victim.port)
    assert caught.value.details["sent"] == 0


def test_a_stopped_server_costs_no_more_than_the_deadline(house: House, own_victim: Victim) -> None:
    channel = house.dial(own_victim.port)
    assert channel.call(ECHO, b"", b"", PATIENCE_S) == b"/"
    own_victim.process.send_signal(signal.SIGSTOP)
    os.waitpid(own_victim.process.pid, os.WUNTRACED)  # Until then it may still answer.
    try:
        with pytest.raises(DeadlineExceeded) as caught:
            channel.call(ECHO, b"", b"", 0.1)
        assert caught.value.details["sent"] == 1
        for _ in range(8):  # More than the kernel's buffers hold.
            future = channel.call_async(ECHO, b"", b"x" * 4_000_000, 0.1)
        with pytest.raises((Unreachable, DeadlineExceeded)) as stuck:
            future.result(PATIENCE_S)
        assert stuck.value.details["sent"] == 0
        channel.close()
        assert channel.join(PATIENCE_S)
    finally:
        own_victim.process.send_signal(signal.SIGCONT)
    assert own_victim.serves_honest(house)

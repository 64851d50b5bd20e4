"""Clients append at once while servers are fenced, lose power, disks and connections, from a seed.

Then the tail is sealed as the leader does it. Every acknowledged record is there at the place that
was told, each record at most once, and what is there is what was sent.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest
from append_house import Appending, order_tail, record_bytes
from chunk_house import BIRTH, CHUNK, House, start_house
from replica_house import noise, stored

from gfs_ha.checksum import crc32c
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.errors import DiskFailed, GfsError
from gfs_ha.ids import LogIndex, ServerId, SessionId, StartId
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.master.sealing import Commit, Fence, SealingChunk, decide, records_of
from gfs_ha.protocol.control import FenceAnswer, OrderFailed, ProofAnswer
from gfs_ha.protocol.records import RecordAck
from gfs_ha.runtime import ThreadedRuntime

ORDER = LogIndex(50)
RECORDS = 60
SERVERS = tuple(ServerId(number) for number in (1, 2, 3))
DEADLINE_S = 30.0


def content(appender: int, sequence: int) -> bytes:
    chance = random.Random(appender * 1000 + sequence)
    length = chance.choice((1, 20, 100, 5000, BLOCK_BYTES - 3, BLOCK_BYTES + 9))
    return noise(length, seed=appender * 1000 + sequence)


class Appender:
    """Sends its records on two streams, some of them on both, and notes what is acknowledged."""

    def __init__(self, number: int, head: House, seed: int, on_ack: Callable[[], None]) -> None:
        self.number = SessionId(number)
        self.acks: dict[int, RecordAck] = {}
        self._chance = random.Random(seed * 7 + number)
        self._on_ack = on_ack
        self._streams = [Appending(head), Appending(head)]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            sequence = 1
            while sequence <= RECORDS:
                some = range(sequence, min(sequence + self._chance.randint(1, 8), RECORDS + 1))
                sequence = some.stop
                sent = b"".join(
                    record_bytes(one, content(self.number, one), appender=self.number)
                    for one in some
                )
                chosen = self._chance.choice((self._streams[:1], self._streams[1:], self._streams))
                for stream in chosen:
                    stream.send(sent)
                for stream in chosen:
                    for ack in stream.wait_for(*some):
                        assert self.acks.setdefault(ack.sequence, ack) == ack
                self._on_ack()
        except GfsError:
            pass  # The tail takes no more, or its primary is gone.

    def join(self) -> None:
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "an appender hangs"
        for stream in self._streams:
            stream.close()


class Run:
    """One story: three servers, three appenders, and what befalls them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        # A power cut ends the threads that are at the disk: that is what it is.
        self._runtime = ThreadedRuntime(lambda task, error: None)
        self.disks = [MemoryDisk(self._runtime) for _ in SERVERS]
        self.houses = [self._start(number, 0) for number in SERVERS]
        order_tail(self.houses)
        self._lock = threading.Lock()
        self._acks = 0
        self._faults = [
            (self._chance.randint(0, 25), self._chance.choice(self._kinds()))
            for _ in range(self._chance.randint(0, 2))
        ]
        self._over = False

    def _start(self, number: ServerId, run: int) -> House:
        start_id = StartId(number * 100 + run)
        return start_house(self.disks[number - 1], number, self._runtime, start_id=start_id)

    def _kinds(self) -> list[Callable[[], None]]:
        return [self._fence, self._fail_disk, self._cut_power, self._cut_all, self._stop]

    def _fence(self) -> None:
        self._chance.choice(self.houses).store.fence(CHUNK, BIRTH, ORDER)

    def _fail_disk(self) -> None:
        self._chance.choice(self.disks).failing = DiskFailed("I/O error")

    def _cut_power(self) -> None:
        self._chance.choice(self.disks).cut_after = self._chance.randint(0, 12)

    def _cut_all(self) -> None:
        for disk in self.disks:
            disk.cut_after = self._chance.randint(0, 12)

    def _stop(self) -> None:
        self._chance.choice(self.houses).port.stop()

    def _acknowledged(self) -> None:
        with self._lock:
            self._acks += 1
            due = [fault for at, fault in self._faults if at == self._acks]
        for fault in due:
            try:
                fault()
            except GfsError:
                pass  # The disk of that server is gone already.

    def play(self) -> list[Appender]:
        appenders = [
            Appender(number, self.houses[0], self._seed, self._acknowledged) for number in (1, 2, 3)
        ]
        watchdog = threading.Timer(1.0, self._hang_up)
        watchdog.start()
        for one in appenders:
            one.join()
        watchdog.cancel()
        watchdog.join()
        return appenders

    def _hang_up(self) -> None:
        self.houses[0].port.stop()  # Its thread that had the batch may have died with the power.

    def start_again(self) -> None:
        """Stop all servers, and start some of them on what a power cut left."""
        for house in self.houses:
            house.stop()
        for number in SERVERS:
            disk = self.disks[number - 1]
            if disk.cut_after is not None or disk.failing is not None:
                coins = random.Random(self._chance.random())
                disk.power_cycle(lambda write, sector, coins=coins: coins.random() < 0.5)
        self.houses = [self._start(number, 1) for number in SERVERS]

    def seal(self) -> tuple[Commit, ProofAnswer, bytes]:
        """Decide as the leader does; return the end, what its first holder proved, the bytes."""
        chunk = SealingChunk(CHUNK, BIRTH, ORDER, 0, frozenset(SERVERS))
        fences: dict[ServerId, FenceAnswer | OrderFailed] = {}
        proofs: dict[ServerId, ProofAnswer | OrderFailed] = {}
        for _ in range(10):
            decision = decide(chunk, fences, proofs, frozenset(SERVERS))
            if isinstance(decision, Commit):
                break
            for number in decision.servers:
                store = self.houses[number - 1].store
                if isinstance(decision, Fence):
                    fences[number] = store.fence(CHUNK, BIRTH, ORDER)
                else:
                    proof = store.prove(CHUNK, ORDER, decision.length)
                    proofs[number] = ProofAnswer(
                        CHUNK, ORDER, decision.length, proof.digest, proof.crc, proof.records
                    )
        assert isinstance(decision, Commit), decision
        if not decision.length:
            return decision, ProofAnswer(CHUNK, ORDER, 0, 0), b""
        _, _, odd = records_of(SERVERS, decision, proofs)
        assert not odd, "replicas with the same bytes and other records"
        first = decision.holders[0]
        proof = proofs[first]
        assert isinstance(proof, ProofAnswer)
        replica = self.houses[first - 1].store.get(CHUNK)
        data = stored(replica, self.disks[first - 1], decision.length)
        for number in decision.holders:
            self.houses[number - 1].store.finish_seal(
                CHUNK, LogIndex(60), decision.length, decision.digest
            )
        return decision, proof, data

    def close(self) -> None:
        for house in self.houses:
            house.stop()


@pytest.mark.parametrize("seed", range(12))
def test_what_was_acknowledged_is_in_the_seal_once_and_whole(seed: int) -> None:
    check(seed)


def check(seed: int) -> None:
    run = Run(seed)
    try:
        appenders = run.play()
        run.start_again()
        decision, proof, data = run.seal()
    finally:
        run.close()
    entries = {(one.appender, one.sequence): one for one in proof.records}
    assert len(entries) == len(proof.records), "a record is there twice"
    for appender in appenders:
        for ack in appender.acks.values():
            entry = entries.get((appender.number, ack.sequence))
            assert entry is not None, f"seed {seed}: an acknowledged record is gone: {ack}"
            assert (entry.offset, entry.length) == (ack.offset, ack.length)
    for (number, sequence), entry in entries.items():
        there = data[entry.offset : entry.offset + entry.length]
        assert there == content(number, sequence)
    assert sum(entry.length for entry in entries.values()) == decision.length == len(data)
    assert not data or proof.crc == crc32c(data)

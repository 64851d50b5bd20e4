"""Any sequence of operations on a replica, beside a byte array that does the same."""

from __future__ import annotations

import pytest
from chunk_house import BIRTH, CHUNK
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from replica_house import append, digest_of, make_replica, noise, open_store, readable

from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.errors import ChunkUnavailable, Fenced, GfsError, ReplicaDamaged, WrongOffset
from gfs_ha.ids import LogIndex
from gfs_ha.limits import BLOCK_BYTES
from gfs_ha.protocol.data import Durability
from gfs_ha.protocol.grid import part_crcs
from gfs_ha.runtime import ThreadedRuntime

CAPACITY = 4 * BLOCK_BYTES
lengths = st.one_of(
    st.integers(0, 200),
    st.integers(BLOCK_BYTES - 3, BLOCK_BYTES + 3),
    st.integers(0, CAPACITY),
)
shares = st.floats(0, 1)


class ReplicaBesideBytes(RuleBasedStateMachine):
    """The replica may be open, closed by a restart or a broken push, fenced or sealed."""

    @initialize(durability=st.sampled_from(Durability))
    def start(self, durability: Durability) -> None:
        self.disk = MemoryDisk(ThreadedRuntime())
        self.store = open_store(self.disk)
        self.replica = make_replica(self.store, durability, capacity=CAPACITY)
        self.model = bytearray()
        self.open = True
        self.sealed = False
        self.order = 1
        self.seed = 0

    def fresh(self, length: int) -> bytes:
        self.seed += 1
        return noise(length, self.seed)

    @rule(length=lengths, packet=st.integers(1000, 100_000))
    def push(self, length: int, packet: int) -> None:
        data = self.fresh(min(length, CAPACITY - len(self.model)))
        try:
            end = append(self.replica, data, packet)
        except Fenced:
            assert not self.open
            return
        assert self.open
        self.model += data
        assert end == len(self.model)

    @rule(length=st.integers(1, 1000))
    def push_that_breaks(self, length: int) -> None:
        data = memoryview(self.fresh(min(length, CAPACITY - len(self.model))))
        try:
            with self.replica.begin_push(len(self.model), len(data)) as push:
                if len(data):
                    push.append(data, part_crcs(len(self.model), data))
                    self.open = False
        except Fenced:
            assert not self.open

    @rule(wrong=st.integers(0, CAPACITY))
    def push_elsewhere(self, wrong: int) -> None:
        if wrong != len(self.model):
            try:
                self.replica.begin_push(wrong, 0)
                raise AssertionError("taken at the wrong offset")
            except WrongOffset as error:
                assert error.details["end"] == len(self.model)
            except Fenced:
                assert not self.open

    @rule()
    def fence(self) -> None:
        self.order += 1
        answer = self.store.fence(CHUNK, BIRTH, LogIndex(self.order))
        assert (answer.end, answer.proof) == (len(self.model), True)
        self.open = False

    @rule(share=shares)
    def prove(self, share: float) -> None:
        length = int(share * len(self.model))
        self.order += 1
        digest = self.store.prove(CHUNK, LogIndex(self.order), length).digest
        assert digest == digest_of(bytes(self.model[:length]))
        self.open = False

    @precondition(lambda self: not self.sealed)
    @rule(share=shares, right=st.booleans())
    def finish(self, share: float, right: bool) -> None:
        self.order += 1
        if not right:
            length = len(self.model) + 1
            try:
                self.store.finish_seal(CHUNK, LogIndex(self.order), length, 1)
                raise AssertionError("sealed beyond the end")
            except ReplicaDamaged:
                self.open = False
                return
        length = int(share * len(self.model))
        digest = digest_of(bytes(self.model[:length]))
        self.store.finish_seal(CHUNK, LogIndex(self.order), length, digest)
        del self.model[length:]
        self.open = False
        self.sealed = True

    @rule(power=st.booleans())
    def restart(self, power: bool) -> None:
        if power and self.replica.header.durability is Durability.DISK:
            self.disk.power_cycle()
        self.store = open_store(self.disk)
        self.replica = self.store.get(CHUNK)
        self.open = False

    @rule(first=shares, second=shares)
    def read(self, first: float, second: float) -> None:
        start, end = sorted((int(first * len(self.model)), int(second * len(self.model))))
        plan = self.replica.plan_read(start, end - start)
        assert plan.end == len(self.model)

    @rule(beyond=st.integers(1, 10))
    def read_too_far(self, beyond: int) -> None:
        try:
            self.replica.plan_read(len(self.model), beyond)
            raise AssertionError("served beyond the end")
        except ChunkUnavailable:
            pass

    @invariant()
    def the_bytes_are_the_same(self) -> None:
        if hasattr(self, "replica"):
            try:
                data = readable(self.replica, self.disk, len(self.model))
            except GfsError as error:
                raise AssertionError(f"cannot be read: {error}") from error
            assert data == bytes(self.model)


TestReplicaBesideBytes = ReplicaBesideBytes.TestCase
TestReplicaBesideBytes.settings = settings(
    max_examples=60, stateful_step_count=20, deadline=None, database=None, derandomize=True
)


@pytest.mark.parametrize("power", [False, True])
def test_a_replica_that_a_seal_cut_is_proof_of_that_also_after_a_restart(power: bool) -> None:
    state = ReplicaBesideBytes()
    state.start(durability=Durability.DISK)
    state.push(length=BLOCK_BYTES - 3, packet=1000)
    state.finish(share=0.5, right=True)
    state.restart(power=power)
    answer = state.store.fence(CHUNK, BIRTH, LogIndex(state.order + 1))
    assert (answer.end, answer.proof, answer.why_not) == (len(state.model), True, "")

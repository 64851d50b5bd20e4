"""Blocks are given up only while nothing refers to them, whatever comes between plan and apply."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from punch_house import ALL, SERVERS, PunchHouse

from gfs_ha.ids import ROOT_INODE, ChunkId, LogIndex, ServerId
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.master.planners.garbage import plan_deletes
from gfs_ha.master.planners.garbage_seen import GarbageSeen
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Seen
from gfs_ha.master.planners.punching import CLAIMED, COPIED, plan_punching
from gfs_ha.master.state.commands import ReplicasDeleted
from gfs_ha.master.state.garbage_commands import PunchChunk, PunchesDone
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.control import OpenReplica, PunchReplica
from gfs_ha.protocol.metadata import ReleaseChunks

B = BLOCK_BYTES


def ready() -> PunchHouse:
    house = PunchHouse()
    house.limits = PlanLimits()
    return house


def given_up() -> tuple[PunchHouse, ChunkId]:
    """Return a chunk of eight blocks of which seven are given up, and no holder was told yet."""
    house = ready()
    chunk_id = house.put("/f", 8 * B)
    house.cut("/f", 0, B)
    house.reap()
    house.apply(house.plan())
    return house, chunk_id


def test_a_cut_file_gives_up_its_whole_dead_blocks_once_its_old_content_is_reaped() -> None:
    house = ready()
    chunk_id = house.put("/f", 8 * B + 9)
    assert house.plan().empty
    house.cut("/f", 0, 3 * B + 1)
    assert house.plan().empty, "the old content refers to all of it until it is reaped"
    house.reap()
    made = house.plan()
    sealed = house.row(chunk_id).sealed_index
    # Block 3 has one live byte; block 8 is no whole one and holds none.
    assert made.proposals == [PunchChunk(chunk_id, sealed, bytes([0b11110000, 0b1]))]
    assert house.cursors.dead_blocks.found.bytes == 3 * (4 * B + 9)
    house.apply(made)
    index = house.row(chunk_id).punch_index
    order = PunchReplica(chunk_id, house.row(chunk_id).birth, index, bytes([0b11110000, 0b1]))
    made = house.plan()
    assert made.orders == [(1, order), (2, order), (3, order)] and not made.proposals
    for server in (1, 3):
        house.obey(server, order)
    made = house.plan()
    done = ((chunk_id, 1, index, 5 * B), (chunk_id, 3, index, 5 * B))
    assert made.proposals == [PunchesDone(done)] and made.orders == [(2, order)], "and no more"
    house.apply(made)
    house.apply(made)  # Told twice, counted once.
    assert house.row(chunk_id).punching == (2,)
    house.obey(2, order)
    house.apply(house.plan())
    assert house.plan().empty and house.row(chunk_id).punching == ()
    with house.tables.view() as view:
        got = view.reclaimed()["punched"]
    assert (got.bytes, got.count) == (15 * B, 3)
    house.check()


def test_a_reference_made_after_the_plan_keeps_its_bytes() -> None:
    """The run that would lose bytes: planned dead, referred to anew, then given up."""
    house = ready()
    chunk_id = house.put("/f", 8 * B)
    house.cut("/f", 0, B)
    house.reap()
    made = house.plan()
    (command,) = made.proposals
    assert isinstance(command, PunchChunk)
    # Nobody can refer to dead bytes; but a plan may be older than the death it rests on.
    older = PunchChunk(command.chunk_id, command.sealed_index, b"\x01")
    refused = house.ask(older)
    assert isinstance(refused, Failure) and refused.error == "StaleCommand"
    house.apply(made)
    assert not house.copy("/f", B, ALL, "/late"), "what was cut off cannot be copied"
    assert house.copy("/f", 0, ALL, "/copy")
    house.rest()
    house.check()
    assert house.row(chunk_id).gone == b"\xfe"


def test_a_content_that_is_only_staged_keeps_its_bytes() -> None:
    house = ready()
    house.put("/f", 8 * B)
    staged = house.ask(_stage("/f", 2 * B, B), house.session)
    house.cut("/f", 0, B)
    house.rest()
    house.publish("/late", (), B, staged.content_id)  # type: ignore[attr-defined]
    house.check()
    house.remove("/late")
    house.rest()
    (found,) = [chunk for _, chunk in house.sealed()]
    assert found.gone == b"\xfe"


def _stage(path: str, offset: int, length: int):  # type: ignore[no-untyped-def]
    from gfs_ha.protocol.extents import StageCopy

    return StageCopy(path, offset, length)


def test_a_claimed_chunk_keeps_all_of_its_bytes_until_the_claim_ends() -> None:
    house = ready()
    chunk_id = house.put("/f", 8 * B, keep_claim=True)
    house.cut("/f", 0, B)
    house.reap()
    assert not house.plan().proposals
    assert house.cursors.dead_blocks.found.waits == {f"{CLAIMED}: test": (1, 3 * 7 * B)}
    sealed = house.row(chunk_id).sealed_index
    refused = house.ask(PunchChunk(chunk_id, sealed, b"\x80"))
    assert isinstance(refused, Failure) and refused.error == "StaleCommand"
    house.tables.do(ReleaseChunks((chunk_id,)), house.session)
    assert house.plan().proposals, "the end of the claim begins a new round"


def test_a_chunk_that_is_being_copied_waits_and_its_copy_comes_without_the_marks_of_later() -> None:
    house = ready()
    chunk_id = house.put("/f", 8 * B)
    house.cut("/f", 0, 4 * B)
    house.reap()
    made = house.plan()
    house.lose(chunk_id, 3)
    house.place(chunk_id, 4)
    assert [type(one).__name__ for one in house.apply(made)] == ["Failure"]
    assert not house.plan().proposals
    assert house.cursors.dead_blocks.found.waits == {COPIED: (1, 2 * 4 * B)}
    house.copied(chunk_id, 4)
    house.rest()
    assert house.disks[4, chunk_id].present == 0b1111
    house.check()


def test_a_replica_that_is_adopted_gives_back_what_the_others_did_while_it_was_away() -> None:
    house = ready()
    chunk_id = house.put("/f", 8 * B)
    house.lose(chunk_id, 3)
    house.cut("/f", 0, B)
    house.rest()
    assert house.disks[3, chunk_id].present == 0xFF
    house.place(chunk_id, 3)
    order = next(one for one in house.row(chunk_id).copying)
    house.disks[3, chunk_id].order_index = order.order_index
    house.copied(chunk_id, 3)
    assert house.row(chunk_id).punching == (3,)
    assert house.row(chunk_id).punch_index > order.order_index, "else it would refuse the order"
    house.rest()
    assert house.disks[3, chunk_id].present == 1


def test_a_holder_that_is_lost_is_not_waited_for() -> None:
    house, chunk_id = given_up()
    assert house.row(chunk_id).punching == (1, 2, 3)
    house.lose(chunk_id, 2)
    assert house.row(chunk_id).punching == (1, 3)


def test_a_replica_that_is_not_settled_is_told_that_first() -> None:
    house, chunk_id = given_up()
    birth = house.row(chunk_id).birth
    house.listed = {2: {chunk_id: OpenReplica(chunk_id, birth, 102, 8 * B, "open")}}
    assert [server for server, _ in house.plan().orders] == [1, 3]
    house.listed = {}
    assert [server for server, _ in house.plan().orders] == [1, 2, 3]


def test_a_replica_that_is_to_say_whether_it_is_there_is_asked_that_first() -> None:
    house, chunk_id = given_up()
    house.doubted = {(chunk_id, ServerId(2))}
    assert [server for server, _ in house.plan().orders] == [1, 3]


def test_what_a_dead_chunk_gave_back_before_is_told_with_its_deletion() -> None:
    house, chunk_id = given_up()
    for server, order in house.orders(house.plan()):
        house.obey(server, order)
    house.remove("/f")
    house.reap()
    dead = house.row(chunk_id)
    assert dead.state == "dead" and house.plan().empty
    freed = {(chunk_id, 1, dead.dead_index): 70_000}
    garbage = GarbageSeen(punched=dict(house.punched), freed=freed)
    seen = Seen(1.0, 0.0, {}, deleted=((chunk_id, 1, 101),), garbage=garbage)
    with house.tables.view() as view:
        made = plan_deletes(view, seen, PlanLimits(), Cursors())
    told = ReplicasDeleted(((chunk_id, 1, 101),), freed=(7 * B + 70_000,))
    assert made.proposals == [told]
    house.apply(made)
    with house.tables.view() as view:
        assert view.reclaimed()["dead"].bytes == 7 * B + 70_000


def test_without_anything_that_came_loose_no_round_begins() -> None:
    house = ready()
    house.put("/f", 8 * B)
    house.rest()
    rounds = house.cursors.dead_blocks.rounds
    for _ in range(5):
        assert house.plan().empty
    assert house.cursors.dead_blocks.rounds == rounds
    house.plan(wanted=True)
    assert house.cursors.dead_blocks.rounds == rounds + 1, "unless a person wants one"


@pytest.mark.parametrize("seed", range(3))
def test_a_long_life_of_late_plans_and_orders_loses_no_live_byte(seed: int) -> None:
    """Changes of files fall between plan, command and order; leaders, copies and holders change."""
    dice = random.Random(seed)
    house = PunchHouse()
    plans: list[Plan] = []
    orders: list[tuple[int, PunchReplica]] = []
    given_up = 0
    house.limits = PlanLimits(rows=6, references=30)
    for step in range(1_500):
        name = dice.choice("abcd")
        start, end = sorted(dice.randrange(0, MIB + 1, dice.choice((1, B))) for _ in range(2))
        kind = dice.random()
        if kind < 0.20:
            house.put(f"/{name}", dice.choice((MIB, max(1, end))), keep_claim=dice.random() < 0.1)
        elif kind < 0.32:
            house.cut(f"/{name}", start, end)
        elif kind < 0.38:
            house.copy(f"/{name}", start, end, f"/{dice.choice('abcd')}")
        elif kind < 0.40:
            house.remove(f"/{name}")
        elif kind < 0.48:
            house.reap(bury=True)
        elif kind < 0.70:
            made = house.plan(wanted=dice.random() < 0.5)
            plans.append(made)
            orders += house.orders(made)
        elif kind < 0.82 and plans:
            answers = house.apply(dice.choice(plans[-5:]))
            given_up += sum(not isinstance(answer, Failure) for answer in answers)
        elif kind < 0.92 and orders:
            house.obey(*dice.choice(orders[-12:]))
        elif kind < 0.98:
            change_a_copy(house, dice)
        else:
            house.another_leader()
        if step % 4 == 0:
            house.check()
    assert given_up > 10, "nothing was given up: the test means nothing"
    house.rest()
    house.check()


def change_a_copy(house: PunchHouse, dice: random.Random) -> None:
    """Lose a holder, place a copy, or have it done."""
    sealed = house.sealed()
    if not sealed:
        return
    chunk_id, chunk = dice.choice(sealed)
    server = dice.choice(SERVERS)
    if server in chunk.holders:
        house.lose(chunk_id, server)
    elif any(one.server_id == server for one in chunk.copying):
        house.copied(chunk_id, server)
    else:
        index = house.place(chunk_id, server)
        replica = house.disks.get((server, chunk_id))
        if index is not None and replica is not None:
            replica.order_index = max(replica.order_index, index)


offset = st.integers(0, MIB)
length = st.one_of(st.integers(1, MIB), st.integers(1, 16).map(lambda n: n * B))
path = st.sampled_from(["/a", "/b", "/c"])


class GivingBack(RuleBasedStateMachine):
    """Files change between a plan and its commands, orders come late, copies come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.house = PunchHouse()
        self.plans: list = []  # type: ignore[type-arg]
        self.orders: list[tuple[int, PunchReplica]] = []
        for name in ("/a", "/b"):
            self.house.put(name, MIB)

    def name(self, data: st.DataObject) -> str:
        """Return a file that is there, if any is."""
        with self.house.tables.view() as view:
            names = ["/" + name for name, _ in view.entries(ROOT_INODE)]
        return data.draw(st.sampled_from(names or ["/a"]))

    @rule(path=path, length=length, keep_claim=st.booleans())
    def put(self, path: str, length: int, keep_claim: bool) -> None:
        self.house.put(path, min(length, MIB), keep_claim)

    @rule(data=st.data(), start=offset, end=offset)
    def cut(self, data: st.DataObject, start: int, end: int) -> None:
        self.house.cut(self.name(data), min(start, end), max(start, end))

    @rule(data=st.data(), other=path, start=offset, end=offset)
    def copy(self, data: st.DataObject, other: str, start: int, end: int) -> None:
        self.house.copy(self.name(data), min(start, end), max(start, end), other)

    @rule(data=st.data(), last=st.booleans())
    def remove(self, data: st.DataObject, last: bool) -> None:
        self.house.remove(self.name(data) if last else "/c")

    @rule()
    def reap(self) -> None:
        self.house.reap()

    @rule()
    def release(self) -> None:
        with self.house.tables.view() as view:
            claims = tuple(view.claims_of(self.house.session))
        self.house.tables.do(ReleaseChunks(claims), self.house.session)

    @rule(wanted=st.booleans(), count=st.integers(1, 4), at_once=st.booleans())
    def plan(self, wanted: bool, count: int, at_once: bool) -> None:
        """Plan some times; what is proposed may be applied at once, or later, or never."""
        for _ in range(count):
            made = self.house.plan(wanted=wanted)
            if made.proposals:
                self.plans.append(made)
            self.orders += self.house.orders(made)
            if at_once:
                self.house.reap()
                self.house.apply(made)

    @rule(data=st.data())
    def apply(self, data: st.DataObject) -> None:
        if self.plans:
            self.house.apply(data.draw(st.sampled_from(self.plans[-4:])))

    @rule(data=st.data(), again=st.booleans())
    def obey(self, data: st.DataObject, again: bool) -> None:
        if self.orders:
            one = data.draw(st.sampled_from(self.orders[-9:]))
            self.house.obey(*one)
            if not again:
                self.orders.remove(one)

    @rule(data=st.data(), server=st.sampled_from(SERVERS))
    def lose_or_place(self, data: st.DataObject, server: int) -> None:
        sealed = self.house.sealed()
        if not sealed:
            return
        chunk_id, chunk = data.draw(st.sampled_from(sealed[-4:]))
        if server in chunk.holders:
            self.house.lose(chunk_id, server)
        elif any(one.server_id == server for one in chunk.copying):
            self.house.copied(chunk_id, server)
        else:
            index: LogIndex | None = self.house.place(ChunkId(chunk_id), server)
            replica = self.house.disks.get((server, chunk_id))
            if index is not None and replica is not None:
                replica.order_index = max(replica.order_index, index)

    @rule()
    def another_leader(self) -> None:
        self.house.another_leader()

    @invariant()
    def no_live_byte_is_gone(self) -> None:
        self.house.check()

    def teardown(self) -> None:
        """At rest everything dead is given back, except of what is claimed or being copied."""
        for chunk_id, chunk in self.house.sealed():
            for order in chunk.copying:
                self.house.copied(chunk_id, order.server_id)
        self.house.rest()
        self.house.check()
        for chunk_id, chunk in self.house.sealed():
            if chunk.claimed_by or chunk.copying:
                continue
            with self.house.tables.view() as view:
                made = plan_punching(view, self.house.seen(True), PlanLimits(), Cursors())
            assert not made.proposals
            for holder in chunk.holders:
                gone = int.from_bytes(chunk.gone, "little")
                assert not self.house.disks[holder, chunk_id].present & gone


GivingBack.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestGivingBack = GivingBack.TestCase

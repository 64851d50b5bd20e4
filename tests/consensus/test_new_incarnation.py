"""One copy that begins a new incarnation: what it keeps, and whom it lets in (M5)."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from raft_lab import OurLab

from gfs_ha.errors import ConfigError, NewerIncarnation, OldCopy
from gfs_ha.kv.ordered import MemoryKV
from gfs_ha.limits import RAFT_INTRODUCTION_S
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.handshake import Condemned, Handshake
from gfs_ha.master.raft.identity import Identity, bootstrap, join, stop_for_good
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import NOBODY, AddLearner, Addresses, Point
from gfs_ha.master.raft.recovery import begin_incarnation, look_at, stored_incarnation
from gfs_ha.sim.checkers import Ledger
from gfs_ha.sim.member import SimMember
from gfs_ha.sim.network import Network
from gfs_ha.sim.runtime import SimRuntime
from gfs_ha.sim.scheduler import Scheduler

MEMBERS = {"A": ("A", 1), "B": ("B", 1)}


def config(name: str, incarnation: int = 1) -> RaftConfig:
    return RaftConfig("lab", incarnation, name, MEMBERS)


def test_a_copy_keeps_its_whole_log_and_alone_votes(tmp_path: Path) -> None:
    lab = OurLab("ABC", tmp_path)
    lab.elect("A")
    lab.propose("A", "applied")
    lab.run(0.5)
    lab.isolate("C")
    lab.propose("A", "stored, and nobody knows if it is committed")
    lab.tick("A")
    lab.deliver("A", "B")
    lab.tick("B")
    log = lab.log("B")
    disk = lab.disks["B"].crash()
    own = RaftConfig("lab", 1, "B", {name: (name, 1) for name in "ABC"})
    found = look_at(disk, own)
    assert found.voters == ("A", "B", "C") and found.last_index == log[-1][0]
    assert found.applied_index < found.last_index
    assert begin_incarnation(disk, own) == 2
    assert stored_incarnation(disk) == 2
    journal = Journal(disk)
    assert list(journal.configuration.voters) == ["B"]
    assert (journal.last_index, journal.applied_index) == (log[-1][0], found.applied_index)


def test_what_is_empty_or_was_stopped_is_no_copy(tmp_path: Path) -> None:
    empty = MemoryKV()
    assert stored_incarnation(empty) is None
    with pytest.raises(ConfigError):
        look_at(empty, config("A"))
    old = MemoryKV()
    bootstrap(old, config("A"))
    writer = old.begin()
    stop_for_good(writer, OldCopy("it must not vote again"))
    writer.commit()
    with pytest.raises(OldCopy):
        begin_incarnation(old, config("A"))


def identity(kv: MemoryKV, name: str, incarnation: int) -> Identity:
    return Identity(kv, config(name, incarnation), SimRuntime(Scheduler(), random.Random(1)))


def test_only_a_new_member_takes_the_incarnation_that_it_finds() -> None:
    leader = MemoryKV()
    bootstrap(leader, config("A"))
    begin_incarnation(leader, config("A"))
    fresh, used = MemoryKV(), MemoryKV()
    join(fresh, config("B"))
    bootstrap(used, config("B"))
    anybody = {"A", "B"}.__contains__
    for kv, adopts in ((fresh, True), (used, False)):
        own = identity(kv, "B", 1)
        ours = Handshake(own, anybody, "A")
        theirs = Handshake(identity(leader, "A", 2), anybody)
        with pytest.raises(NewerIncarnation):
            theirs.receive(ours.hello())
        refusal = theirs.refusal(NewerIncarnation("the cluster lives on"))
        with pytest.raises(NewerIncarnation if adopts else Condemned):
            ours.receive(refusal)
        assert own.incarnation == (2 if adopts else 1) and own.dirty == adopts


def may_adopt(own: Identity) -> bool:
    """Return whether a member that is shown a newer incarnation takes it."""
    ours = Handshake(own, {"A", "B"}.__contains__, "A")
    refused = NewerIncarnation("the cluster lives on")
    theirs = identity(recovered(), "A", 2)
    with pytest.raises((NewerIncarnation, Condemned)) as raised:
        ours.receive(Handshake(theirs, {"B"}.__contains__).refusal(refused))
    assert isinstance(raised.value, NewerIncarnation) == (own.incarnation == 2)
    return own.incarnation == 2


def recovered() -> MemoryKV:
    kv = MemoryKV()
    bootstrap(kv, config("A"))
    begin_incarnation(kv, config("A"))
    return kv


class Spared(OurLab):
    spares = "D"


def test_a_new_member_that_holds_a_log_stays_in_its_incarnation(tmp_path: Path) -> None:
    lab = Spared("ABCD", tmp_path)
    lab.elect("A", "ABC")
    own = lab.nodes["D"].identity
    lab.change("A", AddLearner("D", Addresses(("D", 1))))
    lab.run(1.0)
    lab.propose("A", "of the old incarnation")
    lab.run(1.0)
    assert lab.applied("D") == ["of the old incarnation"]
    assert not own.adopt(2) and own.incarnation == 1


def test_a_new_member_that_holds_just_a_snapshot_stays_in_its_incarnation() -> None:
    kv = MemoryKV()
    join(kv, config("B"))
    assert may_adopt(identity(kv.crash(), "B", 1))
    journal = Journal(kv)
    journal.begin_at(Point(5000, 3, NOBODY), keep=False)
    writer = kv.begin()
    journal.write(writer)
    writer.commit()
    assert not may_adopt(identity(kv, "B", 1))


def test_a_new_member_leaves_the_old_incarnation_when_it_joins_the_newer_one() -> None:
    chance = random.Random(1)
    network = Network(Scheduler(), chance)
    all_three = {name: (name, 1) for name in "ABD"}
    old = SimMember(RaftConfig("lab", 1, "A", {"A": ("A", 1)}), network, chance, Ledger())
    new = SimMember(RaftConfig("lab", 2, "B", {"B": ("B", 1)}), network, chance, Ledger())
    fresh = SimMember(RaftConfig("lab", 1, "D", all_three), network, chance, Ledger(), spare=True)
    old.start()
    fresh.start()
    network.scheduler.run_until(1002.0)
    assert fresh.node is not None and old.node is not None
    assert old.node.replica.is_connected("D")
    new.start()
    network.scheduler.run_until(1004.0)
    assert fresh.node.identity.incarnation == 2 and fresh.node.replica.is_connected("B")
    assert not fresh.node.replica.is_connected("A")


class World:
    """Three members, of which C went on alone; each has its own file."""

    def __init__(self, known: str = "ABC") -> None:
        self.chance = random.Random(1)
        self.network = Network(Scheduler(), self.chance)
        members = {name: (name, 1) for name in known}
        self.members = {
            name: SimMember(
                RaftConfig("lab", 1, name, members), self.network, self.chance, Ledger()
            )
            for name in known
        }

    def run(self, seconds: float) -> None:
        scheduler = self.network.scheduler
        scheduler.run_until(scheduler.now_s + seconds)

    def recover(self, name: str) -> None:
        member = self.members[name]
        begin_incarnation(member.disk, member.config)
        member.config = msgspec.structs.replace(member.config, incarnation=2)
        member.start()


@pytest.mark.parametrize("copy", ["A", "B", "C"])
def test_an_old_majority_that_comes_back_is_told_before_it_elects(copy: str) -> None:
    world = World()
    world.recover(copy)
    world.run(3.0)
    assert world.members[copy].leading
    old = [member for name, member in world.members.items() if name != copy]
    for member in old:
        member.start()
    for _ in range(200):
        world.run(0.01)
        assert not any(member.leading or member.term > 0 for member in old)
    for member in old:
        assert not member.running
        with pytest.raises(NewerIncarnation):
            member.start()
    assert world.members[copy].leading


def test_who_cannot_be_reached_holds_up_the_others_only_for_a_moment() -> None:
    world = World()
    for name in "AB":
        world.members[name].start()
    world.run(RAFT_INTRODUCTION_S - 0.05)
    assert not any(member.term for member in world.members.values())
    world.run(2.5)
    assert any(world.members[name].leading for name in "AB")


def test_who_is_alone_also_asks_the_members_of_its_file_before_it_leads() -> None:
    world = World("AB")
    begin_incarnation(world.members["A"].disk, world.members["A"].config)
    older = world.members["A"]
    older.config = msgspec.structs.replace(older.config, incarnation=2)
    newer = world.members["B"]
    for incarnation in (1, 2):
        config = msgspec.structs.replace(newer.config, incarnation=incarnation)
        begin_incarnation(newer.disk, config)
    newer.config = msgspec.structs.replace(newer.config, incarnation=3)
    newer.start()
    world.run(2.0)
    older.start()
    for _ in range(200):
        world.run(0.01)
        assert not older.leading
    assert not older.running and newer.leading

"""What the leader plans about leases and tails: exact plans, and applied they are the last."""

from __future__ import annotations

from dataclasses import replace

from master_tables import Tables

from gfs_ha.ids import ChunkId, DiskId, Epoch, InodeId, ServerId, StartId
from gfs_ha.limits import LEASE_MS, LEASE_RENEW_BELOW_MS, MIB
from gfs_ha.master.observed import DEAD, LIVE, SUSPECT
from gfs_ha.master.placement import Candidate
from gfs_ha.master.planners import leases, primaries
from gfs_ha.master.planners.expiry import plan_seals
from gfs_ha.master.planners.leases import plan_holds, plan_renewals, plan_tails, plan_unopened
from gfs_ha.master.planners.plan import Cursors, Plan, PlanLimits, Planner, Seen
from gfs_ha.master.planners.primaries import TailsSeen
from gfs_ha.master.planners.results import plan_results
from gfs_ha.master.planners.seen import RepairSeen
from gfs_ha.master.state.commands import BeginSeal, CommitSeal
from gfs_ha.master.state.job_commands import StartJob
from gfs_ha.master.state.tail_commands import (
    AbandonTails,
    EndHolds,
    HoldInodes,
    OpenTail,
    PlaceTail,
    RenewLeases,
    SweepResults,
)
from gfs_ha.master.state.tail_reads import lease_of
from gfs_ha.protocol.control import LedTail
from gfs_ha.protocol.jobs import DISK_DRAIN, JobOptions
from gfs_ha.protocol.metadata import CloseSession, Publish, PublishFile, Rename
from gfs_ha.protocol.records import RecordEntry

EPOCH = Epoch(1, 1)
LIMITS = PlanLimits()
ELECTED_S = 1000.0


class House:
    """Tables, and what the leader has heard: four servers that live, in their first run."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.session = self.tables.session()
        self.cursors = Cursors()
        self.states = {ServerId(number): LIVE for number in range(1, 5)}
        self.tails = TailsSeen(
            epoch=EPOCH,
            states=self.states,
            starts={ServerId(number): StartId(1) for number in range(1, 5)},
        )
        self.young = False

    def place(self, path: str, servers: tuple[int, ...] = (1, 2, 3)) -> tuple[InodeId, ChunkId]:
        """Make an empty file and place a tail for it."""
        reply = self.tables.do(Publish((PublishFile(path, 0, 0o644, 1),)), self.session)
        inode_id = reply.files[0].inode_id
        replicas = tuple((number, 100 + number) for number in servers)
        return inode_id, self.tables.do(PlaceTail(inode_id, replicas)).chunk_id

    def tail(self, path: str = "/log", servers: tuple[int, ...] = (1, 2, 3)) -> ChunkId:
        """Open a tail, which its primary names from now on."""
        inode_id, chunk_id = self.place(path, servers)
        self.tables.do(OpenTail(inode_id, chunk_id, path, servers[0], 1))
        self.say(servers[0], LedTail(chunk_id, 10, 5))
        return chunk_id

    def say(self, server: int, led: LedTail) -> None:
        told = {**self.tails.led, server: {led.chunk_id: led}}
        self.tails = replace(self.tails, led=told)

    def seen(self, after_s: float) -> Seen:
        repair = RepairSeen(states=self.states, young=self.young)
        return Seen(ELECTED_S + after_s, ELECTED_S, {}, repair=repair, tails=self.tails)

    def plan(self, planner: Planner, after_s: float = 1.0) -> Plan:
        with self.tables.view() as view:
            return planner(view, self.seen(after_s), LIMITS, self.cursors)

    def apply(self, made: Plan, after_s: float = 1.0) -> None:
        self.tables.elapsed_ms = int(after_s * 1000)
        for command in made.proposals:
            self.tables.do(command)

    def sealed_because(self, planner: Planner = plan_tails, after_s: float = 1.0) -> list[str]:
        """Return the reasons for which tails are sealed now; once, not twice."""
        made = self.plan(planner, after_s)
        reasons = [command.reason for command in made.proposals if isinstance(command, BeginSeal)]
        assert len(reasons) == len(made.proposals)
        self.apply(made, after_s)
        assert self.plan(planner, after_s).empty, "a plan that was applied is planned again"
        return reasons


def test_leases_that_are_half_over_are_renewed_by_one_command() -> None:
    house = House()
    house.tail("/a", (1, 2, 3))
    house.tail("/b", (2, 3, 4))
    early_s = (LEASE_MS - LEASE_RENEW_BELOW_MS) / 1000 - 0.1
    assert house.plan(plan_renewals, early_s).empty
    made = house.plan(plan_renewals, early_s + 0.2)
    assert made.proposals == [RenewLeases(((1, 1, LEASE_MS), (2, 1, LEASE_MS)))]
    house.apply(made, early_s + 0.2)
    assert house.plan(plan_renewals, early_s + 0.3).empty
    with house.tables.view() as view:
        lease = lease_of(view, ServerId(1))
    assert lease is not None and lease.renewed == 1
    assert lease.until_ms == LEASE_MS + int((early_s + 0.2) * 1000)


def test_who_is_silent_or_has_started_again_gets_no_renewal() -> None:
    house = House()
    house.tail("/a", (1, 2, 3))
    house.tail("/b", (2, 3, 4))
    house.states[ServerId(1)] = SUSPECT
    house.tails = replace(house.tails, starts={**house.tails.starts, ServerId(2): StartId(9)})
    assert house.plan(plan_renewals, 45.0).empty


def test_a_tail_whose_primary_goes_on_stays_open() -> None:
    house = House()
    house.tail()
    assert house.sealed_because() == []
    assert house.plan(plan_seals).empty, "a tail has no claim, and needs none"


def test_a_lease_that_ran_out_ends_its_tails() -> None:
    house = House()
    house.tail()
    assert house.sealed_because(after_s=59.9) == []
    assert house.sealed_because(after_s=60.1) == ["its lease ended"]


def test_a_restarted_primary_holds_nothing() -> None:
    house = House()
    house.tail()
    house.tails = replace(house.tails, starts={ServerId(1): StartId(2)})
    assert house.sealed_because() == [primaries.RESTARTED]


def test_a_dead_primary_ends_its_tails_and_a_suspect_one_that_is_reported() -> None:
    house = House()
    first, second = house.tail("/a", (1, 2, 3)), house.tail("/b", (2, 3, 4))
    house.states.update({ServerId(1): SUSPECT, ServerId(2): SUSPECT})
    assert house.sealed_because() == []
    house.tails = replace(house.tails, reported=frozenset({(second, ServerId(2))}))
    assert house.sealed_because() == [primaries.REPORTED]
    house.states[ServerId(1)] = DEAD
    assert house.sealed_because() == [primaries.GONE]
    assert first != second


def test_a_tail_with_a_dead_server_is_sealed_so_that_it_can_be_repaired() -> None:
    house = House()
    house.tail()
    house.states[ServerId(3)] = DEAD
    assert house.sealed_because() == [leases.MEMBER_GONE]


def test_a_full_tail_and_an_idle_one_are_sealed() -> None:
    house = House()
    full, idle = house.tail("/a", (1, 2, 3)), house.tail("/b", (2, 3, 4))
    house.say(2, LedTail(idle, 10, 599_999))
    house.say(1, LedTail(full, 10, 5, full=True))
    assert house.sealed_because() == [primaries.FULL]
    house.say(2, LedTail(idle, 10, 600_000))
    assert house.sealed_because() == [leases.IDLE]


def test_a_file_whose_tail_is_more_than_half_full_gets_its_next_one_ahead() -> None:
    house = House()
    chunk_id = house.tail()
    for length, wanted in ((MIB // 2, []), (MIB // 2 + 1, [InodeId(2)])):
        house.say(1, LedTail(chunk_id, length, 5))
        made = house.plan(plan_tails)
        assert (made.ahead, made.proposals) == (wanted, [])


def test_a_tail_whose_file_was_renamed_is_sealed_when_the_leader_that_did_it_fell() -> None:
    """Who appends follows the name: a moved file gets no more records (C9)."""
    house = House()
    house.tail("/log")
    house.tables.do(Rename("/log", "/old"), house.session)
    assert house.sealed_because() == [leases.RENAMED]


def test_a_tail_that_its_living_primary_does_not_name_is_sealed_after_a_while() -> None:
    house = House()
    house.tail()
    house.tails = replace(house.tails, led={})
    house.young = True
    assert house.sealed_because(after_s=40.0) == []
    house.young = False
    assert house.sealed_because(after_s=29.0) == []
    assert house.sealed_because(after_s=30.1) == [leases.NOT_LED]


def test_a_tail_of_an_older_incarnation_is_sealed() -> None:
    house = House()
    house.tail()
    house.tails = replace(house.tails, epoch=Epoch(2, 1))
    assert house.sealed_because() == [leases.RECOVERED]


def test_files_that_keep_results_of_ended_sessions_are_swept() -> None:
    house = House()
    sessions = [house.tables.session() for _ in range(2)]
    inodes = []
    for number in range(3):
        chunk_id = house.tail(f"/{number}")
        with house.tables.view() as view:
            tail_of = view.chunk(chunk_id).tail_of
        inodes.append(tail_of)
        house.tables.do(BeginSeal(chunk_id, "test"))
        with house.tables.view() as view:
            begun = view.chunk(chunk_id).begin_index
        entries = (RecordEntry(sessions[number % 2], 1, 1, 0, 10),)
        house.tables.do(CommitSeal(chunk_id, begun, 10, 5, (1, 2, 3), 7, entries))
    assert house.plan(plan_results).empty
    house.tables.do(CloseSession(), sessions[0])
    made = house.plan(plan_results)
    assert made.proposals == [SweepResults((inodes[0], inodes[2]))]
    house.apply(made)
    assert house.plan(plan_results).empty


def test_placed_tails_of_an_older_epoch_are_given_up_and_those_being_opened_are_not() -> None:
    house = House()
    _, chunk_id = house.place("/log")
    house.tails = replace(house.tails, opening=frozenset({chunk_id}))
    for _ in range(3):
        assert house.plan(plan_unopened).empty
    house.tails = replace(house.tails, opening=frozenset(), epoch=Epoch(1, 2))
    made = house.plan(plan_unopened)
    assert made.proposals == [AbandonTails((chunk_id,))]


def test_a_placed_tail_that_nobody_opens_is_given_up_when_it_is_met_twice() -> None:
    house = House()
    _, chunk_id = house.place("/log")
    assert house.plan(plan_unopened).empty, "it may have been placed a moment ago"
    made = house.plan(plan_unopened)
    assert made.proposals == [AbandonTails((chunk_id,), given_up=True)]
    house.apply(made)
    assert house.plan(plan_unopened).empty and house.plan(plan_unopened).empty


def test_holds_past_their_time_and_of_another_epoch_end() -> None:
    house = House()
    inode_id, _ = house.place("/log")
    house.tables.do(HoldInodes((inode_id,)))
    assert house.plan(plan_holds, 9.9).empty
    [command] = house.plan(plan_holds, 10.1).proposals
    assert isinstance(command, EndHolds) and command.holds[0][0] == inode_id
    house.tails = replace(house.tails, epoch=Epoch(1, 2))
    made = house.plan(plan_holds)
    assert made.proposals == [command]
    house.apply(made)
    assert house.plan(plan_holds).empty


class Manned(House):
    """A house whose servers can be chosen for the next tail."""

    def seen(self, after_s: float) -> Seen:
        found = super().seen(after_s)
        candidates = tuple(
            Candidate(
                *(one, DiskId(100 + one), f"cs{one}", "r1", f"h{one}", 0.1, 1 << 40, 1 << 41),
                trouble="" if state == LIVE else f"is {state}",
            )
            for one, state in self.states.items()
        )
        return replace(found, repair=replace(found.repair, candidates=candidates))


def test_a_tail_of_which_a_disk_is_lost_is_sealed_so_that_it_gets_another_copy() -> None:
    house = House()
    house.tail()
    assert house.sealed_because() == []
    house.tables.enroll(3, disk=203)
    assert house.sealed_because() == [leases.DISK_GONE]


def test_a_tail_with_too_few_copies_is_handed_on_once_there_are_servers_for_all() -> None:
    house = Manned()
    house.tail(servers=(1, 2))
    house.tail("/whole", servers=(2, 1, 3))
    soon, later = leases.TOO_FEW_MS / 1000 - 1, leases.TOO_FEW_MS / 1000 + 1
    assert house.sealed_because(after_s=soon) == []
    for gone in (3, 4):
        house.states[ServerId(gone)] = SUSPECT
    assert house.sealed_because(after_s=later) == [], "the next one would have no more"
    house.states[ServerId(3)] = LIVE
    assert house.sealed_because(after_s=later) == [leases.TOO_FEW]


def test_a_tail_on_a_disk_that_is_emptied_is_handed_on_though_its_server_serves() -> None:
    house = Manned()
    house.tail()
    assert house.sealed_because() == []
    house.tables.do(StartJob(DISK_DRAIN, JobOptions(), 3, 103))
    assert house.sealed_because() == [leases.LEAVES]
    assert house.sealed_because() == []

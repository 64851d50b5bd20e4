"""What leaders tell of servers, disks, repair and findings: each once, whoever leads."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from repair_house import House

from gfs_ha.ids import DiskId, ServerId
from gfs_ha.limits import EVENT_WINDOW_MS
from gfs_ha.master.muting import told
from gfs_ha.master.planners.events import plan_events
from gfs_ha.master.planners.job_book import JobLeft
from gfs_ha.master.planners.news import News
from gfs_ha.master.planners.plan import Cursors, Plan
from gfs_ha.master.planners.replication import plan_replication
from gfs_ha.master.state.event_commands import StartMute
from gfs_ha.master.state.events import all_noted, events_after
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.mutes import all_mutes
from gfs_ha.master.state.server_mode_commands import SetMaintenance
from gfs_ha.protocol.jobs import DRAIN, PAUSED, RUNNING, JobOptions
from gfs_ha.protocol.reports import Finding, HealthReport

WELL = News((), ("m1", "m2", "m3"))


def finding(code: str, severity: str = "error", subject: str = "") -> Finding:
    return Finding(code, severity, f"{code.lower()} it is", "mend it", subject)


@dataclass
class Watch:
    """A cluster and its leader, who may be replaced by one that knows only the tables."""

    house: House = field(default_factory=House)
    failed: set[tuple[ServerId, DiskId]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tick(WELL)
        self.known = self.last()

    def plan(self, news: News | None = None, young: bool = False) -> Plan:
        house = self.house
        seen = house.seen()
        now_s = seen.elected_s + house.tables.elapsed_ms / 1000
        repair = replace(seen.repair, failed_disks=frozenset(self.failed), young=young)
        with house.tables.view() as view:
            return plan_events(
                view,
                replace(seen, now_s=now_s, news=news, repair=repair),
                house.limits,
                house.cursors,
            )

    def later(self, elapsed_ms: int) -> None:
        self.house.tables.elapsed_ms += elapsed_ms

    def tick(self, news: News | None = None) -> None:
        """Plan and apply; the next plan has nothing to do."""
        for command in self.plan(news).proposals:
            self.house.tables.do(command)
        assert self.plan(news).empty

    def walk(self) -> None:
        """Let the planner of repair look at all chunks, without carrying anything out."""
        with self.house.tables.view() as view:
            plan_replication(view, self.house.seen(), self.house.limits, self.house.cursors)

    def new_leader(self) -> None:
        self.house.cursors = Cursors()

    def last(self) -> int:
        with self.house.tables.view() as view:
            return view.counters().last_event

    def texts(self) -> list[str]:
        with self.house.tables.view() as view:
            assert check_all(view) == []
            found = [f"{row.subject} {row.text}" for _, row in events_after(view, self.known)]
        self.known += len(found)
        return found


def test_a_cluster_that_is_well_tells_nothing() -> None:
    watch = Watch()
    watch.house.chunk()
    for _ in range(3):
        watch.walk()
        watch.tick(WELL)
        assert watch.plan(WELL).empty
    assert watch.texts() == []


def test_a_server_is_suspect_then_dead_then_back_and_each_is_told_once() -> None:
    watch = Watch()
    watch.house.suspect.add(1)
    watch.tick()
    watch.house.suspect.clear()
    watch.house.dead.add(1)
    watch.tick()
    watch.new_leader()
    watch.tick()
    watch.house.dead.clear()
    watch.tick()
    said = watch.texts()
    assert [line.split(":")[0] for line in said[:2]] == ["cs1 suspect", "cs1 dead"]
    assert said[2].startswith("cs1 back, it was dead after ")
    assert len(said) == 3


def test_a_new_leader_that_takes_the_dead_for_suspect_neither_repeats_nor_takes_back() -> None:
    watch = Watch(House(server_count=3))
    watch.house.chunk((1, 2, 3))
    watch.house.dead.add(1)
    lost, dead = finding("CHUNKS_LOST"), finding("SERVER_DEAD", subject="cs1")
    under = News((finding("CHUNKS_UNDER"), lost, dead), WELL.masters)
    watch.failed.add((ServerId(1), DiskId(101)))
    watch.walk()
    watch.tick(under)
    assert len(watch.texts()) == 4
    with watch.house.tables.view() as view:
        before = told(HealthReport(False, under.findings), all_noted(view), {}, 0)
    watch.new_leader()
    watch.failed.clear()
    watch.house.dead.clear()
    watch.house.suspect.add(1)
    suspect = News((finding("SERVER_SUSPECT", subject="cs1"),), WELL.masters)
    for _ in range(2):
        watch.walk()
        watch.tick(suspect)
    watch.house.suspect.clear()
    watch.house.dead.add(1)
    watch.walk()
    watch.tick(under)
    assert watch.texts() == []
    with watch.house.tables.view() as view:
        after = told(HealthReport(False, under.findings), all_noted(view), {}, 0)
    assert [one.since_ns for one in after.items] == [one.since_ns for one in before.items]
    assert all(one.since_ns for one in after.items)


def test_a_server_that_is_suspect_to_a_new_leader_stays_muted() -> None:
    watch = Watch()
    watch.house.tables.do(StartMute("SERVER_DEAD", 60_000, "warning", ("cs1",)))
    with watch.house.tables.view() as view:
        now_ms, mutes = view.counters().cluster_ms, all_mutes(view)
    for name, healthy in (("cs1", True), ("cs2", False)):
        found = HealthReport(False, (finding("SERVER_SUSPECT", subject=name),))
        assert told(found, {}, mutes, now_ms).healthy is healthy


def test_a_leader_that_has_not_heard_of_everybody_tells_nothing() -> None:
    watch = Watch()
    watch.house.dead.update((1, 2))
    assert watch.plan(WELL, young=True).empty


def test_a_disk_that_failed_is_told_and_that_it_serves_again() -> None:
    watch = Watch()
    watch.house.tables.enroll(2, second=302)
    watch.failed.add((ServerId(2), DiskId(102)))
    watch.tick()
    watch.failed.clear()
    watch.tick()
    assert [line.split(",")[0] for line in watch.texts()] == [
        "cs2 disk 0x66 is out of service",
        "cs2 disk 0x66 serves again after 0 s",
    ]


def test_a_failed_disk_that_was_changed_for_another_is_not_told_to_serve_again() -> None:
    watch = Watch()
    watch.house.tables.enroll(2, second=302)
    watch.failed.add((ServerId(2), DiskId(102)))
    watch.tick()
    watch.house.tables.enroll(2, disk=202, second=302)
    watch.failed.clear()
    watch.tick()
    assert "goes on without disk 0x66" in watch.texts()[-1]


def test_repair_is_told_when_it_begins_and_when_it_is_over_with_what_it_made() -> None:
    watch = Watch(House(server_count=5))
    for _ in range(2):
        watch.house.chunk((1, 2, 3))
    watch.house.dead.add(1)
    watch.walk()
    watch.tick()
    watch.new_leader()
    watch.tick()  # Before its first round is through: it goes on, as far as anybody knows.
    watch.house.rest()
    watch.walk()
    watch.walk()
    watch.tick()
    assert watch.texts() == [
        "cs1 dead: its copies are made anew elsewhere",
        "repair begins: 2 chunks lack copies, 0.0 MiB to copy",
        "repair over: 2 copies made, 0.0 MiB, after 0 s",
    ]


def test_a_server_that_dies_in_its_maintenance_is_told_to_be_waited_for() -> None:
    watch = Watch(House(server_count=4))
    watch.house.tables.do(SetMaintenance(ServerId(1), 3_600_000))
    watch.house.dead.add(1)
    watch.tick()
    told = "cs1 dead: its copies are made anew elsewhere once its maintenance ends"
    assert watch.texts() == ["cs1 in maintenance for 60 min", told]


def test_a_repair_says_when_it_begins_what_no_server_can_take() -> None:
    watch = Watch(House(server_count=4))
    watch.house.chunk((1, 2, 3), goal=6)
    watch.walk()
    watch.tick()
    (text,) = watch.texts()
    told = "repair begins: 1 chunk lacks copies, 0.0 MiB to copy, and no server can take 2 of them"
    assert text == told


def test_a_server_that_ended_with_its_last_disk_is_dead_before_its_repair_is_told() -> None:
    watch = Watch(House(server_count=5))
    for _ in range(2):
        watch.house.chunk((1, 2, 3))
    watch.house.tables.enroll(1, second=301)
    watch.failed.update({(ServerId(1), DiskId(101)), (ServerId(1), DiskId(301))})
    watch.house.dead.add(1)  # What lies there is lost to the planner of repair …
    watch.walk()
    watch.house.dead.clear()  # … long before its silence says that it is dead.
    watch.tick()
    watch.house.dead.add(1)
    watch.house.rest()
    watch.house.dead.clear()
    watch.house.suspect.add(1)
    watch.walk()
    watch.walk()
    watch.tick()
    watch.house.suspect.clear()
    watch.house.dead.add(1)
    watch.tick()
    said = [line.split(",")[0] for line in watch.texts()]
    assert said == [
        "cs1 disk 0x65 is out of service",
        "cs1 disk 0x12d is out of service",
        "cs1 dead: it ended when its last disk failed",
        "repair begins: 2 chunks lack copies",
        "repair over: 2 copies made",
    ]
    watch.house.dead.clear()
    watch.failed.clear()
    watch.house.tables.enroll(1, disk=401)
    watch.tick()
    assert "cs1 back" in " ".join(watch.texts())


def test_chunks_without_any_copy_keep_no_repair_going() -> None:
    watch = Watch()
    watch.house.chunk((1, 2, 3))
    watch.house.dead.update((1, 2, 3))
    watch.walk()
    watch.walk()
    watch.tick()
    assert all("repair" not in line for line in watch.texts())


def test_findings_are_told_once_when_they_come_and_when_they_go() -> None:
    watch = Watch()
    skewed = finding("CLOCK_SKEW", "warning", "cs2")
    news = News((skewed, skewed, finding("SPACE_LOW"), finding("CHUNKS_UNDER")), WELL.masters)
    watch.tick(news)
    watch.new_leader()
    watch.tick(news)
    with watch.house.tables.view() as view:
        noted = all_noted(view)
        report = told(HealthReport(False, news.findings), noted, {}, 0)
    assert all(one.since_ns > 0 for one in report.items)
    watch.tick(WELL)
    assert watch.texts() == [
        "cs2 CLOCK_SKEW: clock_skew it is",
        "SPACE_LOW space_low it is",
        "cs2 CLOCK_SKEW is over after 0 s",
        "SPACE_LOW is over after 0 s",
    ]


def test_what_blocks_a_job_is_not_called_over_when_the_job_pauses_or_a_leader_is_new() -> None:
    watch = Watch()
    do = watch.house.tables.do
    number: int = do(StartJob(DRAIN, JobOptions(), ServerId(2))).number
    news = News((finding("DRAIN_BLOCKED", "warning", "cs2"),), WELL.masters)
    watch.tick(news)
    told = watch.texts()[-1:]
    watch.new_leader()
    watch.tick(WELL)  # It has not been through the job yet.
    assert (told, watch.texts()) == (["cs2 DRAIN_BLOCKED: drain_blocked it is"], [])

    watch.house.cursors.jobs.tell(number, JobLeft(blocked=1))
    do(SetJobPhase(number, RUNNING, PAUSED))
    watch.tick(WELL)
    paused = "cs2 DRAIN_BLOCKED: job d-1 is paused, and is looked at when it goes on"
    assert watch.texts()[-1] == paused
    do(SetJobPhase(number, PAUSED, RUNNING))
    watch.tick(news)
    watch.tick(WELL)
    assert watch.texts()[-1].startswith("cs2 DRAIN_BLOCKED is over")


def test_other_masters_than_before_are_told() -> None:
    watch = Watch()
    watch.tick(News((), ("m1", "m2", "m4")))
    watch.new_leader()
    watch.tick(News((), ("m1", "m2", "m4")))
    assert watch.texts() == ["masters they are m1, m2, m4 now"]


def test_what_flaps_is_told_a_few_times_and_then_counted_and_forgotten() -> None:
    watch = Watch()
    for _ in range(10):
        watch.house.suspect.add(3)
        watch.tick()
        watch.house.suspect.clear()
        watch.tick()
    assert len(watch.texts()) == 6
    watch.later(EVENT_WINDOW_MS)
    watch.tick()
    assert watch.texts() == ["cs3 it came and went, is as it should be now (14 more like this)"]
    watch.later(EVENT_WINDOW_MS)
    watch.tick()
    with watch.house.tables.view() as view:
        assert not [key for key in all_noted(view) if key.startswith("server")]


def test_a_mute_ends_when_it_gets_worse_or_its_time_is_over() -> None:
    watch = Watch()
    dead = finding("SERVER_DEAD", "warning", "cs1")
    watch.house.tables.do(StartMute("SERVER_DEAD", 1000, "warning", ("cs1",)))
    watch.tick(News((dead,), WELL.masters))
    assert watch.texts()[1:] == []
    for worse, why in (
        (finding("SERVER_DEAD", "warning", "cs2"), "it is about cs2 now, too"),
        (finding("SERVER_DEAD", "error", "cs1"), "it is an error now, and was a warning"),
    ):
        watch.tick(News((dead, worse), WELL.masters))
        assert any(why in line for line in watch.texts())
        with watch.house.tables.view() as view:
            assert not all_mutes(view)
        watch.house.tables.do(StartMute("SERVER_DEAD", 1000, "warning", ("cs1",)))
    watch.later(2000)
    watch.tick(News((dead,), WELL.masters))
    assert watch.texts()[-1].endswith("counts again: its time is over")


def test_a_finding_that_is_muted_does_not_count_and_says_for_how_long() -> None:
    watch = Watch()
    watch.house.tables.do(StartMute("SPACE_LOW", 60_000, "error", (), "a bigger disk comes"))
    with watch.house.tables.view() as view:
        now_ms, mutes = view.counters().cluster_ms, all_mutes(view)
    found = HealthReport(False, (finding("SPACE_LOW"), finding("CLOCK_SKEW", "warning", "cs1")))
    report = told(found, {}, mutes, now_ms)
    assert report.healthy
    assert [one.code for one in report.items] == ["CLOCK_SKEW", "SPACE_LOW"]
    assert (report.items[1].muted_ms, report.items[1].mute_reason) == (
        60_000,
        "a bigger disk comes",
    )
    assert [one.code for one in report.mutes] == ["SPACE_LOW"]
    assert not told(found, {}, mutes, now_ms + 60_000).healthy


def test_where_no_more_can_be_noted_the_rest_waits_and_what_is_over_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(House(server_count=8))
    with watch.house.tables.view() as view:
        room = view.counters().noted + 5
    monkeypatch.setattr("gfs_ha.master.state.events.EVENT_NOTED_MAX", room)
    monkeypatch.setattr("gfs_ha.master.planners.events.EVENT_NOTED_MAX", room)
    watch.house.dead = set(range(1, 9))
    watch.tick()  # All that is proposed is taken, and nothing is proposed again and again.
    assert len(watch.texts()) == 5
    watch.house.dead = {6, 7, 8}
    watch.tick()
    assert sum("back, it was dead" in line for line in watch.texts()) == 5
    watch.later(EVENT_WINDOW_MS + 1)
    for command in watch.plan().proposals:
        watch.house.tables.do(command)  # Those that are well for a while are forgotten…
    watch.tick()  # …and leave their room to others.
    assert sum("dead" in line for line in watch.texts()) == 3


def test_what_is_over_is_told_although_more_begins_than_one_command_tells() -> None:
    watch = Watch()
    watch.house.dead = {1}
    watch.tick()
    watch.house.dead = set()
    many = News(
        tuple(finding("CLOCK_OFF", "warning", f"cs{at}") for at in range(500)), WELL.masters
    )
    for command in watch.plan(many).proposals:
        watch.house.tables.do(command)
    assert any("back, it was dead" in line for line in watch.texts())

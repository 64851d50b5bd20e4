"""Servers emptied amid anything: it ends when it can, and no chunk is ever worse off for it."""

from __future__ import annotations

from drain_house import ALL, DrainHouse
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.master.planners.drain import plan_drain
from gfs_ha.protocol.jobs import DECOMMISSION, DRAIN, RUNNING

SERVERS = 6
Happening = tuple[str, int]

layouts = st.lists(
    st.lists(st.integers(1, SERVERS), min_size=1, max_size=4, unique=True), min_size=1, max_size=6
)
happenings = st.lists(
    st.tuples(
        st.sampled_from(
            ("drain", "decommission", "cancel", "die", "return", "leader", "full", "room", "tick")
        ),
        st.integers(1, SERVERS),
    ),
    max_size=12,
)


class Story:
    """A house with files on it, and what happens to it."""

    def __init__(self, layout: list[list[int]]) -> None:
        self.house = DrainHouse(SERVERS)
        self.chunks = {}
        for number, servers in enumerate(layout):
            chunk = self.house.chunk(tuple(servers), goal=len(servers))
            self.house.file(chunk, f"/f{number}")
            self.chunks[chunk] = len(servers)

    def happen(self, what: str, server: int) -> None:
        house = self.house
        if what in ("drain", "decommission"):
            if house.mode(server) == "in-service":
                house.begin(server, DRAIN if what == "drain" else DECOMMISSION)
        elif what == "cancel":
            for number in self.running():
                if house.job(number).server_id == server:
                    house.cancel(number)
        elif what == "die":
            # One at a time: more at once lose copies whatever anybody does.
            if not house.dead:
                house.dead = {server}
        elif what == "return":
            house.dead = set()
        elif what == "leader":
            house.cursors = type(house.cursors)()
        elif what == "full":
            house.full = {server}
        elif what == "room":
            house.full = set()
        self.tick()

    def tick(self) -> None:
        """Go on, and look that no chunk has lost what it had."""
        before = {chunk: len(self.house.good(chunk)) for chunk in self.chunks}
        self.house.tick()
        for chunk, goal in self.chunks.items():
            now = len(self.house.good(chunk))
            assert now >= min(before[chunk], goal), f"chunk {chunk:#x} had {before[chunk]}"
            assert self.house.row(chunk).holders, "the last copy went"

    def running(self) -> list[int]:
        counted = range(1, 40)
        found = []
        for number in counted:
            try:
                if self.house.job(number).phase == RUNNING:
                    found.append(number)
            except AssertionError:
                return found
        return found

    def can_end(self, number: int) -> bool:
        """Return whether every chunk there can be held by servers that stay."""
        stay = sum(self.house.mode(one) == "in-service" for one in range(1, SERVERS + 1))
        server = self.house.job(number).server_id
        there = [
            goal
            for chunk, goal in self.chunks.items()
            if any(one.server_id == server for one in self.house.row(chunk).replicas)
        ]
        return all(goal <= stay for goal in there)


@settings(max_examples=60, deadline=None)
@given(layouts, happenings)
def test_whatever_happens_no_chunk_is_worse_off_and_what_can_end_ends(
    layout: list[list[int]], story: list[Happening]
) -> None:
    told = Story(layout)
    for what, server in story:
        told.happen(what, server)
    told.house.dead, told.house.full = set(), set()
    jobs = told.running()
    for _ in range(120):
        if not told.running():
            break
        told.tick()
    for number in jobs:
        job = told.house.job(number)
        if told.can_end(number):
            assert job.phase == "done", (job, told.house.cursors.drains.of(number).newest)
            assert told.house.places(job.server_id) == 0
        else:
            newest = told.house.cursors.drains.of(number).newest
            assert job.phase == RUNNING and newest is not None
            assert newest.blocked and all(one.why and one.way for one in newest.blocked)


@settings(max_examples=30, deadline=None)
@given(layouts, st.lists(st.integers(1, SERVERS), min_size=1, max_size=3, unique=True))
def test_at_rest_every_planner_has_nothing_left_to_do(
    layout: list[list[int]], leaving: list[int]
) -> None:
    told = Story(layout)
    for server in leaving:
        told.house.begin(server)
    for _ in range(150):
        if not told.house.tick():
            break
    else:
        raise AssertionError("the planners do not come to rest")
    told.house.now_s += 10.0
    assert all(told.house.plan(planner).empty for planner in (*ALL, plan_drain))

"""Disks emptied, lost and changed amid anything: no chunk is worse off, and what can end ends."""

from __future__ import annotations

from drain_house import DrainHouse
from hypothesis import given, settings
from hypothesis import strategies as st

from gfs_ha.master.state.commands import EnrolledDisk, EnrollServer
from gfs_ha.master.state.jobs import running_jobs
from gfs_ha.master.state.server_mode_commands import ForgetDisk
from gfs_ha.protocol.jobs import DISK_DRAIN
from gfs_ha.protocol.server_modes import DRAINED, IN_SERVICE

SERVERS = 4
Happening = tuple[str, int, int]

layouts = st.lists(
    st.lists(st.integers(1, SERVERS), min_size=2, max_size=3, unique=True), min_size=1, max_size=5
)
happenings = st.lists(
    st.tuples(
        st.sampled_from(("drain", "cancel", "lose", "die", "return", "leader", "tick")),
        st.integers(1, SERVERS),
        st.integers(0, 1),
    ),
    max_size=12,
)


class DiskStory:
    """Servers with two disks each, files on them, and what happens to single disks."""

    def __init__(self, layout: list[list[int]]) -> None:
        self.house = DrainHouse(SERVERS)
        self.disks = {number: [100 + number, 200 + number] for number in range(1, SERVERS + 1)}
        self.starts = 1
        for number in self.disks:
            self.enroll(number)
        self.chunks = {}
        for number, servers in enumerate(layout):
            chunk = self.house.chunk(tuple(servers), goal=len(servers))
            self.house.file(chunk, f"/f{number}")
            self.chunks[chunk] = len(servers)

    def enroll(self, number: int) -> None:
        self.starts += 1
        told = tuple(EnrolledDisk(one, 1 << 40) for one in self.disks[number])
        where = ("127.0.0.1", 7300 + number, "r1" if number < 3 else "r2", "h")
        self.house.tables.do(EnrollServer(f"cs{number}", 0, *where, self.starts, 1, told))

    def whole(self) -> bool:
        return all(len(self.house.good(one)) >= goal for one, goal in self.chunks.items())

    def happen(self, what: str, server: int, which: int) -> None:
        house, disk = self.house, self.disks[server][which]
        if what == "drain" and not self.mode(server, disk):
            house.begin(server, DISK_DRAIN, disk)
        elif what == "cancel":
            for number, job in self.running():
                if job.disk_id == disk:
                    house.cancel(number)
        elif what == "lose" and not house.dead and self.whole():
            self.lose(server, which)
        elif what == "die" and not house.dead and self.whole():
            house.dead = {server}
        elif what == "return":
            house.dead = set()
        elif what == "leader":
            house.cursors = type(house.cursors)()
        self.tick()

    def lose(self, server: int, which: int) -> None:
        """Let a server come back with a new disk in the place of one of its own."""
        house, disk = self.house, self.disks[server][which]
        for chunk in self.chunks:
            if (server, disk) in [(r.server_id, r.disk_id) for r in house.row(chunk).replicas]:
                house.on_disk.get(server, set()).discard(chunk)
        self.disks[server][which] = 1000 + self.starts
        self.enroll(server)

    def tick(self) -> None:
        """Go on, and look that no chunk has lost what it had."""
        before = {chunk: len(self.house.good(chunk)) for chunk in self.chunks}
        self.house.tick()
        for chunk, goal in self.chunks.items():
            now = len(self.house.good(chunk))
            assert now >= min(before[chunk], goal), f"chunk {chunk:#x} had {before[chunk]}"
            assert self.house.row(chunk).holders, "the last copy went"

    def running(self):
        with self.house.tables.view() as view:
            return list(running_jobs(view))

    def mode(self, server: int, disk: int):
        with self.house.tables.view() as view:
            return view.disk_mode(server, disk)

    def lost(self) -> list[tuple[int, int]]:
        with self.house.tables.view() as view:
            return [(one, d.disk_id) for one, row in view.servers() for d in row.disks if d.lost]


@settings(max_examples=25, deadline=None)
@given(layouts, happenings)
def test_whatever_happens_to_disks_no_chunk_is_worse_off_and_lost_ones_are_forgotten(
    layout: list[list[int]], story: list[Happening]
) -> None:
    told = DiskStory(layout)
    for what, server, which in story:
        told.happen(what, server, which)
    house = told.house
    house.dead = set()
    for _ in range(120):
        if not told.running() and told.whole() and not house.tick():
            break
        told.tick()
    assert told.whole()
    for number, job in told.running():
        newest = house.cursors.drains.of(number).newest
        assert newest is not None and newest.blocked, (job, newest)
        assert all(one.why and one.way for one in newest.blocked)
        both = [told.mode(job.server_id, one) for one in told.disks[job.server_id]]
        assert all(both), "with another disk there it ends"
    for server, disk in told.lost():
        mode = told.mode(server, disk)
        assert mode is None or mode.mode == DRAINED
        house.tables.do(ForgetDisk(server, disk, IN_SERVICE if mode is None else mode.mode))
    assert told.lost() == []

"""Whatever is asked of a cluster at once, and whoever falls meanwhile, no copy is lost by it."""

from __future__ import annotations

import random

import pytest
from siege_house import Siege

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.master.planners.copies import evidence
from gfs_ha.master.planners.plan import PlanLimits
from gfs_ha.master.planners.scene import Scene
from gfs_ha.master.state.commands import ConfirmCopy, LeaderElected, PlaceCopy
from gfs_ha.master.state.job_commands import SetJobPhase, StartJob
from gfs_ha.master.state.jobs import get_job, running_jobs
from gfs_ha.master.state.records import SEALED
from gfs_ha.master.state.server_mode_commands import (
    ForgetDisk,
    ForgetPlaces,
    RemoveServer,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.master.state.server_mode_records import ServerMode
from gfs_ha.master.state.view import View
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DECOMMISSION,
    DISK_DRAIN,
    DRAIN,
    PAUSED,
    REBALANCE,
    RUNNING,
    JobOptions,
)
from gfs_ha.protocol.policy import SetReplication
from gfs_ha.protocol.server_modes import IN_SERVICE, LEAVING

SERVERS = 7
WHAT = (
    *("look",) * 12,
    *("commit",) * 10,
    *("deliver",) * 10,
    *("elect", "rebalance", "drain", "decommission", "undrain", "pause", "resume", "cancel"),
    *("maintenance", "goal", "goal", "die", "back", "back", "deaf", "rot", "old disk", "new disk"),
    *("remove", "forget disk", "drain disk", "wait"),
)


def begin(seed: int) -> Siege:
    """Return a cluster with some chunks, each of them a file's, on servers that are not even."""
    siege = Siege(
        server_count=SERVERS,
        seed=seed,
        racks={one: f"r{one % 3}" for one in range(1, SERVERS + 1)},
        totals=dict.fromkeys(range(1, 2 * SERVERS), 30),
    )
    for at in range(10):
        servers = siege.chance.sample(range(1, SERVERS - 1), 3)
        siege.file(siege.chunk(tuple(servers)), f"/f{at}")
    if seed % 2:
        siege.tables.do(LeaderElected("m1", 2))  # What was sealed before needs tallies to count.
    return siege


def ids(siege: Siege) -> list[int]:
    with siege.tables.view() as view:
        return [one for one, _ in view.servers()]


def happen(siege: Siege, what: str) -> None:
    chance = siege.chance
    server = chance.choice(ids(siege))
    with siege.tables.view() as view:
        jobs = list(running_jobs(view))
        row = view.server_mode(ServerId(server))
    number, job = chance.choice(jobs) if jobs else (0, None)
    if what == "look":
        siege.look()
    elif what == "wait":
        for _ in range(30):
            siege.look()
            siege.commit(4)
            siege.deliver(8)
    elif what == "commit":
        siege.commit(chance.randint(1, 12))
    elif what == "deliver":
        siege.deliver(chance.randint(1, 12))
    elif what == "elect":
        siege.elect()
    elif what == "rebalance":
        siege.tried(StartJob(REBALANCE, JobOptions(chance.choice((0.02, 0.05)))))
    elif what in ("drain", "decommission"):
        kind = DRAIN if what == "drain" else DECOMMISSION
        siege.tried(StartJob(kind, JobOptions(), ServerId(server)))
    elif what == "drain disk":
        with siege.tables.view() as view:
            disks = view.servers()
        disk_id = next(chance.choice(row.disks).disk_id for one, row in disks if one == server)
        siege.tried(StartJob(DISK_DRAIN, JobOptions(), ServerId(server), disk_id))
    elif what == "undrain":
        undrain(siege, server, row)
    elif what in ("pause", "resume", "cancel") and job is not None:
        aim = {"pause": PAUSED, "resume": RUNNING, "cancel": CANCELLED}[what]
        siege.tried(SetJobPhase(number, job.phase, aim))
    elif what == "maintenance":
        siege.tried(SetMaintenance(ServerId(server), chance.choice((0, 5_000, 30_000))))
    elif what == "goal":
        path = f"/f{chance.randrange(10)}"
        siege.tried(SetReplication(path, chance.choice((2, 3, 3, 4))), siege.session)
    elif what == "deaf":
        siege.deaf = set() if siege.deaf else {server}
    elif what == "die" and len(siege.dead) < 2:
        siege.die(server)
    elif what == "back":
        siege.back(server)
    else:
        lose(siege, what, server)


def undrain(siege: Siege, server: int, row: ServerMode) -> None:
    """Take a server back, as the handler does it."""
    with siege.tables.view() as view:
        job = get_job(view, row.job)
    if row.mode in LEAVING and job is not None and not job.ended:
        siege.tried(SetJobPhase(row.job, job.phase, CANCELLED))
    else:
        siege.tried(SetServerMode(ServerId(server), row.mode, IN_SERVICE, 0, row.job))


def lose(siege: Siege, what: str, server: int) -> None:
    """Something is lost for good, one thing at a time: more at once nothing can bear."""
    if what == "remove":
        remove(siege, server)
        return
    if what == "forget disk":
        forget_disk(siege, server)
        return
    if not siege.whole() or siege.dead or siege.log or siege.wire:
        return
    held = siege.on_disk.get(server, set())
    if what == "rot" and held:
        siege.damaged.add((siege.chance.choice(sorted(held)), server))
    elif what == "old disk" and held:
        # It started anew from a copy of its disk of long ago.
        held.discard(siege.chance.choice(sorted(held)))
        siege.since_s[server] = siege.now_s
    elif what == "new disk":
        with siege.tables.view() as view:
            row = view.server(ServerId(server))
        assert row is not None
        siege.on_disk[server] = set()
        siege.damaged = {one for one in siege.damaged if one[1] != server}
        siege.gone = {one for one in siege.gone if one[1] != server}
        siege.since_s[server] = siege.now_s
        disk = max(one.disk_id for one in row.disks) + 100
        siege.tables.enroll(int(row.name[2:]), disk, row.rack)


def remove(siege: Siege, server: int) -> None:
    """Do one step of a removal, as the handler does it."""
    if server not in siege.dead:
        return
    with siege.tables.view() as view:
        scene = Scene(view, siege.seen())
        mode = view.server_mode(ServerId(server)).mode
        if mode in ("draining", "decommissioning") or scene.repair.young:
            return
        page = view.replicas_of(ServerId(server), None, 100)
        free = sure_places(scene, view, server, [chunk_id for _, chunk_id in page])
    siege.log.append(ForgetPlaces(ServerId(server), free))
    if siege.chance.random() < 0.5:
        siege.log.append(RemoveServer(ServerId(server), mode))


def forget_disk(siege: Siege, server: int) -> None:
    """Do one step of what forgets a lost disk, as the handler does it."""
    with siege.tables.view() as view:
        scene = Scene(view, siege.seen())
        row = view.server(ServerId(server))
        assert row is not None
        lost = [one.disk_id for one in row.disks if one.lost]
        if not lost or scene.repair.young:
            return
        disk_id = siege.chance.choice(lost)
        mode = view.disk_mode(ServerId(server), disk_id)
        page = [one for one in view.replicas_of(ServerId(server), None, 100) if one[0] == disk_id]
        free = sure_places(scene, view, server, [chunk_id for _, chunk_id in page])
    siege.log.append(ForgetPlaces(ServerId(server), free, 0, disk_id))
    if siege.chance.random() < 0.7:
        siege.log.append(
            ForgetDisk(ServerId(server), disk_id, IN_SERVICE if mode is None else mode.mode)
        )


def sure_places(
    scene: Scene, view: View, server: int, chunk_ids: list[ChunkId]
) -> tuple[tuple[ChunkId, tuple[ServerId, ...]], ...]:
    """Return the places of a server that can be forgotten, each with its evidence."""
    free = []
    for chunk_id in chunk_ids:
        chunk = view.chunk(chunk_id)
        assert chunk is not None
        sure = evidence(scene, chunk_id, chunk, ServerId(server))
        if chunk.state == SEALED and len(sure) >= chunk.goal:
            free.append((chunk_id, sure[: chunk.goal]))
    return tuple(free)


def run(seed: int, steps: int) -> Siege:
    siege = begin(seed)
    chance = random.Random(seed)
    for _ in range(steps):
        happen(siege, chance.choice(WHAT))
        for chunk_id in all_chunks(siege):
            assert siege.real(chunk_id), f"chunk {chunk_id:#x} is lost"
    return siege


def takers(siege: Siege) -> int:
    """Return how many servers may get copies."""
    with siege.tables.view() as view:
        return sum(
            view.server_mode(one).mode == IN_SERVICE
            and any(not disk.lost and not view.disk_mode(one, disk.disk_id) for disk in row.disks)
            for one, row in view.servers()
        )


def all_chunks(siege: Siege) -> list[ChunkId]:
    with siege.tables.view() as view:
        return [one for one, _ in view.chunks_after(ChunkId(0), 1000)]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_asked_at_once_no_copy_is_lost_and_all_comes_to_rest(seed: int) -> None:
    siege = run(seed, 200)
    siege.check()
    known = set(ids(siege))
    for server in sorted(siege.dead & known):
        siege.back(server)
    siege.dead, siege.deaf, siege.full = set(), set(), set()
    siege.resting.clear()
    siege.elect()
    assert siege.settle(1500), "the planners do not come to rest"
    siege.check()
    for chunk_id in all_chunks(siege):
        row = siege.row(chunk_id)
        assert len(siege.good(chunk_id)) >= min(row.goal, takers(siege)), (chunk_id, row)
        assert not (row.copying or row.deleting or row.leaving), (chunk_id, row)
    with siege.tables.view() as view:
        for number, job in running_jobs(view):
            left = siege.cursors.jobs.of(number)
            assert job.phase == PAUSED or left.blocked or left.waits, (number, job, left)


@pytest.mark.parametrize(
    ("told", "real"), [((4, 5, 6), (1, 2, 3)), ((1, 2, 3), (4, 5, 6)), ((2, 4, 6), (1, 3, 5))]
)
def test_masters_that_go_on_from_an_old_copy_find_chunks_that_were_moved_since(
    told: tuple[int, ...], real: tuple[int, ...]
) -> None:
    siege = Siege(
        server_count=6,
        racks={one: f"r{one % 3}" for one in range(1, 7)},
        totals=dict.fromkeys(range(1, 7), 300),
        limits=PlanLimits(rows=8),  # It takes a while to count what lies on a disk.
    )
    moved = [siege.chunk(told) for _ in range(3)]
    for number, chunk_id in enumerate(moved):
        siege.file(chunk_id, f"/f{number}")
    for number in range(40):
        siege.chunk(((1, 2, 3), (4, 5, 6), (1, 3, 5), (2, 4, 6))[number % 4])
    for server in range(1, 7):
        siege.on_disk[server] = {
            chunk_id
            for chunk_id in siege.on_disk[server] | set(moved)
            if chunk_id not in moved or server in real
        }
    siege.elect()
    for _ in range(60):
        siege.settle(20)
        assert all(siege.real(chunk_id) for chunk_id in moved), "all that was left is deleted"
        if all(len(siege.good(chunk_id)) == 3 for chunk_id in moved):
            break
    assert all(len(siege.good(chunk_id)) == 3 for chunk_id in moved)


@pytest.mark.parametrize("told", [(1, 2, 3, 4), (2, 3, 4, 1), (3, 1, 2, 6)])
def test_nor_do_they_drop_what_is_too_much_on_the_word_of_servers_that_it_has_left(
    told: tuple[int, ...],
) -> None:
    siege = Siege(
        server_count=6,
        racks={one: f"r{one % 3}" for one in range(1, 7)},
        totals=dict.fromkeys(range(1, 7), 300),
        other_use={told[0]: 200},  # Of copies too many the one on the fullest server goes.
        limits=PlanLimits(rows=1),  # It takes long to count what lies on a disk.
    )
    chunk_id = siege.chunk(told[:3])
    siege.file(chunk_id, "/f")
    row = siege.row(chunk_id)
    fourth = (told[3], 100 + told[3])
    siege.tables.do(PlaceCopy(chunk_id, row.sealed_index, *fourth, 3))
    order = siege.row(chunk_id).copying[0].order_index
    end = (row.length, row.digest, order)
    siege.tables.do(ConfirmCopy(chunk_id, row.sealed_index, *fourth, *end))
    for number in range(60):
        siege.chunk(((1, 2, 3), (4, 5, 6), (1, 3, 5), (2, 4, 6))[number % 4])
    # It was dropped on one server and moved from two others since.
    real = {told[0], 5, 4 if 6 in told else 6}
    for server in range(1, 7):
        siege.on_disk[server].discard(chunk_id)
        siege.on_disk[server] |= {chunk_id} if server in real else set()
    siege.tables.do(LeaderElected("m1", 2))
    siege.elect()
    for _ in range(60):
        siege.settle(20)
        assert len(siege.real(chunk_id)) == 3 or len(siege.good(chunk_id)) >= 3
    assert len(siege.good(chunk_id)) == 3

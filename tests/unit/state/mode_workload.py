"""Random commands about how servers and disks stand, mostly ones that fit what stands."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.server_mode_commands import (
    ForgetDisk,
    ForgetPlaces,
    RemoveServer,
    SetDiskMode,
    SetLabels,
    SetMaintenance,
    SetServerMode,
)
from gfs_ha.protocol.server_modes import DISK_MODES, IN_SERVICE, SERVER_MODES


def mode_change(chance: random.Random, driver: Driver, servers: int) -> Command:
    """Return one change of how a server stands."""
    number = chance.randint(1, servers + 1)
    with driver.view() as view:
        row = view.server_mode(number)
        disk = view.disk_mode(number, 100 + number)
        page = view.replicas_of(number, None, 200)
        chunks = [(chunk_id, view.chunk(chunk_id)) for _, chunk_id in page]
    kind = chance.randint(0, 8)
    seen = chance.choice((row.mode, row.mode, row.mode, IN_SERVICE))
    if kind <= 1:
        mode = chance.choice((*SERVER_MODES, IN_SERVICE, "odd"))
        return SetServerMode(number, seen, mode, chance.randint(0, 3), row.job)
    if kind == 2:
        now = (IN_SERVICE, 0) if disk is None else (disk.mode, disk.job)
        mode = chance.choice(DISK_MODES)
        return SetDiskMode(number, 100 + number, now[0], mode, chance.randint(0, 3), now[1])
    if kind == 3:
        until = chance.choice((-1, row.maintenance_until_ms, 5))
        return SetMaintenance(number, chance.choice((0, 1, 60_000, -1)), until)
    if kind == 4:
        labels = ((chance.choice("abc"), chance.choice(("", "x"))),)
        return SetLabels(number, labels, (chance.choice("abc"),))
    if kind == 5:
        places = tuple(
            (chunk_id, tuple(one for one in chunk.holders if one != number))
            for chunk_id, chunk in chance.sample(chunks, min(2, len(chunks)))
        )
        disk_id = chance.choice((0, 0, 100 + number))
        return ForgetPlaces(number, places, chance.choice((0, 0, 0, 2)), disk_id)
    if kind >= 7:
        return disk_end(chance, driver, servers)
    return RemoveServer(number, seen)


def disk_end(chance: random.Random, driver: Driver, servers: int) -> Command:
    """Return a step of the end of a disk, mostly of one that its server came back without."""
    with driver.view() as view:
        known = [
            (number, disk)
            for number in range(1, servers + 1)
            for disk in getattr(view.server(number), "disks", ())
        ]
        lost = [(number, disk.disk_id) for number, disk in known if disk.lost]
        if not lost or chance.random() < 0.1:
            lost = [(number, disk.disk_id) for number, disk in known] or [(1, 101)]
        number, disk_id = chance.choice(lost)
        row = view.disk_mode(number, disk_id)
        mode = IN_SERVICE if row is None else row.mode
        page = view.replicas_of(number, (disk_id, 0), 200)
        chunks = [(chunk_id, view.chunk(chunk_id)) for on, chunk_id in page if on == disk_id]
        orphan = next(
            (one for one, _ in view.orphans(None, 100) if one[:2] == (number, disk_id)), 0
        )
    if not (chunks or orphan) or chance.random() < 0.2:
        return ForgetDisk(number, disk_id, chance.choice((mode, mode, IN_SERVICE)))
    places = tuple(
        (chunk_id, tuple(one for one in chunk.holders if one != number))
        for chunk_id, chunk in chance.sample(chunks, min(3, len(chunks)))
    )
    return ForgetPlaces(number, places, chance.choice((0, 2)), disk_id)

"""Faults that destroy bytes, and whether all that counts is on other machines, too."""

from __future__ import annotations

import random

from gfs_ha.chunk.disk import opened
from gfs_ha.chunk.disk_memory import MemoryDisk
from gfs_ha.chunk.slots.format import DATA_OFFSET, State
from gfs_ha.master.state.records import SEALED
from gfs_ha.sim.cluster.server import SimServer
from gfs_ha.sim.cluster.truth import Found, Truth, is_whole, replicas_on

_OTHERS_MIN = 2  # Whole copies beside one that rots: a second loss before it is found is promised.


def is_spare(truth: Truth, server: SimServer, disk: MemoryDisk) -> bool:
    """Return whether nothing that counts is on this disk, and on no other machine."""
    held = truth.copies()
    here = replicas_on(disk)
    for chunk_id, chunk in truth.chunks():
        if chunk_id not in held or chunk_id not in here:
            continue
        if chunk.state == SEALED and not chunk.length:
            continue
        # Of an open one every replica has all that was acknowledged.
        if server.name in held[chunk_id] and len(held[chunk_id]) == 1:
            return False
    return True


def flip_a_byte(truth: Truth, server: SimServer, chance: random.Random) -> tuple[str, int] | None:
    """Let a byte of a sealed replica rot, if two others are whole. Return where."""
    found = _to_spare(truth, server, chance)
    if found is None:
        return None
    disk, one = found
    with opened(disk, one.name) as file:
        there = file.size() - DATA_OFFSET  # Blocks at its end may be given back, or never copied.
    if there <= 0:
        return None
    offset = chance.randrange(min(one.header.end, there))
    disk.flip(one.name, DATA_OFFSET + offset, 1 << chance.randrange(8))
    return one.name, offset


def lose_a_file(truth: Truth, server: SimServer, chance: random.Random) -> str:
    """Remove the file of a sealed replica, if two others are whole. Return its name."""
    found = _to_spare(truth, server, chance)
    if found is None:
        return ""
    disk, one = found
    disk.unlink(one.name)
    disk.sync_names()
    return one.name


def _to_spare(
    truth: Truth, server: SimServer, chance: random.Random
) -> tuple[MemoryDisk, Found] | None:
    """Return a sealed replica of which two others are whole, with its disk."""
    rows = dict(truth.chunks())
    slots = [
        (disk, one)
        for disk in server.disks
        for found in replicas_on(disk).values()
        for one in found
    ]
    chance.shuffle(slots)
    for disk, found in slots:
        header = found.header
        chunk = rows.get(header.chunk_id)
        if chunk is None or header.state is not State.SEALED or not header.end:
            continue
        if not is_whole(disk, found, chunk):
            continue
        whole = truth.copies().get(header.chunk_id, set())
        if len(whole - {server.name}) >= _OTHERS_MIN:
            return disk, found
    return None

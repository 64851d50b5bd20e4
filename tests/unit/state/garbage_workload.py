"""Random commands about garbage, mostly ones that fit what is there, for the seeded workload."""

from __future__ import annotations

import random

from state_driver import Driver

from gfs_ha.ids import ChunkId, make_chunk_id
from gfs_ha.limits import BLOCK_BYTES, MIB
from gfs_ha.master.state.commands import Command
from gfs_ha.master.state.garbage_commands import (
    BeginCompaction,
    EndCompaction,
    NoteOrphans,
    OrphansDeleted,
    PunchChunk,
    PunchesDone,
)
from gfs_ha.master.state.living import living
from gfs_ha.protocol.extents import MovedRange, MoveReferences
from gfs_ha.protocol.gone import blocks_of, pack_blocks


def garbage_change(dice: random.Random, driver: Driver) -> Command:
    """Return one command about blocks that are given back, or about orphans."""
    kind = dice.random()
    if kind < 0.4:
        return _punch(dice, driver)
    if kind < 0.5:
        return _punched(dice, driver)
    if kind < 0.8:
        return _compact(dice, driver)
    return _orphans(dice, driver)


def _punch(dice: random.Random, driver: Driver) -> Command:
    """Ask for blocks of a sealed chunk: all dead ones, some, or one that may be alive."""
    with driver.view() as view:
        sealed = [one for one in view.chunks_after(0, 400) if one[1].state == "sealed"]
        if not sealed:
            return PunchChunk(5, 1, b"\x01")
        chunk_id, chunk = dice.choice(sealed)
        alive = living(view.rows, chunk_id)
    assert alive is not None
    whole = blocks_of(0, chunk.length)
    wanted = whole & ~alive.blocks
    chance = dice.random()
    if chance < 0.3:
        wanted &= dice.getrandbits(MIB // BLOCK_BYTES)
    elif chance < 0.5:
        wanted |= 1 << dice.randrange(MIB // BLOCK_BYTES)
    return PunchChunk(chunk_id, chunk.sealed_index, pack_blocks(wanted))


def _punched(dice: random.Random, driver: Driver) -> Command:
    with driver.view() as view:
        page = view.punching_chunks(0, 20)
    if not page:
        return PunchesDone(((5, 1, 1, 9),))
    chunk_id, chunk = dice.choice(page)
    index = chunk.punch_index - (dice.random() < 0.1)
    return PunchesDone(((chunk_id, dice.choice(chunk.punching), index, BLOCK_BYTES),))


def _compact(dice: random.Random, driver: Driver) -> Command:
    """Begin a compaction, move references into some chunk that a session claims, or end one."""
    with driver.view() as view:
        sealed = [one for one in view.chunks_after(0, 400) if one[1].state == "sealed"]
        under_way = view.compacting_chunks(0, 20)
        claimed = [one for one in sealed if one[1].claimed_by]
    if not sealed:
        return BeginCompaction(5, 1, 1)
    if not under_way or dice.random() < 0.2:
        chunk_id, chunk = dice.choice(sealed)
        return BeginCompaction(chunk_id, chunk.sealed_index, dice.choice(chunk.holders))
    chunk_id, chunk = dice.choice(under_way)
    index = chunk.compact_index - (dice.random() < 0.1)
    if not claimed or dice.random() < 0.15:
        return EndCompaction(chunk_id, index, "fuzz")
    target, copy = dice.choice(claimed)
    length = min(chunk.length, copy.length)
    middle = dice.choice((0, 100, length // 2))
    ranges = [MovedRange(0, 0, middle), MovedRange(middle, middle, length - middle)]
    moved = tuple(one for one in ranges if one.length > 0 or dice.random() < 0.1)
    return MoveReferences(chunk_id, index, target, moved)


def _orphans(dice: random.Random, driver: Driver) -> Command:
    """Note what has no row, has one, or has none yet; or say that some are deleted."""
    with driver.view() as view:
        noted = view.orphans(None, 20)
        newest = view.counters().last_chunk
    if noted and dice.random() < 0.5:
        (server_id, disk_id, chunk_id), row = dice.choice(noted)
        index = row.delete_index - (dice.random() < 0.1)
        return OrphansDeleted(((server_id, disk_id, chunk_id, max(0, index), 7),))
    counter = dice.randint(1, newest + 2)
    older = ChunkId(counter)  # As if of an incarnation before the first.
    chunk_id = dice.choice((older, make_chunk_id(1, counter), make_chunk_id(2, counter)))
    return NoteOrphans(((dice.randint(1, 5), 101, chunk_id),))

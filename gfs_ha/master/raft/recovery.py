"""The way out when a majority of the masters is gone for good: one copy begins a new incarnation.

The copy keeps its whole log, so that everything it ever stored is applied; it alone votes from then
on, and members of the old incarnation are never let in again.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import ConfigError
from gfs_ha.kv.ordered import OrderedKV
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import load_record, store_record
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import Address, Configuration, Point

INCARNATION_MAX = (1 << 16) - 1


class Copy(msgspec.Struct, frozen=True):
    """What a stopped member holds."""

    incarnation: int
    last_index: int
    applied_index: int
    voters: tuple[str, ...]
    doors: dict[str, Address] = {}  # Where the other members, also those of the file, may answer.


def stored_incarnation(kv: OrderedKV) -> int | None:
    """Return the incarnation that a store belongs to; None when it is empty."""
    with kv.read() as reader:
        record = load_record(reader)
    return None if record is None else record.incarnation


def look_at(kv: OrderedKV, config: RaftConfig) -> Copy:
    """Return what a store holds, for a person to decide. Raises: ConfigError for an empty one."""
    with kv.read() as reader:
        record = load_record(reader)
    if record is None:
        raise ConfigError("the directory is empty: there is no copy to recover from")
    journal = Journal(kv, initial=Configuration(config.initial(record.members)))
    members = journal.configuration.members.items()
    doors = {name: config.addresses(name, where).rpc for name, where in members}
    doors = {**config.doors, **doors}
    doors.pop(config.member_id, None)
    return Copy(
        record.incarnation,
        journal.last_index,
        journal.applied_index,
        tuple(journal.configuration.voters),
        doors,
    )


def begin_incarnation(kv: OrderedKV, config: RaftConfig) -> int:
    """Make a stopped member the only one of a new incarnation; return that, durably.

    Raises: ConfigError; OldCopy or NewerIncarnation when this copy was stopped for good: another
    one is newer.
    """
    with kv.read() as reader:
        record = load_record(reader)
    if record is None or record.incarnation >= INCARNATION_MAX:
        raise ConfigError("there is no copy here that can begin a new incarnation")
    journal = Journal(kv, initial=Configuration(config.initial(record.members)))
    alone = Configuration(config.initial([config.member_id]))
    writer = kv.begin()
    try:
        record.incarnation += 1
        store_record(writer, record)
        journal.appoint(Point(journal.last_index, journal.term_at(journal.last_index), alone))
        journal.write(writer)
    except BaseException:
        writer.abort()
        raise
    writer.commit()
    return record.incarnation

"""The way out when a majority of the masters is gone for good: one copy begins a new incarnation.

The copy keeps its whole log, so that everything it ever stored is applied; it alone votes from then
on, and members of the old incarnation are never let in again.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import ConfigError
from gfs_ha.kv.ordered import OrderedKV
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import (
    IdentityRecord,
    check_owner,
    load_record,
    store_record,
)
from gfs_ha.master.raft.journal import Journal
from gfs_ha.master.raft.members import Address, Configuration, Point

INCARNATION_MAX = (1 << 16) - 1


class Copy(msgspec.Struct, frozen=True):
    """What a stopped member holds."""

    incarnation: int
    last_index: int
    applied_index: int
    voters: tuple[str, ...]
    learners: tuple[str, ...] = ()
    doors: dict[str, Address] = {}  # Where the other members, also those of the file, may answer.


def stored_incarnation(kv: OrderedKV) -> int | None:
    """Return the incarnation that a store belongs to; None when it is empty."""
    with kv.read() as reader:
        record = load_record(reader)
    return None if record is None else record.incarnation


def look_at(kv: OrderedKV, config: RaftConfig) -> Copy:
    """Return what a store holds, for a person to decide; nothing is written.

    Raises: ConfigError for an empty one, WrongDirectory for another member's; OldCopy or
    NewerIncarnation when this copy was stopped for good: another one is newer.
    """
    _, journal, record = _opened(kv, config)
    configuration = journal.configuration
    members = configuration.members.items()
    doors = {name: config.addresses(name, where).rpc for name, where in members}
    doors = {**config.doors, **doors}
    doors.pop(config.member_id, None)
    return Copy(
        record.incarnation,
        journal.last_index,
        journal.applied_index,
        tuple(configuration.voters),
        tuple(configuration.learners),
        doors,
    )


def begin_incarnation(kv: OrderedKV, config: RaftConfig) -> int:
    """Make a stopped member the only one of a new incarnation; return that, durably.

    Raises: what `look_at` does.
    """
    alone, journal, record = _opened(kv, config)
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


def _opened(kv: OrderedKV, config: RaftConfig) -> tuple[Configuration, Journal, IdentityRecord]:
    """Return the member as a configuration of its own, its log, and who the store says it is."""
    config.check()
    with kv.read() as reader:
        record = load_record(reader)
    if record is None:
        raise ConfigError("the directory is empty: there is no copy to recover from")
    check_owner(record, config)
    if record.incarnation >= INCARNATION_MAX:
        raise ConfigError(f"incarnation {record.incarnation} is the last one that there can be")
    journal = Journal(kv, initial=Configuration(config.initial(record.members)))
    return Configuration(config.initial([config.member_id])), journal, record

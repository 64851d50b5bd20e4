"""`gfs-master --recover-from-this-copy`: one copy is all there is, a person says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from gfs_ha.config import Config, MasterAddress, MasterConfig
from gfs_ha.errors import ConfigError, GfsError, PreconditionFailed, UsageError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.master.directory import MasterDirectory, holds_store
from gfs_ha.master.raft.contract import LEADER, RaftConfig
from gfs_ha.master.raft.identity import DATABASES
from gfs_ha.master.raft.recovery import Copy, begin_incarnation, look_at
from gfs_ha.protocol.reports import MasterFacts

logger = logging.getLogger(__name__)

Facts = Mapping[str, MasterFacts | GfsError]
_NO_MEMBERS = ("outsider", "removed")


def recover(
    config: Config,
    own: MasterConfig,
    raft_config: RaftConfig,
    ask: Callable[[str], str],
    look: Callable[[Sequence[MasterAddress]], Facts],
) -> int:
    """Make this stopped master's copy the whole cluster; return the new incarnation.

    Args: `ask` shows a text to a person and returns the name of the cluster as it was typed;
    `look` asks masters what they say of themselves.

    Nothing is written before the name was typed. Raises: PreconditionFailed when another master
    answers, or this one is no voter; UsageError when the name is another one; ConfigError, OldCopy,
    NewerIncarnation, WrongDirectory.
    """
    raft_config.check()
    if not holds_store(own.directory):
        raise ConfigError(f"{own.directory} holds no store: there is no copy to recover from")
    directory = MasterDirectory(own.directory)
    try:
        directory.check()
        kv = LmdbKV(directory.store, DATABASES, own.map_bytes)
        try:
            found = look_at(kv, raft_config)
            name = config.cluster.name or config.cluster.id
            _refuse_no_voter(own.name, found)
            _refuse_beside(own.name, found, look(_others(found)))
            typed = ask(_warning(own.name, name, found))
            if not typed.strip():
                raise UsageError("no name was typed: nothing was changed")
            if typed.strip() != name:
                raise UsageError(f"{typed.strip()!r} is not {name!r}: nothing was changed")
            incarnation = begin_incarnation(kv, raft_config)
        finally:
            kv.close()
    finally:
        directory.close()
    logger.warning(
        "recovered from this copy master=%s incarnation=%d last_index=%d",
        own.name,
        incarnation,
        found.last_index,
    )
    return incarnation


def _others(found: Copy) -> list[MasterAddress]:
    doors = found.doors.items()
    return [MasterAddress(name, host, port, 0) for name, (host, port) in doors if port]


def _refuse_no_voter(own: str, found: Copy) -> None:
    """Refuse a copy that may lack anything: who does not vote holds what it was sent."""
    if own not in found.voters:
        what = "only learns" if own in found.learners else "is none of the masters"
        raise PreconditionFailed(
            f"by this copy {own} {what}; {', '.join(found.voters) or 'nobody'} may vote."
            " Nothing was changed. Recover from the copy of one of them"
        )


def _refuse_beside(own: str, found: Copy, said: Facts) -> None:
    """Refuse what would end a cluster that lives: whoever hears of the new one stops for good."""
    facts = {name: one for name, one in said.items() if isinstance(one, MasterFacts)}
    newer = [name for name, one in facts.items() if one.incarnation > found.incarnation]
    living = [name for name, one in facts.items() if one.role not in _NO_MEMBERS]
    leaders = [name for name in living if facts[name].role == LEADER]
    voting = [name for name in living if name in found.voters]
    instead = (
        f"Start {own} as usual; a master whose disk is lost is replaced (gfsctl admin masters"
        " replace). Only if all the others are given up for good, stop them first"
    )
    if newer:
        theirs = facts[newer[0]].incarnation
        which = f"{newer[0]} is of incarnation {theirs} already, this copy of {found.incarnation}"
        instead = "The cluster lives on there: add a new master on an empty directory instead"
    elif leaders:
        which = f"{leaders[0]} leads"
    elif len(voting) > len(found.voters) // 2:
        which = "they are a majority of the masters"
    elif voting and len(voting) + 1 > len(found.voters) // 2:
        which = f"with {own} they are a majority of the masters"
    elif living:
        which = "whoever runs now would never be let in again"
        instead = "If they are given up for good, stop them first"
    else:
        return
    names = sorted({*living, *newer})
    answer = "answers" if len(names) == 1 else "answer"
    raise PreconditionFailed(
        f"{', '.join(names)} still {answer}: {which}. Nothing was changed. {instead}"
    )


def _warning(own: str, cluster: str, found: Copy) -> str:
    return (
        f"{own} will be the only master of {cluster}, in incarnation {found.incarnation + 1}.\n"
        f"It restarts from entry {found.last_index} of the log ({found.applied_index} applied);"
        " what the others stored beyond that is lost.\n"
        f"The masters were {', '.join(found.voters)}; none of the others answers. If a majority of"
        " them can still be started, start them instead. Those of the old incarnation are never let"
        " in again: wipe their directories, or keep them off the network.\n"
        f"To go on, type the name of the cluster ({cluster})"
    )

"""`gfs-master --recover-from-this-copy`: one copy is all there is, a person says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from gfs_ha.config import Config, MasterAddress, MasterConfig
from gfs_ha.errors import GfsError, PreconditionFailed, UsageError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.master.directory import MasterDirectory
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

    Raises: PreconditionFailed when a majority of the masters, or a leader, answers; UsageError when
    the name is another one; ConfigError, OldCopy, WrongDirectory.
    """
    directory = MasterDirectory(own.directory)
    try:
        directory.check()
        kv = LmdbKV(directory.store, DATABASES, own.map_bytes)
        try:
            found = look_at(kv, raft_config)
            name = config.cluster.name or config.cluster.id
            living = _living(look(_others(found)))
            _refuse_beside(own.name, found, living)
            typed = ask(_warning(own.name, name, found, living))
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


def _living(said: Facts) -> dict[str, MasterFacts]:
    """Return the masters of this cluster that run now, by name."""
    facts = {name: one for name, one in said.items() if isinstance(one, MasterFacts)}
    return {name: one for name, one in facts.items() if one.role not in _NO_MEMBERS}


def _refuse_beside(own: str, found: Copy, living: Mapping[str, MasterFacts]) -> None:
    """Refuse what would end a cluster that lives: whoever leads it would stop for good."""
    leaders = [name for name, one in living.items() if one.role == LEADER]
    newer = [name for name, one in living.items() if one.incarnation > found.incarnation]
    voting = [name for name in living if name in found.voters]
    if leaders or newer or len(voting) > len(found.voters) // 2:
        which = f"{leaders[0]} leads" if leaders else "a majority lives"
        if newer:
            which = f"{newer[0]} is of incarnation {living[newer[0]].incarnation} already"
        raise PreconditionFailed(
            f"{', '.join(sorted(living))} answer, and {which}: to go on from one copy would end"
            f" that cluster. Nothing was changed. Start {own} as usual, or replace it; only if all"
            " the others are to be given up, stop them first"
        )


def _warning(own: str, cluster: str, found: Copy, living: Mapping[str, MasterFacts]) -> str:
    beside = ""
    if living:
        beside = (
            f"WARNING: {', '.join(sorted(living))} still answers, and would never be let in again."
            f" Start {own} as usual, and see whether they are a majority together.\n"
        )
    return beside + (
        f"{own} will be the only master of {cluster}, in incarnation {found.incarnation + 1}.\n"
        f"It restarts from entry {found.last_index} of the log ({found.applied_index} applied);"
        " what the others stored beyond that is lost.\n"
        f"The masters were {', '.join(found.voters)}. If a majority of them can still be started,"
        " start them instead. Those of the old incarnation are never let in again.\n"
        f"To go on, type the name of the cluster ({cluster})"
    )

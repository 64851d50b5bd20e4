"""`gfs-master --recover-from-this-copy`: one copy is all there is, a person says."""

from __future__ import annotations

import logging
from collections.abc import Callable

from gfs_ha.config import Config, MasterConfig
from gfs_ha.errors import UsageError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.master.directory import MasterDirectory
from gfs_ha.master.raft.contract import RaftConfig
from gfs_ha.master.raft.identity import DATABASES
from gfs_ha.master.raft.recovery import Copy, begin_incarnation, look_at

logger = logging.getLogger(__name__)


def recover(
    config: Config, own: MasterConfig, raft_config: RaftConfig, ask: Callable[[str], str]
) -> int:
    """Make this stopped master's copy the whole cluster; return the new incarnation.

    Args: `ask` shows a text to a person and returns the name of the cluster as it was typed.
    Raises: UsageError when the name is another one; ConfigError, OldCopy, WrongDirectory.
    """
    directory = MasterDirectory(own.directory)
    try:
        directory.check()
        kv = LmdbKV(directory.store, DATABASES, own.map_bytes)
        try:
            found = look_at(kv, raft_config)
            name = config.cluster.name or config.cluster.id
            typed = ask(_warning(own.name, name, found))
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


def _warning(own: str, cluster: str, found: Copy) -> str:
    return (
        f"{own} will be the only master of {cluster}, in incarnation {found.incarnation + 1}.\n"
        f"It restarts from entry {found.last_index} of the log ({found.applied_index} applied);"
        " what the others stored beyond that is lost.\n"
        f"The masters were {', '.join(found.voters)}. If a majority of them can still be started,"
        " start them instead. Those of the old incarnation are never let in again.\n"
        f"To go on, type the name of the cluster ({cluster})"
    )

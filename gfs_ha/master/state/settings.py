"""How a cluster begins, who led it when, and how its clock advances (M1, M6)."""

from __future__ import annotations

from msgspec import structs

from gfs_ha.errors import AlreadyInitialized, InvalidArgument, PreconditionFailed
from gfs_ha.ids import ROOT_INODE
from gfs_ha.limits import GOAL_MAX, LED_TERMS_MAX, MIB, SCHEMA_VERSION
from gfs_ha.master.state.bounds import check_chunk_bytes, check_rule, check_text
from gfs_ha.master.state.commands import InitCluster, LeaderElected
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_event
from gfs_ha.master.state.records import Counters, Inode, LedTermRow, Settings
from gfs_ha.master.state.tables import INODES, LED_TERMS, id_key, pair_key
from gfs_ha.protocol.events import CLUSTER, LEADER, WARNING
from gfs_ha.protocol.metadata import DIRECTORY, Done

ROOT_MODE = 0o777
_NAME_BYTES_MAX = 255
_IDS_PER_INCARNATION = 1 << 32  # More than a copy can lack of them.


@step(InitCluster)
def init_cluster(draft: Draft, command: InitCluster) -> Done:
    """Write the settings and the root directory. Refuses: AlreadyInitialized, InvalidArgument."""
    if draft.initialized:
        raise AlreadyInitialized(f"cluster {draft.settings.cluster_id} has its settings already")
    _check_settings(command)
    draft.adopt(
        Settings(
            schema=SCHEMA_VERSION,
            cluster_id=command.cluster_id,
            cluster_name=command.cluster_name,
            incarnation=command.incarnation,
            chunk_bytes=command.chunk_bytes,
            goal=command.goal,
            min_copies=command.min_copies,
            rule=command.rule,
            born_wall_ns=draft.stamp.wall_ns,
        )
    )
    root = Inode(DIRECTORY, ROOT_MODE, "", "", draft.stamp.wall_ns, draft.stamp.index)
    draft.rows.put(INODES, id_key(ROOT_INODE), root)
    draft.counters.last_inode = ROOT_INODE
    draft.counters.directories = 1
    said = (
        f"the cluster begins: {command.goal} copies, at least {command.min_copies},"
        f" chunks of {command.chunk_bytes / MIB:g} MiB, placement {command.rule}"
    )
    note_event(draft, CLUSTER, command.cluster_name, said)
    return Done()


@step(LeaderElected)
def leader_elected(draft: Draft, command: LeaderElected) -> Done:
    """Write down who leads this term; a newer incarnation begins with its first leader.

    Refuses: PreconditionFailed on an older incarnation.
    """
    check_text("member", command.member, _NAME_BYTES_MAX)
    if command.incarnation > draft.settings.incarnation:
        _begin_incarnation(draft, command.incarnation)
    incarnation = draft.settings.incarnation
    if command.incarnation != incarnation:
        raise PreconditionFailed(
            f"leader {command.member} is of incarnation {command.incarnation},"
            f" the cluster's state of {incarnation}"
        )
    key = pair_key(incarnation, draft.stamp.term)
    if draft.rows.get(LED_TERMS, key) is None:
        kept = [old for old, _ in draft.rows.scan(LED_TERMS)]
        for old in kept[: max(0, len(kept) + 1 - LED_TERMS_MAX)]:
            draft.rows.delete(LED_TERMS, old)
        row = LedTermRow(command.member, draft.stamp.wall_ns, draft.stamp.index)
        draft.rows.put(LED_TERMS, key, row)
        note_event(draft, LEADER, command.member, f"leads, term {draft.stamp.term}")
    return Done()


def _begin_incarnation(draft: Draft, incarnation: int) -> None:
    """Go on from a copy that may lack the last commands: no id that they gave is given again."""
    draft.adopt(structs.replace(draft.settings, incarnation=incarnation))
    said = f"incarnation {incarnation} begins: the masters go on from a copy of their state"
    note_event(draft, CLUSTER, draft.settings.cluster_name, said, WARNING)
    counters = draft.counters
    counters.last_chunk = 0  # A chunk's id carries the incarnation.
    counters.last_inode += _IDS_PER_INCARNATION
    counters.last_content += _IDS_PER_INCARNATION
    counters.last_session += _IDS_PER_INCARNATION
    counters.last_server += _IDS_PER_INCARNATION


def advance_clock(counters: Counters, term: int, elapsed_ms: int) -> None:
    """Advance cluster time by what the leader saw pass since its first stamp of the term (M6).

    It never goes back, and a leader whose wall clock is wrong does not move it.
    """
    if counters.stamp_term != term:
        counters.stamp_term = term
        counters.stamp_base_ms = counters.cluster_ms
    counters.cluster_ms = max(counters.cluster_ms, counters.stamp_base_ms + max(0, elapsed_ms))


def _check_settings(command: InitCluster) -> None:
    check_text("cluster id", command.cluster_id, _NAME_BYTES_MAX)
    check_text("cluster name", command.cluster_name, _NAME_BYTES_MAX)
    if not 0 < command.incarnation < 1 << 16:
        raise InvalidArgument(f"incarnation {command.incarnation} is not within 1..65535")
    check_chunk_bytes(command.chunk_bytes)
    check_rule(command.rule)
    if not 1 <= command.goal <= GOAL_MAX:
        raise InvalidArgument(f"goal {command.goal} is not within 1..{GOAL_MAX}")
    if not 1 <= command.min_copies <= command.goal:
        raise InvalidArgument(
            f"min_copies {command.min_copies} is not within 1..goal ({command.goal})"
        )

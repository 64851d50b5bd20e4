"""Policies of directories: how many copies new files below get, by which rule, in which chunks.

Looked up when a file gets its content (F1: along the path as it is then). The file keeps what it
got: a policy that changes, or a file that moves, changes nothing of it. When a byte counts as
stored is nothing that a file has: each writer goes by what holds when it writes.
"""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.errors import InvalidArgument, LimitExceeded, NotADirectory
from gfs_ha.ids import InodeId
from gfs_ha.limits import GOAL_MAX, MIB, POLICIES_MAX
from gfs_ha.master.state.bounds import check_chunk_bytes, check_range, check_rule
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.events import note_often
from gfs_ha.master.state.names import resolve
from gfs_ha.master.state.policy_records import Policy
from gfs_ha.master.state.rows import Rows
from gfs_ha.master.state.tables import POLICIES, id_key
from gfs_ha.protocol.events import SETTING
from gfs_ha.protocol.metadata import DIRECTORY, DISK, MEMORY, Done
from gfs_ha.protocol.policy import SetPolicy, UnsetPolicy

NO_POLICY = Policy()


@step(SetPolicy, session=True)
def set_policy(draft: Draft, command: SetPolicy) -> Done:
    """Write down what a directory says from now on.

    Refuses: NotFound, NotADirectory, InvalidPath, InvalidArgument, LimitExceeded.
    """
    inode_id = _directory(draft, command.path)
    before = policy_of(draft.rows, inode_id)
    after = Policy(
        before.goal if command.goal is None else command.goal,
        before.rule if command.rule is None else command.rule,
        before.chunk_bytes if command.chunk_bytes is None else command.chunk_bytes,
        before.durability if command.durability is None else command.durability,
    )
    check_range("goal", after.goal, 0, GOAL_MAX)
    if after.rule:
        check_rule(after.rule)
    if after.chunk_bytes:
        check_chunk_bytes(after.chunk_bytes)
    if after.durability not in ("", DISK, MEMORY):
        raise InvalidArgument(f"durability {after.durability!r}; there are {DISK} and {MEMORY}")
    if after != before:
        note_often(draft, SETTING, "policy", f"{command.path}: {_said(after)}")
    if after.empty:
        forget_policy(draft, inode_id)
        return Done()
    if before.empty:
        if draft.counters.policies >= POLICIES_MAX:
            raise LimitExceeded(f"{draft.counters.policies} directories have a policy already")
        draft.counters.policies += 1
    draft.rows.put(POLICIES, id_key(inode_id), after)
    return Done()


@step(UnsetPolicy, session=True)
def unset_policy(draft: Draft, command: UnsetPolicy) -> Done:
    """Let a directory say nothing. Refuses: NotFound, NotADirectory, InvalidPath."""
    inode_id = _directory(draft, command.path)
    if not policy_of(draft.rows, inode_id).empty:
        note_often(draft, SETTING, "policy", f"{command.path}: {_said(NO_POLICY)}")
    forget_policy(draft, inode_id)
    return Done()


def forget_policy(draft: Draft, inode_id: InodeId) -> None:
    """Forget what a directory says, if it says anything."""
    if draft.counters.policies and draft.rows.get(POLICIES, id_key(inode_id)) is not None:
        draft.rows.delete(POLICIES, id_key(inode_id))
        draft.counters.policies -= 1


def policy_of(rows: Rows, inode_id: InodeId) -> Policy:
    """Return what a directory itself says."""
    return rows.get(POLICIES, id_key(inode_id)) or NO_POLICY


def policy_below(draft: Draft, trail: Sequence[InodeId]) -> Policy:
    """Return what a new file gets at the end of a way from the root: the nearest one decides."""
    found = NO_POLICY
    if draft.counters.policies:
        for inode_id in trail:
            found = policy_of(draft.rows, inode_id).over(found)
    return found


def _said(policy: Policy) -> str:
    """Return a policy in words."""
    said = [f"{policy.goal} copies"] if policy.goal else []
    said += [f"placement {policy.rule}"] if policy.rule else []
    said += [f"chunks of {policy.chunk_bytes / MIB:g} MiB"] if policy.chunk_bytes else []
    said += [f"durability {policy.durability}"] if policy.durability else []
    return f"new files below it get {', '.join(said)}" if said else "it has no policy any more"


def _directory(draft: Draft, path: str) -> InodeId:
    found = resolve(draft.rows, path)
    if found.kind != DIRECTORY:
        raise NotADirectory(f"{path} is a file; policies belong to directories")
    return found.inode_id

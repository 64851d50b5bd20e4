"""How files are kept, as it is told: by what directories say, and what a file has itself."""

from __future__ import annotations

from gfs_ha.errors import NotFound
from gfs_ha.ids import ROOT_INODE, ChunkId, ContentId
from gfs_ha.master.state.names import require_directory
from gfs_ha.master.state.policies import policy_of
from gfs_ha.master.state.policy_records import Policy
from gfs_ha.master.state.records import Inode, Settings
from gfs_ha.master.state.tables import CHUNK_FITS, CONTENT_FITS, DENTRIES, dentry_key, id_key
from gfs_ha.master.state.view import View
from gfs_ha.protocol.metadata import DIRECTORY, DISK, FILE
from gfs_ha.protocol.paths import join_path, split_path
from gfs_ha.protocol.policy import PolicyReport


def policy_report(view: View, settings: Settings, path: str, nearest: bool) -> PolicyReport:
    """Return what a directory says and what holds there, or what a file has.

    With `nearest`, what a new file would get at a path. Raises: NotFound, NotADirectory,
    InvalidPath.
    """
    names = split_path(path)
    inode_id, kind = ROOT_INODE, DIRECTORY
    said: list[tuple[str, Policy]] = [("/", policy_of(view.rows, ROOT_INODE))]
    for position, name in enumerate(names):
        entry = view.rows.get(DENTRIES, dentry_key(inode_id, name))
        if entry is None:
            if nearest:
                break
            raise NotFound(f"{join_path(names[: position + 1])} does not exist")
        inode_id, kind = entry.inode_id, entry.kind
        if kind == FILE and position < len(names) - 1:
            require_directory(entry, names[: position + 1])
        if kind == DIRECTORY:
            said.append((join_path(names[: position + 1]), policy_of(view.rows, inode_id)))
    count = view.counters().policies
    if kind == FILE and not nearest:
        inode = view.inode(inode_id)
        assert inode is not None, f"a name without inode {inode_id}"
        return _of_file(settings, (path, inode), said, count)
    return _of_directory(settings, path, said, count)


def fitting(view: View, content_id: ContentId, chunk_ids: set[ChunkId]) -> bool:
    """Return whether the goals of a content's chunks are still being changed."""
    if not view.counters().fits:
        return False
    if view.rows.get(CONTENT_FITS, id_key(content_id)) is not None:
        return True
    return any(view.rows.get(CHUNK_FITS, id_key(one)) is not None for one in chunk_ids)


def _of_file(
    settings: Settings, file: tuple[str, Inode], said: list[tuple[str, Policy]], count: int
) -> PolicyReport:
    path, inode = file
    durability, said_by = _durability(said)
    return PolicyReport(
        path=path,
        kind=FILE,
        goal=inode.goal or settings.goal,
        rule=inode.rule or settings.rule,
        chunk_bytes=inode.chunk_bytes or settings.chunk_bytes,
        own_goal=inode.goal,
        own_rule=inode.rule,
        own_chunk_bytes=inode.chunk_bytes,
        goal_from=path if inode.goal else "",
        rule_from=path if inode.rule else "",
        chunk_bytes_from=path if inode.chunk_bytes else "",
        policy_count=count,
        durability=durability,
        durability_from=said_by,
    )


def _durability(said: list[tuple[str, Policy]]) -> tuple[str, str]:
    """Return when a byte counts as stored there, and which directory says so."""
    found = ((policy.durability, path) for path, policy in reversed(said) if policy.durability)
    return next(found, (DISK, ""))


def _of_directory(
    settings: Settings, path: str, said: list[tuple[str, Policy]], count: int
) -> PolicyReport:
    own = said[-1][1] if said[-1][0] == path else Policy()

    def decides(field: str) -> str:
        return next((one for one, policy in reversed(said) if getattr(policy, field)), "")

    found = Policy()
    for _, policy in said:
        found = policy.over(found)
    return PolicyReport(
        path=path,
        kind=DIRECTORY,
        goal=found.goal or settings.goal,
        rule=found.rule or settings.rule,
        chunk_bytes=found.chunk_bytes or settings.chunk_bytes,
        own_goal=own.goal,
        own_rule=own.rule,
        own_chunk_bytes=own.chunk_bytes,
        goal_from=decides("goal"),
        rule_from=decides("rule"),
        chunk_bytes_from=decides("chunk_bytes"),
        policy_count=count,
        durability=found.durability or DISK,
        own_durability=own.durability,
        durability_from=decides("durability"),
    )

"""Contents of files: extents staged where nobody sees them, then one flip of a pointer (F2).

A reader sees the old content or the new one, never a mixture. What an extent may refer to is
checked here, at apply, and nowhere else: the chunk exists, is not dead, is claimed by the session,
and the extent ends within it (C11). From then on its end counts as published, and no seal of the
chunk goes below it (C5).
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import (
    AlreadyExists,
    Held,
    InvalidArgument,
    IsADirectory,
    LimitExceeded,
    Refused,
    WrongState,
)
from gfs_ha.ids import ContentId, InodeId, format_id
from gfs_ha.limits import (
    EXTENTS_PER_COMMAND_MAX,
    FILES_PER_COMMAND_MAX,
    GOAL_MAX,
    ITEMS_PER_COMMAND_MAX,
    NAMES_PER_COMMAND_MAX,
)
from gfs_ha.master.state.bounds import (
    SIZE_MAX,
    U32_MAX,
    U64_MAX,
    check_attributes,
    check_count,
    check_range,
)
from gfs_ha.master.state.chunk_rows import get_chunk, put_chunk
from gfs_ha.master.state.claims import release, require_claim
from gfs_ha.master.state.draft import Draft, step
from gfs_ha.master.state.entries import (
    enter,
    get_inode,
    make_parents,
    missing_parents,
    new_inode,
    retire_content,
)
from gfs_ha.master.state.goals import (
    fit_content,
    note_reference,
    raise_goal,
    said_goal,
    staged_goal,
)
from gfs_ha.master.state.holds import take_from_tails
from gfs_ha.master.state.names import Place, find_place
from gfs_ha.master.state.policies import policy_below
from gfs_ha.master.state.records import (
    DEAD,
    SEALED,
    UNSEALED,
    Chunk,
    ExtentRow,
    Inode,
    Reapable,
    Reference,
    StagedContent,
)
from gfs_ha.master.state.tables import (
    EXTENTS,
    INODES,
    OLD_CONTENTS,
    REFERENCES,
    STAGED,
    extent_key,
    id_key,
    pair_key,
    read_pair,
    reference_key,
)
from gfs_ha.protocol.codec import failure
from gfs_ha.protocol.gone import blocks_of, unpack_blocks
from gfs_ha.protocol.metadata import (
    DIRECTORY,
    FILE,
    Extent,
    Publish,
    Published,
    PublishedFile,
    PublishFile,
    Staged,
    StageExtents,
)
from gfs_ha.protocol.paths import split_path


@step(StageExtents, session=True)
def stage_extents(draft: Draft, command: StageExtents) -> Staged:
    """Add extents to a content of this session that nobody sees yet; any order, no overlap.

    Refuses: UnknownChunk, WrongState, NotClaimed, InvalidArgument, LimitExceeded.
    """
    check_count("extents", command.extents, EXTENTS_PER_COMMAND_MAX)
    check_range("content", command.content_id, 0, U64_MAX)
    content_id = command.content_id
    if content_id:
        staged = get_staged(draft, content_id)
    else:
        content_id = new_content(draft)
        staged = StagedContent(extent_count=0, total=0, end=0, born_index=draft.stamp.index)
    for extent in command.extents:
        said = said_goal(draft, check_extent(draft, extent).goal)
        if extent.file_offset < staged.end:
            check_gap(draft, content_id, extent)
        add_extent(draft, content_id, extent, said)
        staged = msgspec.structs.replace(
            staged,
            extent_count=staged.extent_count + 1,
            total=staged.total + extent.length,
            end=max(staged.end, extent.file_offset + extent.length),
            said_goal=staged_goal(staged, said),
        )
    draft.rows.put(STAGED, pair_key(draft.stamp.session_id, content_id), staged)
    return Staged(content_id, staged.end)


@step(Publish, session=True)
def publish(draft: Draft, command: Publish) -> Published:
    """Flip each file to its new content; say for each how it went. Then release the chunks.

    A file that is refused does not hold up the others; a staged content of it is given up.
    Refuses as a whole: LimitExceeded, Held.
    """
    check_count("files", command.files, FILES_PER_COMMAND_MAX)
    check_count("chunks to release", command.release, ITEMS_PER_COMMAND_MAX)
    inline = sum(len(file.extents) for file in command.files)
    if inline > EXTENTS_PER_COMMAND_MAX:
        raise LimitExceeded(
            f"{inline} extents in one Publish, at most {EXTENTS_PER_COMMAND_MAX} are taken;"
            " stage those of big files before"
        )
    if sum(file.path.count("/") for file in command.files) > NAMES_PER_COMMAND_MAX:
        raise LimitExceeded(
            f"the paths of a Publish have more than {NAMES_PER_COMMAND_MAX} names; send it in parts"
        )
    published = []
    for file in command.files:
        try:
            published.append(_publish_file(draft, file, command.make_parents))
        except (LimitExceeded, Held):
            raise  # Of the whole command.
        except Refused as error:
            give_up(draft, file.content_id)
            said = failure(error)
            published.append(PublishedFile(file.path, said.error, said.message))
    for chunk_id in command.release:
        release(draft, draft.stamp.session_id, chunk_id)
    return Published(tuple(published))


def check_extent(draft: Draft, extent: Extent) -> Chunk:
    """Return the chunk of an extent that may be staged.

    Raises: InvalidArgument, UnknownChunk, WrongState, NotClaimed.
    """
    check_range("file offset", extent.file_offset, 0, SIZE_MAX)
    check_range("length", extent.length, 1, SIZE_MAX - extent.file_offset)
    check_range("chunk offset", extent.chunk_offset, 0, SIZE_MAX)
    if extent.crc is None:
        raise InvalidArgument("an extent without the CRC of its bytes")
    check_range("crc", extent.crc, 0, U32_MAX)
    chunk = get_chunk(draft, extent.chunk_id)
    name = format_id(extent.chunk_id)
    if chunk.state == DEAD:
        raise WrongState(f"chunk {name} is dead; write its bytes again into a new one")
    require_claim(draft, extent.chunk_id, chunk)
    end = extent.chunk_offset + extent.length
    limit = chunk.length if chunk.state == SEALED else chunk.capacity
    if end > limit:
        raise InvalidArgument(f"an extent ends at {end} in chunk {name}, which ends at {limit}")
    return chunk


def _publish_file(draft: Draft, file: PublishFile, may_make_parents: bool) -> PublishedFile:
    """Check everything, then write: a refused file leaves no row behind."""
    names = split_path(file.path)
    if not names:
        raise IsADirectory("/ is the root directory")
    check_attributes(file.mode, file.mtime_ns, file.owner, file.group)
    check_range("goal", file.goal, 0, GOAL_MAX)
    extent_count, least_goal = _check_content(draft, file)
    if may_make_parents and missing_parents(draft, names):
        make_parents(draft, names, (file.owner, file.group))
    place = find_place(draft.rows, names)
    _check_target(file, place)  # Cannot refuse where parents were missing: the name is free.
    if place.entry is not None:
        take_from_tails(draft, place.entry.inode_id, file.path)
    content_id, policy = file.content_id, policy_below(draft, place.trail)
    goal = file.goal or policy.goal
    if content_id:
        settle_staged(draft, content_id, goal)
    else:
        content_id, said = new_content(draft), said_goal(draft, goal)
        for extent in file.extents:
            add_extent(draft, content_id, extent, said)
            if least_goal < (goal or draft.settings.goal):
                raise_goal(draft, extent.chunk_id, goal or draft.settings.goal)
    kept = (goal, policy.rule, policy.chunk_bytes)
    inode_id, generation = _flip(draft, place, file, (content_id, extent_count), kept)
    return PublishedFile(file.path, inode_id=inode_id, content_id=content_id, generation=generation)


def _check_content(draft: Draft, file: PublishFile) -> tuple[int, int]:
    """Return the number of extents, and the least goal of the chunks of those that come here.

    Raises unless they cover the size exactly (F2).
    """
    check_range("size", file.size, 0, SIZE_MAX)
    if file.content_id:
        check_range("content", file.content_id, 0, U64_MAX)
        staged = get_staged(draft, file.content_id)
        if file.extents:
            raise InvalidArgument(f"{file.path} has both a staged content and extents")
        if staged.total != staged.end or staged.end != file.size:
            raise InvalidArgument(
                f"{file.path} has {staged.total} bytes staged up to {staged.end},"
                f" not {file.size} without a hole"
            )
        return staged.extent_count, GOAL_MAX
    end, least_goal = 0, GOAL_MAX
    for extent in file.extents:
        least_goal = min(least_goal, check_extent(draft, extent).goal)
        if extent.file_offset != end:
            raise InvalidArgument(f"{file.path} has a hole or overlap at {end}")
        end += extent.length
    if end != file.size:
        raise InvalidArgument(f"{file.path} has extents for {end} bytes, not {file.size}")
    return len(file.extents), least_goal


def _check_target(file: PublishFile, place: Place) -> None:
    if place.entry is None:
        return
    if place.entry.kind == DIRECTORY:
        raise IsADirectory(f"{file.path} is a directory")
    if file.if_absent:
        raise AlreadyExists(f"{file.path} exists already")


def _flip(
    draft: Draft,
    place: Place,
    file: PublishFile,
    content: tuple[ContentId, int],
    kept: tuple[int, str, int],
) -> tuple[InodeId, int]:
    """Point the file at its content; return (inode, generation).

    Args: `kept` says how it and its future chunks are kept: goal, rule and chunk size.
    """
    content_id, extent_count = content
    goal, rule, chunk_bytes = kept
    if place.entry is None:
        fresh = Inode(
            kind=FILE,
            mode=file.mode,
            owner=file.owner,
            group=file.group,
            mtime_ns=file.mtime_ns,
            born_index=draft.stamp.index,
            size=file.size,
            content_id=content_id,
            generation=1,
            extent_count=extent_count,
            goal=goal,
            rule=rule,
            chunk_bytes=chunk_bytes,
        )
        inode_id = new_inode(draft, fresh)
        enter(draft, place, inode_id, FILE)
        return inode_id, 1
    before = get_inode(draft, place.entry.inode_id)
    retire_content(draft, before)
    after = msgspec.structs.replace(
        before,
        mode=file.mode,
        owner=before.owner or file.owner,
        group=before.group or file.group,
        mtime_ns=file.mtime_ns,
        size=file.size,
        content_id=content_id,
        generation=before.generation + 1,
        extent_count=extent_count,
        goal=goal,
        rule=rule,
        chunk_bytes=chunk_bytes,
    )
    draft.rows.put(INODES, id_key(place.entry.inode_id), after)
    return place.entry.inode_id, after.generation


def settle_staged(draft: Draft, content_id: ContentId, goal: int) -> None:
    """Let a staged content be a file's, which wants so many copies of it (0: the setting)."""
    staged = get_staged(draft, content_id)
    draft.rows.delete(STAGED, pair_key(draft.stamp.session_id, content_id))
    if staged.extent_count and staged.said_goal != said_goal(draft, goal):
        fit_content(draft, content_id, goal)


def get_staged(draft: Draft, content_id: ContentId) -> StagedContent:
    """Return a staged content of the session. Raises: WrongState."""
    staged = draft.rows.get(STAGED, pair_key(draft.stamp.session_id, content_id))
    if staged is None:
        raise WrongState(
            f"content {content_id} is not staged by session {draft.stamp.session_id} (any more)"
        )
    return staged


def new_content(draft: Draft) -> ContentId:
    """Return a content id that was never given before."""
    draft.counters.last_content += 1
    return ContentId(draft.counters.last_content)


def check_gap(draft: Draft, content_id: ContentId, extent: Extent) -> None:
    """Raises: InvalidArgument when the extent overlaps one that is staged already."""
    low, high = extent_key(content_id, 0), extent_key(content_id, extent.file_offset)
    end = extent_key(content_id, extent.file_offset + extent.length)
    before = next(draft.rows.scan(EXTENTS, low, high, reverse=True), None)
    overlaps = before is not None and read_pair(before[0])[1] + before[1].length > (
        extent.file_offset
    )
    if overlaps or next(draft.rows.scan(EXTENTS, high, end), None) is not None:
        raise InvalidArgument(
            f"bytes at {extent.file_offset} of content {content_id} are staged already"
        )


def add_extent(draft: Draft, content_id: ContentId, extent: Extent, said: int) -> None:
    """Write an extent and its reference, and raise the published end of its chunk.

    Args: `said` is what the reference says of the goal of its content (goals.said_goal).
    """
    row = ExtentRow(
        extent.chunk_id, extent.chunk_offset, extent.length, draft.stamp.index, extent.crc
    )
    draft.rows.put(EXTENTS, extent_key(content_id, extent.file_offset), row)
    key = reference_key(extent.chunk_id, extent.chunk_offset, content_id, extent.file_offset)
    draft.rows.put(REFERENCES, key, Reference(extent.length, said))
    note_reference(draft, extent.chunk_id)
    _raise_published_end(draft, extent)


def _raise_published_end(draft: Draft, extent: Extent) -> None:
    chunk_id, end = extent.chunk_id, extent.chunk_offset + extent.length
    chunk = get_chunk(draft, chunk_id)
    # Nobody gets here: who stages claims the chunk, who copies refers to what a file has (G8).
    if chunk.gone and unpack_blocks(chunk.gone) & blocks_of(extent.chunk_offset, extent.length):
        raise WrongState(f"bytes of chunk {format_id(chunk_id)} were given back; write them again")
    if chunk.state in UNSEALED and end > chunk.published_end:
        put_chunk(draft, chunk_id, chunk, msgspec.structs.replace(chunk, published_end=end))


def give_up(draft: Draft, content_id: ContentId) -> None:
    """Leave the staged content of a refused file to be reaped."""
    key = pair_key(draft.stamp.session_id, content_id)
    if 0 < content_id <= U64_MAX and draft.rows.get(STAGED, key) is not None:
        draft.rows.delete(STAGED, key)
        draft.rows.put(OLD_CONTENTS, id_key(content_id), Reapable(draft.stamp.index))
        draft.counters.reapable += 1

"""What clients ask for to make contents out of the bytes of files that exist: nothing is copied.

All of them are replicated commands too, with tags that an older release does not know: it stops
at them rather than applying half of one.
"""

from __future__ import annotations

from gfs_ha.ids import ChunkId, ContentId, LogIndex
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import FileStatus


class StagedCopy(Word, frozen=True, tag="staged_copy"):
    """How far a StageCopy came; `status` is the source as apply found it, to be pinned."""

    content_id: ContentId
    copied: int  # Bytes; fewer than wanted when the source ends, or one command is not enough.
    status: FileStatus


class StageCopy(Word, frozen=True, tag="stage_copy"):
    """-> StagedCopy. Lets a staged content refer to bytes of a file (C11); content 0 starts one.

    At most EXTENTS_PER_COMMAND_MAX extents; send the next with the source pinned. Raises:
    PreconditionFailed when the pinned content is not the file's any more; NotFound, IsADirectory…
    """

    path: str
    offset: int  # In the source.
    length: int  # Clipped to what the source has.
    content_id: ContentId = ContentId(0)
    file_offset: int = 0  # Where in the staged content it begins.
    pinned_content: ContentId = ContentId(0)  # 0: whatever the file holds.
    pinned_generation: int = 0


class ReplaceContent(Word, frozen=True, tag="replace_content"):
    """-> FileStatus. Flips a file that still holds the expected content to a staged one (F2).

    Appends do not change the generation: `expected_size` keeps what was appended meanwhile from
    being lost. Raises: PreconditionFailed when it holds another one, InvalidArgument unless the
    staged content has `size` bytes without a hole; then it stays staged, see DiscardStaged.
    """

    path: str
    content_id: ContentId
    size: int
    mtime_ns: int
    expected_content: ContentId
    expected_generation: int
    expected_size: int = -1  # -1: whatever it has grown to, as for a cut.


class DiscardStaged(Word, frozen=True, tag="discard_staged"):
    """-> Done. Gives up a staged content of the session; one that is not there is passed over."""

    content_id: ContentId


class MovedRange(Word, frozen=True):
    """Bytes of one chunk that lie in another one, too; offsets in the chunks."""

    offset: int
    moved_offset: int
    length: int


class ReferencesMoved(Word, frozen=True, tag="references_moved"):
    """How many extents refer to the other chunk now, and whether the same request moves more."""

    count: int
    more: bool


class MoveReferences(Word, frozen=True, tag="move_references"):
    """-> ReferencesMoved. Extents in ranges of a chunk that is compacted refer to a copy of them.

    No byte of any file changes, so no generation does (F3). Only the holder sends it that the
    leader told to compact the chunk, under the index of that order, into a sealed chunk that its
    session claims. At most 400 extents at a time. Raises: WrongState, UnknownChunk, NotClaimed,
    InvalidArgument, LimitExceeded.
    """

    chunk_id: ChunkId
    order_index: LogIndex
    target: ChunkId
    ranges: tuple[MovedRange, ...]  # At most 256, sorted, apart from each other.


ExtentMutation = StageCopy | ReplaceContent | DiscardStaged | MoveReferences
ExtentReply = StagedCopy | ReferencesMoved

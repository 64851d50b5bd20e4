"""The rows about how files are kept: what directories say, and whose goals are being changed."""

from __future__ import annotations

from gfs_ha.protocol.codec import Word


class Policy(Word, frozen=True):
    """What new files below a directory get; the key is its inode. 0 and empty: it says nothing."""

    goal: int = 0
    rule: str = ""
    chunk_bytes: int = 0
    durability: str = ""

    @property
    def empty(self) -> bool:
        """Return whether it says nothing at all."""
        return not (self.goal or self.rule or self.chunk_bytes or self.durability)

    def over(self, above: Policy) -> Policy:
        """Return what holds below this one, which lies below another."""
        return Policy(
            self.goal or above.goal,
            self.rule or above.rule,
            self.chunk_bytes or above.chunk_bytes,
            self.durability or above.durability,
        )


class ContentFit(Word, frozen=True):
    """A content whose references are to say how many copies it wants; the key is the content."""

    goal: int  # 0: as many as the cluster's setting.
    file_offset: int = 0  # What lies before it has been seen to.


class ChunkFit(Word, frozen=True):
    """A chunk that may want fewer copies than its goal; the key is the chunk.

    `largest` is the largest goal of the references before the one with the key `after`.
    """

    after: bytes = b""
    largest: int = 0

"""Whether a replica takes appends: closed for good by the first reason that comes up."""

from __future__ import annotations

from gfs_ha.chunk.slots.format import Header, State
from gfs_ha.errors import Fenced, LimitExceeded, ProtocolError, UnknownReplica, WrongOffset
from gfs_ha.protocol.data import ChunkKind


class Gate:
    """Guarded by the replica's lock; only `closed` may be read without it."""

    def __init__(self, closed_because: str) -> None:
        self.closed_because = closed_because
        self.pushing = False
        self.deleted = False

    @property
    def closed(self) -> bool:
        """Return True once no append is taken any more."""
        return bool(self.closed_because) or self.deleted

    def close(self, why: str) -> None:
        """Take no appends from now on."""
        self.closed_because = self.closed_because or why

    def check_here(self, header: Header) -> None:
        """Raise UnknownReplica once it was deleted."""
        if self.deleted:
            raise UnknownReplica(f"chunk {header.chunk_id:#x} is here no more")

    def check_open(self, header: Header) -> None:
        """Raise Fenced when it takes no appends (any more)."""
        self.check_here(header)
        if header.state is not State.OPEN or self.closed_because:
            why = self.closed_because or f"it is {header.state.name.lower()}"
            raise Fenced(
                f"chunk {header.chunk_id:#x} takes no appends: {why}; go on in a new chunk",
                end=header.end,
            )


def check_start(header: Header, offset: int, length_max: int, entries: bytes) -> None:
    """Raise WrongOffset, LimitExceeded or ProtocolError unless a push may begin there."""
    if offset != header.end:
        raise WrongOffset(
            f"chunk {header.chunk_id:#x} ends at {header.end} here, not at {offset}",
            end=header.end,
        )
    if offset + length_max > header.capacity:
        raise LimitExceeded(f"chunk {header.chunk_id:#x} holds {header.capacity} bytes at most")
    if bool(entries) != (header.kind is ChunkKind.TAIL):
        raise ProtocolError(
            f"chunk {header.chunk_id:#x} is a {header.kind.name.lower()}: records come to tails, "
            "and only they do"
        )

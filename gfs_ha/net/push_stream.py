"""The upper end of one push over one stream: header and packets down, acknowledgements up.

A client speaks it to the head of a chain, and every server to the next one.
"""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.errors import ProtocolError, Unreachable
from gfs_ha.limits import CONNECT_TIMEOUT_S
from gfs_ha.net.answers import AnswerReader, Deadline
from gfs_ha.net.asking import ask
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import Bytes
from gfs_ha.protocol.data import DataRequest, Hop
from gfs_ha.protocol.frames import FrameKind, ReplicaAck, decode_acks


class PushStream:
    """One push to `hop` and on to `request.hops`; used by one thread. Close it in any case."""

    def __init__(
        self,
        pool: StreamPool,
        hop: Hop,
        request: DataRequest,
        deadline: Deadline,
        block: Bytes = b"",
        relays: bool = False,
    ) -> None:
        """Connect; nothing is sent yet.

        Args: `block` follows the request header; with `relays` it and all packets were sealed by
        who asked first, and go on as they came.
        Raises: Unreachable.
        """
        self._pool = pool
        self._address = (hop.host, hop.port)
        self._stream = pool.take(self._address, min(CONNECT_TIMEOUT_S, deadline.left_s()))
        self._reader = AnswerReader(self._stream, request.op_id, deadline)
        self._request: DataRequest | None = request
        self._block, self._relays = block, relays
        self._complete = False
        self.ended_early = False

    def begin(self) -> None:
        """Send the request header ahead of the first packet, so that all servers prepare at once.

        Raises: as `send`.
        """
        self.send([])

    def send(self, parts: Sequence[Bytes]) -> None:
        """Send one packet, the request header in front of the first.

        Does nothing once the peer has ended the push early; `finish` tells what it said.
        Raises: Unreachable when the peer is gone or silent, its error if it sent one,
        DeadlineExceeded.
        """
        request, self._request = self._request, None
        if request is None and (self.ended_early or self._ended()):
            return
        try:
            if request is None:
                self._stream.send(parts, self._reader.stall)
            else:  # Nobody can have answered what was not asked yet.
                stall = self._reader.stall
                ask(self._stream, request, parts, stall, self._block, self._relays)
        except Unreachable:
            if not self._ended():
                raise

    def _ended(self) -> bool:
        """Return whether the peer ended the push before its last packet.

        Raises: the error that it sent.
        """
        try:
            self._reader.poll()
        except (Unreachable, ProtocolError):
            pass  # The send, or the wait for the end, runs into it too.
        if self._reader.ended:
            self._reader.wait()
            self.ended_early = True
        return self.ended_early

    def finish(self) -> tuple[ReplicaAck, ...]:
        """Return what happened on the replicas, after the last packet.

        Raises: as `send`; ProtocolError.
        """
        kind, body = self._reader.wait()
        if kind not in (FrameKind.PUSHED, FrameKind.ENDED):
            raise ProtocolError(f"{self._stream.peer} answers a push with a {kind.name} frame")
        acks = decode_acks(body)
        self._complete = kind is FrameKind.PUSHED and not self.ended_early
        return acks

    def abort(self) -> None:
        """End it from another thread."""
        self._stream.abort()

    def close(self) -> None:
        """Let go of the stream; unless the push came to its end, that breaks it off below."""
        if self._complete:
            self._pool.give_back(self._address, self._stream)
        else:
            self._stream.abort()
            self._stream.close()

"""The rest of a chain below this server, during one push: forwards, and tells who holds.

A lost server below is not an error here: it is named in the acknowledgements, and the push goes on.
"""

from __future__ import annotations

import msgspec

from gfs_ha.errors import GfsError, ProtocolError, Unreachable
from gfs_ha.net.answers import Deadline
from gfs_ha.net.push_stream import PushStream
from gfs_ha.net.stream_pool import StreamPool
from gfs_ha.net.streams import Bytes
from gfs_ha.protocol.data import DataRequest, Hop
from gfs_ha.protocol.frames import ReplicaAck, failed_ack

# Each server gives the one below less time, so that the one next to a fault names it.
_DEADLINE_SHARE = 0.9


class Chain:
    """The servers below; with none of them everything here does nothing."""

    def __init__(
        self,
        pool: StreamPool,
        request: DataRequest,
        deadline: Deadline,
        block: Bytes = b"",
        relays: bool = False,
    ) -> None:
        """Connect to the next server.

        Args: `block` are the entries that go before the packets, of a push of records; with
        `relays` all that goes on was sealed by who sent it first.
        """
        self._hop: Hop | None = request.hops[0] if request.hops else None
        self._stream: PushStream | None = None
        self._lost: ReplicaAck | None = None
        if self._hop is None:
            return
        left_s = deadline.left_s() * _DEADLINE_SHARE
        below = msgspec.structs.replace(
            request,
            target=self._hop.server_id,
            disk_id=self._hop.disk_id,
            ticket=self._hop.ticket,
            hops=request.hops[1:],
            label="",  # Who is served is counted once, by the first of the chain.
            deadline_ms=max(1, int(left_s * 1000)),
        )
        try:
            self._stream = PushStream(pool, self._hop, below, deadline, block, relays)
            if request.creates:
                self._stream.begin()
        except GfsError as error:
            self._lose(error)

    @property
    def alive(self) -> bool:
        """Return True while there is somebody below to work for."""
        return self._stream is not None and not self._stream.ended_early

    @property
    def lost(self) -> bool:
        """Return True once a server below is out of it."""
        return self._hop is not None and not self.alive

    def forward(self, *parts: Bytes) -> None:
        """Send one packet, as it came, to the next server."""
        if self._stream is not None:
            try:
                self._stream.send(parts)
            except GfsError as error:
                self._lose(error)

    def abandon(self) -> None:
        """Break it off: what came from above must not reach anybody below.

        Nobody below is to blame, so none of them is named.
        """
        self.close()

    def acks(self) -> tuple[ReplicaAck, ...]:
        """Return what happened below, once the last packet was forwarded."""
        if self._stream is not None:
            try:
                acks = self._stream.finish()
                self._check(acks)
                return acks
            except GfsError as error:
                self._lose(error)
        return () if self._lost is None else (self._lost,)

    def _check(self, acks: tuple[ReplicaAck, ...]) -> None:
        assert self._hop is not None
        if acks[0].server_id != self._hop.server_id:
            raise ProtocolError(f"server {acks[0].server_id} answers for {self._hop.server_id}")

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _lose(self, error: GfsError) -> None:
        assert self._hop is not None
        if error.details.get("in_clear"):
            # Somebody on the way to it may say so, for ever: it is as if it were not reached.
            error = Unreachable(f"it is refused there: {error.message}")
        if self._lost is None:
            self._lost = failed_ack(self._hop.server_id, error)
        self.close()

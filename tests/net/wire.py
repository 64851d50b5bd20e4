"""A byte stream of memory: what one end sent is there for the other, in pieces of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gfs_ha.errors import Unreachable
from gfs_ha.net.streams import Bytes, Stall


class Wire:
    """Both directions of one end: `sent` grows, `coming` is taken from; its end is a hang-up."""

    peer = "peer:1"

    def __init__(self, coming: bytes = b"", most: Callable[[], int] = lambda: 1 << 30) -> None:
        """Args: `most` says how many bytes are there at once."""
        self.sent = bytearray()
        self.coming = bytearray(coming)
        self._most = most

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        for part in parts:
            self.sent += part

    def send_now(self, data: bytes) -> bool:
        self.sent += data
        return True

    def receive(self, into: memoryview, stall: Stall) -> None:
        if len(self.coming) < len(into):
            raise Unreachable("it hung up", hung_up=1)
        into[:] = self.coming[: len(into)]
        del self.coming[: len(into)]

    def receive_now(self, into: memoryview) -> int:
        count = min(len(into), len(self.coming), self._most())
        if into and not self.coming:
            raise Unreachable("it hung up", hung_up=1)
        into[:count] = self.coming[:count]
        del self.coming[:count]
        return count

    def wait(self, timeout_s: float) -> bool:
        return True

    def idle(self) -> bool:
        return not self.coming

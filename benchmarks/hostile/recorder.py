"""A stream to a data port that keeps all that is sent on it, and may change it on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gfs_ha.errors import Unreachable
from gfs_ha.net.sealed_stream import HELLO_BYTES, SealedStream, decode_hello
from gfs_ha.net.streams import Bytes, Stall, TcpStreams
from gfs_ha.runtime import ThreadedRuntime
from hostile.peer import Address

Change = Callable[[bytes], bytes]
_SILENCE_S = 20.0


class Recorder:
    """A Stream; `change` may be set at any time, for what is sent from then on."""

    def __init__(self, address: Address, change: Change = bytes) -> None:
        self.inner = TcpStreams(ThreadedRuntime()).connect(address, 10.0)
        self.peer = self.inner.peer
        self.sent: list[bytes] = []
        self.change = change

    def sealed(self) -> SealedStream:
        """Hear the hello of the port; return the stream on which tickets are shown."""
        hello = memoryview(bytearray(HELLO_BYTES))
        self.inner.receive(hello, patient)
        return SealedStream(self, decode_hello(hello), lambda peer: None)  # type: ignore[arg-type]

    def send(self, parts: Sequence[Bytes], stall: Stall) -> None:
        data = self.change(b"".join(bytes(part) for part in parts))
        self.sent.append(data)
        self.inner.send([data], stall)

    def close(self) -> None:
        self.inner.close()

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def flipped(data: bytes, at: int) -> bytes:
    """Return bytes of which one bit is another one."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def patient(idle_s: float) -> None:
    """Raise Unreachable when nothing moves for long."""
    if idle_s > _SILENCE_S:
        raise Unreachable("nobody answers")

"""The network of the data plane where tickets are shown: each stream begins with a hello."""

from __future__ import annotations

from collections import Counter

from gfs_ha.errors import ProtocolError, Unreachable
from gfs_ha.net.network import Address
from gfs_ha.net.sealed_stream import (
    HELLO_BYTES,
    NONCE_BYTES,
    SealedStream,
    decode_hello,
    encode_hello,
)
from gfs_ha.net.streams import Stream, StreamListener, StreamNetwork
from gfs_ha.protocol.tickets import REASONS
from gfs_ha.runtime import Runtime

_REASONS_MAX = 32
# Each is told from the start, so that the first one counts.
_KNOWN = (*REASONS, "altered_record")


class Refusals:
    """How often a data port refused what it was asked, by reason. Thread-safe."""

    def __init__(self, runtime: Runtime) -> None:
        self._lock = runtime.lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(_KNOWN, 0))

    def note(self, reason: str) -> None:
        """Count one; reasons beyond the known ones go together."""
        with self._lock:
            known = reason in self._counts or len(self._counts) < _REASONS_MAX
            self._counts[reason if known else "other"] += 1

    def counts(self) -> dict[str, int]:
        """Return how many there were of each."""
        with self._lock:
            return dict(self._counts)


class SealedStreams:
    """A StreamNetwork over another one, with a hello in front of each stream."""

    def __init__(
        self, inner: StreamNetwork, runtime: Runtime, refusals: Refusals | None = None
    ) -> None:
        self._inner = inner
        self._runtime = runtime
        self.refusals = refusals or Refusals(runtime)

    def connect(self, address: Address, timeout_s: float) -> SealedStream:
        """Dial a data port and hear its hello. Raises: Unreachable."""
        ends_s = self._runtime.monotonic_s() + timeout_s
        stream = self._inner.connect(address, timeout_s)

        def stall(idle_s: float) -> None:
            if self._runtime.monotonic_s() >= ends_s:
                raise Unreachable(
                    f"{stream.peer} said no hello within {timeout_s:g} s: this process shows"
                    ' tickets (mode = "tls"), does that one ask for them?'
                )

        hello = memoryview(bytearray(HELLO_BYTES))
        try:
            stream.receive(hello, stall)
            return SealedStream(stream, decode_hello(hello), self._note_altered, dialled=True)
        except ProtocolError as error:
            stream.close()
            raise Unreachable(f"{stream.peer}: {error.message}") from error
        except BaseException:
            stream.close()
            raise

    def listen(self, address: Address) -> StreamListener:
        """Take a port. Raises: PortTaken, ConfigError."""
        return _Listener(self._inner.listen(address), self)

    def greet(self, stream: Stream) -> SealedStream:
        """Say hello on a stream that was let in."""
        nonce = self._runtime.random_bytes(NONCE_BYTES)
        stream.send_now(encode_hello(nonce))  # There is room for it: nothing was sent before.
        return SealedStream(stream, nonce, self._note_altered)

    def _note_altered(self, peer: str) -> None:
        self.refusals.note("altered_record")


class _Listener:
    def __init__(self, inner: StreamListener, network: SealedStreams) -> None:
        self._inner = inner
        self._network = network
        self.port = inner.port

    def accept(self) -> SealedStream | None:
        stream = self._inner.accept()
        return None if stream is None else self._network.greet(stream)

    def close(self) -> None:
        self._inner.close()

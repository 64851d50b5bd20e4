"""Streams between operations: one that was left in order is used again for the same address."""

from __future__ import annotations

from collections import OrderedDict

from gfs_ha.limits import CONNECT_TIMEOUT_S
from gfs_ha.net.asking import answered
from gfs_ha.net.network import Address
from gfs_ha.net.streams import Stream, StreamNetwork
from gfs_ha.runtime import Runtime

_IDLE_MAX = 64
_IDLE_PER_ADDRESS_MAX = 8
IDLE_S = 20.0  # Less than a server waits for the next request on a stream.


class StreamPool:
    """Idle streams by address, the oldest given up first. Thread-safe."""

    def __init__(self, network: StreamNetwork, runtime: Runtime) -> None:
        self._network = network
        self._runtime = runtime
        self._lock = runtime.lock()
        self._idle: OrderedDict[Stream, tuple[Address, float]] = OrderedDict()
        self._closed = False

    def take(self, address: Address, timeout_s: float = CONNECT_TIMEOUT_S) -> Stream:
        """Return a stream to that data port. Raises: Unreachable."""
        while True:
            stream = self._take_idle(address)
            if stream is None:
                return self._network.connect(address, timeout_s)
            if stream.idle():
                return stream
            stream.close()

    def _take_idle(self, address: Address) -> Stream | None:
        old_s = self._runtime.monotonic_s() - IDLE_S
        stale = []
        found = None
        with self._lock:
            for stream, (where, since_s) in list(self._idle.items()):
                if since_s < old_s:
                    del self._idle[stream]
                    stale.append(stream)
                elif where == address:
                    found = stream  # The one used last is the least likely to be gone.
            if found is not None:
                del self._idle[found]
        for stream in stale:
            stream.close()
        return found

    def give_back(self, address: Address, stream: Stream) -> None:
        """Keep a stream on which the last operation ended in order."""
        if not answered(stream):
            stream.close()  # More came than was asked for.
            return
        dropped = None
        with self._lock:
            same = [kept for kept, (where, _) in self._idle.items() if where == address]
            if self._closed:
                dropped = stream
            else:
                self._idle[stream] = (address, self._runtime.monotonic_s())
                if len(same) >= _IDLE_PER_ADDRESS_MAX:
                    dropped = same[0]
                    del self._idle[dropped]
                elif len(self._idle) > _IDLE_MAX:
                    dropped, _ = self._idle.popitem(last=False)
        if dropped is not None:
            dropped.close()

    def close(self) -> None:
        """Hang up on all idle streams and keep none from now on."""
        with self._lock:
            self._closed = True
            streams = list(self._idle)
            self._idle.clear()
        for stream in streams:
            stream.close()

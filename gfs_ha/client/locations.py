"""Where chunks lie, as last heard of, and which replica to ask first (F3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.errors import DeadlineExceeded, Unavailable
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.metadata import (
    ChunkLocations,
    Locate,
    Located,
    Location,
)
from gfs_ha.protocol.servers import ListServers, ServersListed
from gfs_ha.runtime import Runtime

CACHED_CHUNKS_MAX = 65_536
AVOID_S = 5.0  # A server that failed is asked last for this long.
_LEADER_S = 2.0  # So long it is waited for where another master may do.

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Here:
    """Where this client runs; an empty rack is near nothing."""

    machine: str
    rack: str = ""


def order_replicas(
    chunk: ChunkLocations, here: Here, avoided: Collection[ServerId]
) -> list[Location]:
    """Return the replicas in the order to ask them: live, same machine, same rack, then by hash.

    The hash of (chunk, server) gives all clients the same favourite, and spreads the chunks.
    """

    def rank(location: Location) -> tuple[bool, bool, bool, bool, int]:
        return (
            location.server_id in avoided,
            not location.live,
            location.machine != here.machine,
            not here.rack or location.rack != here.rack,
            rendezvous_hash(chunk.chunk_id, location.server_id),
        )

    return sorted(chunk.replicas, key=rank)


def rendezvous_hash(chunk_id: ChunkId, server_id: ServerId) -> int:
    """Return 64 mixed bits of the pair. Source: the finaliser of SplitMix64 (Steele 2014)."""
    value = (chunk_id * 0x9E3779B97F4A7C15 ^ server_id * 0xC2B2AE3D27D4EB4F) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


class Locations:
    """The cache chunk -> servers, and the servers to avoid for a moment. Thread-safe, bounded."""

    def __init__(
        self,
        calls: ClusterCalls,
        here: Here,
        runtime: Runtime,
        cached_max: int = CACHED_CHUNKS_MAX,
        tickets: bool = False,
    ) -> None:
        """Args: `tickets` says that data ports ask for them."""
        self._tickets = tickets
        self._calls = calls
        self._here = here
        self._runtime = runtime
        self._cached_max = cached_max
        self._lock = runtime.lock()
        self._chunks: OrderedDict[ChunkId, tuple[ChunkLocations, float]] = OrderedDict()
        self._avoided_until_s: dict[ServerId, float] = {}

    def learn(self, chunks: Iterable[ChunkLocations]) -> None:
        """Remember what the leader just said."""
        now_s = self._runtime.monotonic_s()
        with self._lock:
            for chunk in chunks:
                self._chunks[chunk.chunk_id] = (chunk, now_s)
                self._chunks.move_to_end(chunk.chunk_id)
            while len(self._chunks) > self._cached_max:
                self._chunks.popitem(last=False)

    def find(self, chunk_id: ChunkId) -> ChunkLocations | None:
        """Return where a chunk lies, from the cache or else the leader; None = it is unknown."""
        with self._lock:
            known = self._chunks.get(chunk_id)
            if known is not None and not self._too_old(*known):
                self._chunks.move_to_end(chunk_id)
                return known[0]
        return self.refresh(chunk_id)

    def _too_old(self, chunk: ChunkLocations, since_s: float) -> bool:
        """Return whether half the life of its tickets is over, or it came without."""
        if chunk.pass_ is None:
            return self._tickets
        return self._runtime.monotonic_s() - since_s > chunk.pass_.life_ms / 2000

    def refresh(self, chunk_id: ChunkId, refused: bool = False) -> ChunkLocations | None:
        """Ask where a chunk lies now; None = there is no such chunk.

        Args: `refused`: its servers took none of the tickets. The master that gave them has not
        heard of new keys, and may go on so: the leader has.
        """
        located = self._led(chunk_id) if refused else None
        if located is None:
            located = self._calls.read(Locate((chunk_id,)), Located)
        if self._tickets and any(one.pass_ is None for one in located.chunks):
            located = self._calls.ask(Locate((chunk_id,)), Located)  # That master knew no keys.
        self.learn(located.chunks)
        fresh = next((one for one in located.chunks if one.chunk_id == chunk_id), None)
        if fresh is None:
            with self._lock:
                self._chunks.pop(chunk_id, None)
        return fresh

    def _led(self, chunk_id: ChunkId) -> Located | None:
        """Return what the leader says, None where it is away."""
        try:
            return self._calls.ask(Locate((chunk_id,)), Located, _LEADER_S)
        except (Unavailable, DeadlineExceeded):
            return None

    def avoid(self, server_id: ServerId) -> None:
        """Ask this server last for a few seconds: it just failed."""
        with self._lock:
            self._avoided_until_s[server_id] = self._runtime.monotonic_s() + AVOID_S

    def ordered(self, chunk: ChunkLocations) -> list[Location]:
        """Return the replicas of a chunk, best first."""
        now_s = self._runtime.monotonic_s()
        with self._lock:
            expired = [one for one, until_s in self._avoided_until_s.items() if until_s <= now_s]
            for server_id in expired:
                del self._avoided_until_s[server_id]
            avoided = set(self._avoided_until_s)
        return order_replicas(chunk, self._here, avoided)

    def servers(self) -> tuple[Location, ...]:
        """Return the chunkservers that are available now, as the leader says."""
        return self._calls.ask(ListServers(), ServersListed).servers

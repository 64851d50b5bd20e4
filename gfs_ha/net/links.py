"""Framed byte links between the members of a cluster: the seam, with a TCP and a simulated twin.

Every queue is bounded: a link that owes its peer too much is closed. Nothing here is thread-safe,
except `wake`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gfs_ha.errors import ConfigError, GfsError
from gfs_ha.pki.names import PeerName

Address = tuple[str, int]


class LinkOwner(Protocol):
    """Who is told what happens on a link. A ProtocolError that it raises closes the link."""

    def opened(self, link: Link) -> None: ...

    def received(self, link: Link, frame: bytes) -> None:
        """Take one frame; empty means keep-alive."""
        ...

    def refused(self, link: Link, error: GfsError) -> None:
        """Hear that the peer is not good enough for TLS, or finds us so, or is this very process.

        `closed` follows. A peer that proved who it is, and is nobody for us, can still be told
        something.
        """
        ...

    def closed(self, link: Link, reason: str) -> None: ...


class Link(Protocol):
    """One connection; frames arrive in order or not at all."""

    @property
    def pending_bytes(self) -> int:
        """Return how many bytes wait for the peer to take them."""
        ...

    @property
    def remote(self) -> str: ...

    @property
    def certificate(self) -> PeerName | None:
        """Return who the peer is by its certificate; None where there is no TLS."""
        ...

    def send(self, frame: bytes) -> None:
        """Queue a frame for the next flush. A queue that grows beyond its limit closes the link."""
        ...

    def limit_frames(self, frame_bytes_max: int) -> None:
        """Set the longest frame that is accepted from now on."""
        ...

    def close(self, reason: str) -> None:
        """Close at once; what was not flushed is lost. The owner is told. Idempotent."""
        ...


class Links(Protocol):
    """All links of one process, and the wait that its loop does."""

    def listen(self, accept: Callable[[Link], LinkOwner]) -> None: ...

    def dial(self, address: Address, owner: LinkOwner) -> Link:
        """Begin to connect; the owner hears `opened` or `closed`.

        Or nothing, where the host is gone: who dials has a clock of his own.
        """
        ...

    def poll(self, wait_s: float, busy: Callable[[], bool]) -> None:
        """Wait for events at most `wait_s` (not at all when `busy()`), and hand out all of them."""
        ...

    def flush(self) -> None:
        """Give everything queued to the network, as far as it takes it."""
        ...

    def wake(self) -> None:
        """End the current or next wait early. Thread-safe."""
        ...

    def close(self) -> None: ...


def leads_to_itself(remote: str) -> ConfigError:
    """Return what the owner of a link hears that was dialled and ends in its own process."""
    return ConfigError(
        f"{remote} is this member's own address, and was given for another one: check the"
        " addresses of the masters"
    )

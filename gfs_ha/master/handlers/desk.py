"""What every handler works with: the store, the way to propose, the clock, the current reign."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from gfs_ha.config import Config, MasterAddress
from gfs_ha.errors import DiskFailed, GfsError, NotReady
from gfs_ha.kv.ordered import OrderedKV
from gfs_ha.logs.requests import RequestLog
from gfs_ha.master.certificates import CertificateWatch
from gfs_ha.master.denials import Denials
from gfs_ha.master.opener import Opener
from gfs_ha.master.proposals import Proposer
from gfs_ha.master.raft.contract import RaftStatus
from gfs_ha.master.recount import Recounter
from gfs_ha.master.reign import Reign
from gfs_ha.master.sealer import Sealer
from gfs_ha.master.ticket_office import TicketOffice
from gfs_ha.master.verifier import Verifier
from gfs_ha.net.http_port import Page
from gfs_ha.net.served import ServedCounter
from gfs_ha.net.usage_book import UsageBook
from gfs_ha.runtime import Future, Runtime

logger = logging.getLogger(__name__)

Post = Callable[[Callable[[], None]], None]


@dataclass(slots=True)
class Desk:
    """Shared by the handlers of one master. `reign` changes on the door's thread only."""

    config: Config
    name: str
    incarnation: int
    kv: OrderedKV
    proposer: Proposer
    runtime: Runtime
    post: Post
    disk_room: Callable[[], tuple[int, int]]  # (free, total) bytes below the store.
    rss_bytes: Callable[[], int]
    reign: Reign | None = None
    sealer: Sealer | None = None
    opener: Opener | None = None
    recounter: Recounter | None = None
    verifier: Verifier | None = None
    metrics: Callable[[], Page | Future[Page]] | None = None  # What there is to measure.
    certificates: CertificateWatch | None = None
    requests: RequestLog | None = None  # What is told of requests; nothing in simulations.
    tickets: TicketOffice | None = None  # Where peers show certificates.
    calls: ServedCounter = field(init=False)
    usage: UsageBook = field(init=False)
    denials: Denials = field(init=False)
    _leader: str = ""
    _leader_since_s: float = 0.0

    def __post_init__(self) -> None:
        self.calls = ServedCounter(self.runtime)
        self.usage = UsageBook(self.runtime)
        self.denials = Denials(self.runtime)

    def now_s(self) -> float:
        """Return the time of the clock that all soft facts are dated with."""
        return self.runtime.monotonic_s()

    def leading(self) -> Reign:
        """Return the current reign. Raises: NotLeader."""
        if self.reign is None:
            raise self.proposer.not_leader()
        return self.reign

    def sealing(self) -> Sealer:
        """Return what seals chunks in the current reign. Raises: NotLeader."""
        if self.sealer is None:
            raise self.proposer.not_leader()
        return self.sealer

    def opening(self) -> Opener:
        """Return what opens tails in the current reign. Raises: NotLeader."""
        if self.opener is None:
            raise self.proposer.not_leader()
        return self.opener

    def verifying(self) -> Verifier:
        """Return what compares the masters' states. Raises: NotReady where nothing does."""
        if self.verifier is None:
            raise NotReady("this master does not compare states")
        return self.verifier

    def leader_age_ms(self, raft: RaftStatus) -> int:
        """Return since when this leader, or the lack of one, is known here."""
        now_s = self.now_s()
        if not self._leader_since_s or self._leader != (raft.leader or ""):
            self._leader, self._leader_since_s = raft.leader or "", now_s
        return int((now_s - self._leader_since_s) * 1000)

    def masters(self) -> tuple[MasterAddress, ...]:
        """Return the members of the masters."""
        return self.proposer.masters()

    def weigh(self, error: GfsError) -> GfsError:
        """Return the error, and end the process if the own store is what failed.

        A leader with a damaged store must make room for one whose store is whole.
        """
        if isinstance(error, DiskFailed):

            def crash() -> None:
                raise error

            self.runtime.spawn("store", crash)
        return error

    def post_or_fail(
        self, action: Callable[[], None], on_error: Callable[[GfsError], object]
    ) -> None:
        """Run `action` on the door's thread, or tell that it cannot be."""
        try:
            self.post(action)
        except GfsError as error:
            on_error(error)

    def post_quietly(self, action: Callable[[], None]) -> None:
        """Run `action` on the door's thread unless the door is closed or flooded.

        For news that come again by themselves: housekeeping looks at the tables every tick.
        """
        try:
            self.post(action)
        except NotReady:
            pass  # The door is closed: this master stops.
        except GfsError as error:
            logger.warning("news for the door dropped because=%s", error.message)

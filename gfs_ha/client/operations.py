"""What operators read: reports of the leader, and what each master says when there is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from msgspec.structs import replace

from gfs_ha.client.below_goal import files_below_goal
from gfs_ha.client.cluster import ClusterCalls, expect
from gfs_ha.client.disks import Disks
from gfs_ha.client.events import Events
from gfs_ha.client.fsck import Fsck, FsckSummary
from gfs_ha.client.jobs import Jobs
from gfs_ha.client.live import LiveView
from gfs_ha.client.members import MasterMembers
from gfs_ha.client.namespace import check_path
from gfs_ha.client.rebalance import Rebalance
from gfs_ha.client.replica_checks import verify_chunk
from gfs_ha.client.server_detail import ChunkserverReport, show_server
from gfs_ha.client.server_modes import ServerModes
from gfs_ha.client.usage import Usage
from gfs_ha.client.verification import verify_states
from gfs_ha.errors import GfsError, NotFound, NotReady, PreconditionFailed
from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.append import (
    LeaseHistory,
    LeaseList,
    LeaseRevoked,
    LeaseRow,
    ListLeaseHistory,
    ListLeases,
    RevokeLease,
)
from gfs_ha.protocol.calls import Asked
from gfs_ha.protocol.damage import SHOWN_MAX, ChunkDetail, ChunkDetails, ShowChunks, VerifiedChunk
from gfs_ha.protocol.garbage import GarbageReport, GetGarbage, RunGarbage
from gfs_ha.protocol.losses import AcceptLoss, GetLoss, LossPlan
from gfs_ha.protocol.metadata import ChunkSealed, FileStatus
from gfs_ha.protocol.metrics import MetricsText, ReadMetrics
from gfs_ha.protocol.placement import (
    ExplainNewPlacement,
    ExplainPlacement,
    NewPlacementExplained,
    PlacementExplained,
)
from gfs_ha.protocol.repair import GetRepair, RepairBudgetReport, RepairReport, SetBudget
from gfs_ha.protocol.reports import (
    ChunkReport,
    ChunkRow,
    GetChunks,
    GetHealth,
    GetMasters,
    GetPlacement,
    GetServers,
    GetStatus,
    HealthReport,
    LeadershipReport,
    MasterFacts,
    MasterReport,
    PlacementReport,
    ServerReport,
    StatusReport,
    TransferLeadership,
)
from gfs_ha.protocol.scrub import (
    ChangeScrub,
    GetScrub,
    ScrubBudgetReport,
    ScrubReport,
    ScrubStarted,
    StartScrub,
)
from gfs_ha.protocol.state_checks import StateReport
from gfs_ha.runtime import Runtime

PAGE = 200
METRICS_S = 5.0  # Until a master has looked at what it measures.


class Operations:
    """Reports, as they are shown and printed as JSON. Thread-safe. Raises: NoLeader…"""

    def __init__(self, calls: ClusterCalls) -> None:
        self._calls = calls
        self.jobs = Jobs(calls)
        self.rebalance = Rebalance(calls)
        self.server_modes = ServerModes(calls)
        self.disks = Disks(calls)
        self.events = Events(calls)
        self.live = LiveView(calls)
        self.usage = Usage(calls)

    def masters(self, timeout_s: float | None = None) -> MasterReport:
        """Return the members as the leader sees them, and every term that led."""
        return self._calls.ask(GetMasters(), MasterReport, timeout_s)

    @property
    def timeout_s(self) -> float:
        """Return the longest time without an answered command."""
        return self._calls.timeout_s

    def members(
        self,
        runtime: Runtime,
        timeout_s: float | None = None,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> MasterMembers:
        """Return what changes who the masters are; it waits so long for progress of a new one."""
        limit_s = self._calls.timeout_s if timeout_s is None else timeout_s
        return MasterMembers(self._calls, runtime, limit_s, on_progress)

    def transfer_leadership(self, to: str = "") -> LeadershipReport:
        """Hand the leadership over to a master, or to the best one for "", and return who leads.

        Raises: NotFound (no such master), PreconditionFailed (it leads already), NotReady (it is
        not caught up or did not take over, and the old leader leads on), NoLeader.
        """
        status = self.status()
        if to == status.leader:
            raise PreconditionFailed(f"{to} leads already")
        asked = Asked(TransferLeadership(to, status.leader, status.term))
        return expect(self._calls.settle((asked,), give_up=(NotReady,))[0], LeadershipReport)

    def plan_transfer(self, to: str = "") -> str:
        """Return who leads and would hand over to a master. Raises: NotFound, PreconditionFailed.

        Whether that one is caught up is seen when it is asked for in earnest.
        """
        status = self.status()
        known = [row.name for row in status.masters]
        if to and to not in known:
            raise NotFound(f"there is no other master {to!r}; there are {', '.join(known)}")
        if to == status.leader:
            raise PreconditionFailed(f"{to} leads already")
        return status.leader

    def verify_states(self, deep: bool = False) -> StateReport:
        """Compare the states of all masters at one index; with `deep` each counts its rows first.

        Raises: Busy, PreconditionFailed (a master runs an older release), NoLeader,
        DeadlineExceeded (a count makes no progress).
        """
        return verify_states(self._calls, deep)

    def master_facts(self) -> dict[str, MasterFacts | GfsError]:
        """Return what each master says of itself, or why it does not; needs no leader."""
        return self._calls.facts()

    def master_metrics(self, name: str) -> MetricsText:
        """Return what one master measures; needs no leader. Raises: Unreachable, NotReady."""
        return self._calls.ask_master(name, ReadMetrics(), MetricsText, METRICS_S)

    def servers(self) -> ServerReport:
        """Return the chunkservers, their load and their last heartbeat."""
        return self._calls.ask(GetServers(), ServerReport)

    def show_server(self, name: str) -> ChunkserverReport:
        """Return all that is known of one chunkserver. Raises: NotFound."""
        return show_server(self._calls, name)

    def chunks(self, kinds: Collection[str] = ()) -> Iterator[ChunkRow]:
        """Yield the chunks by id, page by page; with `kinds` those in any such trouble."""
        after = ChunkId(0)
        while True:
            asked = GetChunks(after=after, limit=PAGE, kinds=tuple(kinds))
            page = self._calls.ask(asked, ChunkReport)
            yield from page.items
            if not page.more or page.after <= after:
                return
            after = page.after

    def show_chunks(self, chunk_ids: Sequence[ChunkId]) -> ChunkDetails:
        """Return all that is known of some chunks, in this order. Raises: UnknownChunk."""
        found: list[ChunkDetail] = []
        for start in range(0, len(chunk_ids), SHOWN_MAX):
            asked = ShowChunks(tuple(chunk_ids[start : start + SHOWN_MAX]))
            found += self._calls.ask(asked, ChunkDetails).items
        return ChunkDetails(tuple(found))

    def verify_chunk(self, chunk_id: ChunkId) -> VerifiedChunk:
        """Have every holder of a sealed chunk read its copy from the disk and compare it.

        What is damaged is taken out of service and made anew by itself. A holder that has not
        answered when the timeout is over is unreachable. Raises: UnknownChunk, WrongState.
        """
        return verify_chunk(self._calls, chunk_id)

    def fsck(
        self,
        path: str = "/",
        deep: bool = False,
        on_progress: Callable[[FsckSummary], None] = lambda summary: None,
    ) -> Fsck:
        """Return a run that compares names, chunks and disks; with `deep` it reads every copy."""
        return Fsck(self._calls, check_path(path), deep, on_progress)

    def files_below_goal(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        """Yield the files at and below a path that lack copies of any byte. Raises: NotFound…"""
        return files_below_goal(self._calls, check_path(path))

    def plan_loss(self, chunk_id: ChunkId) -> LossPlan:
        """Return what a blocked chunk would lose if it ended without the replicas out of reach.

        Raises: UnknownChunk.
        """
        return self._calls.ask(GetLoss(chunk_id), LossPlan)

    def accept_loss(self, plan: LossPlan) -> ChunkSealed:
        """Seal a blocked chunk as a plan said, for good.

        Raises: UnknownChunk, PreconditionFailed (it would not be so any more), Busy.
        """
        given_up = tuple(one.server_id for one in plan.replicas if one.missing)
        asked = AcceptLoss(plan.chunk_id, plan.begin_index, plan.length, given_up)
        return self._calls.ask(asked, ChunkSealed)

    def placement(self, path: str) -> PlacementReport:
        """Return where the bytes of a file lie, all of them. Raises: NotFound, IsADirectory."""
        path = check_path(path)
        whole = self._calls.ask(GetPlacement(path, 0, PAGE), PlacementReport)
        items, fitting = list(whole.items), whole.fitting
        page = whole
        while page.more and page.items:
            offset = items[-1].file_offset + items[-1].length
            page = self._calls.ask(GetPlacement(path, offset, PAGE), PlacementReport)
            items += page.items
            fitting |= page.fitting
        return replace(whole, items=tuple(items), more=False, fitting=fitting)

    def explain_placement(self, chunk_id: ChunkId) -> PlacementExplained:
        """Return why a chunk lies where it does, and what would come next. Raises: UnknownChunk."""
        return self._calls.ask(ExplainPlacement(chunk_id), PlacementExplained)

    def explain_new_placement(self, path: str, machine: str, rack: str) -> NewPlacementExplained:
        """Return where a chunk of a new file would go, for a writer there. Raises: InvalidPath."""
        asked = ExplainNewPlacement(check_path(path), machine, rack)
        return self._calls.ask(asked, NewPlacementExplained)

    def garbage(self, limit: int = PAGE) -> GarbageReport:
        """Return what waits to be collected, why, and what disks got back."""
        return self._calls.ask(GetGarbage(limit), GarbageReport)

    def run_garbage(self, limit: int = PAGE) -> GarbageReport:
        """Let all have its turn now that waits for nothing else, and return what waits."""
        return self._calls.ask(RunGarbage(limit), GarbageReport)

    def repair(self, limit: int = PAGE) -> RepairReport:
        """Return what is being repaired, what waits and why, and for how long still."""
        return self._calls.ask(GetRepair(limit), RepairReport)

    def set_repair_budget(self, changes: SetBudget) -> RepairBudgetReport:
        """Change how much repair may take, and return all of it. Raises: InvalidArgument."""
        return self._calls.ask(changes, RepairBudgetReport)

    def scrub(self) -> ScrubReport:
        """Return how far the scrub of every server's disks is, and when it was through last."""
        page = self._calls.ask(GetScrub(), ScrubReport)
        items = list(page.items)
        while page.more and page.items:
            page = self._calls.ask(GetScrub(items[-1].server_id), ScrubReport)
            items += page.items
        return ScrubReport(tuple(items), page.budget)

    def start_scrub(self, servers: Sequence[ServerId] = (), bytes_per_s: int = 0) -> ScrubStarted:
        """Have servers (none given: all) begin a round now, and return which were told.

        Raises: UnknownServer, InvalidArgument.
        """
        return self._calls.ask(StartScrub(tuple(servers), bytes_per_s), ScrubStarted)

    def change_scrub(self, changes: ChangeScrub) -> ScrubBudgetReport:
        """Change how disks are scrubbed, and return all of it. Raises: InvalidArgument."""
        return self._calls.ask(changes, ScrubBudgetReport)

    def leases(self) -> list[LeaseRow]:
        """Return every open tail, by chunk: who orders the appends to it, and for how long."""
        found: list[LeaseRow] = []
        after = ChunkId(0)
        while True:
            page = self._calls.ask(ListLeases(after), LeaseList)
            found += page.items
            if not page.more or not page.items:
                return found
            after = page.items[-1].chunk_id

    def lease_history(self, limit: int = PAGE) -> LeaseHistory:
        """Return the newest grants and ends of leases, the newest first."""
        return self._calls.ask(ListLeaseHistory(limit), LeaseHistory)

    def revoke_lease(self, chunk_id: ChunkId, server_id: ServerId) -> tuple[ChunkId, ...]:
        """Take one chunk from its primary, or for chunk 0 all from a server; return once sealed.

        Raises: UnknownChunk, WrongState, UnknownServer; Busy when a seal waits for a lost server.
        """
        return self._calls.ask(RevokeLease(chunk_id, server_id), LeaseRevoked).sealed

    def health(self) -> HealthReport:
        """Return what is not as it should be."""
        return self._calls.ask(GetHealth(), HealthReport)

    def status(self) -> StatusReport:
        """Return the cluster on one screen."""
        return self._calls.ask(GetStatus(), StatusReport)

"""Who may ask a master for what, where peers show certificates.

A request that stands in no row is refused to everybody; a test sees to it that each has its row.
"""

from __future__ import annotations

from typing import Any

from gfs_ha.errors import Denied
from gfs_ha.master.handlers.desk import Desk
from gfs_ha.master.state.view import View
from gfs_ha.pki.names import EVERYBODY, PeerName, Role
from gfs_ha.protocol import (
    append,
    control,
    damage,
    disks,
    events,
    extents,
    fsck,
    garbage,
    jobs,
    live,
    logs,
    losses,
    metadata,
    metrics,
    placement,
    policy,
    rebalance,
    repair,
    reports,
    scrub,
    server_modes,
    servers,
    state_checks,
    tickets,
    usage,
)
from gfs_ha.protocol.codec import Hello

# Who is not asked for here may not: a chunkserver never reads a directory, a master only asks who
# its peers are.
_FILES = frozenset({Role.CLIENT, Role.ADMIN})
_WRITERS = _FILES | {Role.CHUNKSERVER}  # It writes the chunks that it compacts as a client does.
_SERVERS = frozenset({Role.CHUNKSERVER})
_ADMINS = frozenset({Role.ADMIN})

ALLOWED: dict[type, frozenset[Role]] = {
    reports.GetMasterFacts: EVERYBODY,
    # Files.
    metadata.Stat: _FILES,
    metadata.ListDirectory: _FILES,
    metadata.OpenFile: _FILES,
    metadata.ReadExtents: _FILES,
    metadata.Locate: _FILES,
    servers.ListServers: _FILES,
    metadata.Renew: _FILES,
    metadata.ReportReplica: _FILES,
    metadata.Mkdir: _FILES,
    metadata.Rename: _FILES,
    metadata.Remove: _FILES,
    metadata.SetAttributes: _FILES,
    metadata.StageExtents: _FILES,
    metadata.Publish: _FILES,
    metadata.SealChunk: _FILES,
    extents.StageCopy: _FILES,
    extents.ReplaceContent: _FILES,
    extents.DiscardStaged: _FILES,
    append.GrantAppend: _FILES,
    append.FindRecords: _FILES,
    append.ConfirmTail: _FILES,
    policy.GetPolicy: _FILES,
    policy.SetPolicy: _FILES,
    policy.UnsetPolicy: _FILES,
    policy.SetReplication: _FILES,
    # What commands about files ask of the cluster: df, setrep --wait, find --under.
    reports.GetMasters: _FILES,
    reports.GetServers: _FILES,
    reports.GetStatus: _FILES,
    reports.GetPlacement: _FILES,
    repair.GetRepair: _FILES,
    fsck.ScanFiles: _FILES,
    # Sessions and chunks, also those of compaction.
    metadata.OpenSession: _WRITERS,
    metadata.CloseSession: _WRITERS,
    metadata.AllocateChunk: _WRITERS,
    metadata.FinishChunk: _WRITERS,
    metadata.ReleaseChunks: _WRITERS,
    extents.MoveReferences: _SERVERS,  # Who was told to compact the chunk: chunks.py looks.
    # For what, is looked at by the handler (tickets.py).
    tickets.GetTickets: _WRITERS,
    tickets.TellTicketKey: _SERVERS,
    # A chunkserver speaks for itself only, see `admit`.
    control.RegisterServer: _SERVERS,
    control.Heartbeat: _SERVERS,
    # Operators: what shows the cluster.
    reports.GetChunks: _ADMINS,
    reports.GetHealth: _ADMINS,
    damage.ShowChunks: _ADMINS,
    losses.GetLoss: _ADMINS,
    fsck.ScanChunks: _ADMINS,
    fsck.ScanPlaces: _ADMINS,
    fsck.ScanTallies: _ADMINS,
    placement.ExplainPlacement: _ADMINS,
    placement.ExplainNewPlacement: _ADMINS,
    garbage.GetGarbage: _ADMINS,
    scrub.GetScrub: _ADMINS,
    servers.ShowServer: _ADMINS,
    servers.CountPlaces: _ADMINS,
    server_modes.ListPlaces: _ADMINS,
    disks.ListDisks: _ADMINS,
    jobs.ListJobs: _ADMINS,
    jobs.GetJob: _ADMINS,
    jobs.GetJobLog: _ADMINS,
    rebalance.GetRebalance: _ADMINS,
    events.GetEvents: _ADMINS,
    live.GetLive: _ADMINS,
    usage.GetUsage: _ADMINS,
    logs.ReadLog: _ADMINS,
    metrics.ReadMetrics: _ADMINS,
    append.ListLeases: _ADMINS,
    append.ListLeaseHistory: _ADMINS,
    # Operators: what changes it.
    reports.TransferLeadership: _ADMINS,
    reports.AddMaster: _ADMINS,
    reports.AdmitMaster: _ADMINS,
    reports.RemoveMaster: _ADMINS,
    state_checks.CheckStates: _ADMINS,
    state_checks.CountStates: _ADMINS,
    repair.SetBudget: _ADMINS,
    garbage.RunGarbage: _ADMINS,
    damage.VerifyChunk: _ADMINS,
    losses.AcceptLoss: _ADMINS,
    scrub.StartScrub: _ADMINS,
    scrub.ChangeScrub: _ADMINS,
    server_modes.DrainServer: _ADMINS,
    server_modes.UndrainServer: _ADMINS,
    server_modes.ChangeMaintenance: _ADMINS,
    server_modes.ChangeLabels: _ADMINS,
    server_modes.RemoveChunkserver: _ADMINS,
    disks.DrainDisk: _ADMINS,
    disks.UndrainDisk: _ADMINS,
    disks.RemoveDisk: _ADMINS,
    jobs.ChangeJob: _ADMINS,
    rebalance.PlanRebalance: _ADMINS,
    rebalance.StartRebalance: _ADMINS,
    events.MuteFinding: _ADMINS,
    append.RevokeLease: _ADMINS,
}


def check_hello(certificate: PeerName | None, hello: Hello) -> None:
    """Compare what a peer says of itself with its certificate; without one there is nothing to.

    People run many processes under one certificate: their names may go on with `@` and more.
    Raises: Denied.
    """
    if certificate is None:
        return
    if hello.role != certificate.role:
        raise Denied(f"calls itself a {hello.role}, its certificate is that of {certificate}")
    person = certificate.role in _FILES
    called = hello.name.partition("@")[0] if person else hello.name
    if called != certificate.name:
        raise Denied(f"calls itself {hello.name!r}, its certificate is that of {certificate}")


def admit(desk: Desk, certificate: PeerName | None, request: Any) -> None:
    """Let a request pass, or not. Raises: Denied."""
    if certificate is None:
        return
    kind = type(request)
    roles = ALLOWED.get(kind, frozenset())
    if certificate.role not in roles:
        wanted = " or ".join(sorted(roles)) or "nobody"
        raise Denied(
            f"{certificate} may not ask for {kind.__name__}; that takes a certificate with the role"
            f" {wanted}",
            sent=0,
        )
    if kind is control.RegisterServer and request.name != certificate.name:
        raise Denied(f"{certificate} cannot register as {request.name!r}")
    if kind is control.Heartbeat:
        with desk.kv.read() as reader:
            row = View(reader).server(request.server_id)
        if row is not None and row.name != certificate.name:
            raise Denied(f"{certificate} cannot speak for chunkserver {row.name}")

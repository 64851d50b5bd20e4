"""What chunkservers say of the health of a cluster: which are away, what ails them, how many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gfs_ha.ids import DiskId, format_id
from gfs_ha.limits import DEAD_S, SUSPECT_S
from gfs_ha.master.quorum import ERROR, WARNING
from gfs_ha.master.state.records import Settings
from gfs_ha.net.sockets import format_address
from gfs_ha.protocol.disks import PLACES_COUNTED_MAX
from gfs_ha.protocol.measures import duration_text, seconds_text
from gfs_ha.protocol.reports import Finding, ServerRow
from gfs_ha.protocol.server_modes import DECOMMISSIONED, IN_SERVICE

CLOCK_SKEW_MAX_MS = 5_000

_AWAY = {"dead": "SERVER_DEAD", "suspect": "SERVER_SUSPECT"}

_REPLACE = "what is left on it, and how to change it: gfsctl admin disks replace"

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class GoneDisk:
    """A disk that failed or is lost, and how many chunks have a place there by the tables."""

    server: str
    disk_id: DiskId
    places: int  # PLACES_COUNTED_MAX: at least so many.
    lost: bool  # Its server came back without it.
    coming: int = 0  # Chunks below their goal of which its server gets copies, on other disks.


def server_findings(
    servers: Sequence[ServerRow],
    under_count: int,
    clocks_ahead_ms: Mapping[str, int],
    gone: Sequence[GoneDisk] = (),
) -> list[Finding]:
    """Return what is not as it should be. `under_count` chunks have too few copies."""
    found = []
    for state in ("dead", "suspect"):
        found += [_away(one, under_count) for one in servers if one.state == state]
    for server in servers:
        if server.state == "live" and server.reason:
            found.append(
                Finding(
                    "SERVER_CUT_OFF",
                    WARNING,
                    f"chunkserver {server.name}: {server.reason}",
                    f"look at the network between {server.name}, the other servers and clients",
                    subject=server.name,
                    facts=_facts(server),
                )
            )
        found += _disks(server, under_count, gone)
    for name, ahead_ms in sorted(clocks_ahead_ms.items()):
        if abs(ahead_ms) > CLOCK_SKEW_MAX_MS:
            found.append(
                Finding(
                    "CLOCK_SKEW",
                    WARNING,
                    f"the clock of {name} differs from the leader's by {ahead_ms / 1000:.1f} s",
                    "set its clock (NTP); only shown times depend on it",
                    subject=name,
                    facts=(("ahead of the leader", f"{ahead_ms / 1000:.3f} s"),),
                )
            )
    return found


def capacity_findings(settings: Settings | None, servers: Sequence[ServerRow]) -> Iterator[Finding]:
    """Yield what a cluster lacks to be written to as its settings say."""
    if settings is None:
        yield Finding(
            "NOT_INITIALIZED",
            ERROR,
            "the cluster has no settings yet",
            "wait for the first leader to write them",
        )
        return
    live = [one for one in servers if one.state == "live" and _serves(one)]
    least = min(settings.min_copies, settings.goal)
    facts = (
        ("live chunkservers in service", str(len(live))),
        ("registered chunkservers", str(len(servers))),
        ("goal", f"{settings.goal} copies"),
        ("min_copies", str(settings.min_copies)),
    )
    if len(live) < least:
        yield Finding(
            "TOO_FEW_SERVERS",
            ERROR,
            f"{len(live)} live chunkservers in service, {least} are needed to write",
            f"start more chunkservers{_back_text(servers)}",
            facts=facts,
        )
    elif len(live) < settings.goal:
        yield Finding(
            "TOO_FEW_SERVERS",
            WARNING,
            f"{len(live)} live chunkservers in service for a goal of {settings.goal} copies",
            f"start more chunkservers{_back_text(servers)}: new files get fewer copies meanwhile",
            facts=facts,
        )
    racks = {server.rack for server in servers}
    if servers and settings.goal > 1 and len(racks) < 2:
        yield Finding(
            "RACKS_MISSING",
            WARNING,
            f"all chunkservers are in rack {next(iter(racks))}",
            "name the racks in the servers' files, or add a server in another rack",
            facts=(("chunkservers", str(len(servers))), ("rack of all", next(iter(racks)))),
        )


def _back_text(servers: Sequence[ServerRow]) -> str:
    """Return the other way to more servers in service: one that lives and was taken out."""
    for one in servers:
        if one.state == "live" and one.mode != IN_SERVICE:
            return f", or take one back: gfsctl admin chunkservers undrain {one.name}"
    return ""


def _serves(server: ServerRow) -> bool:
    """Return whether a server takes new chunks, as it stands."""
    return server.mode == IN_SERVICE and not server.maintenance_left_ms


def _away(server: ServerRow, under_count: int) -> Finding:
    age_ms, state = server.heartbeat_age_ms, server.state
    since = f"no heartbeat for {seconds_text(age_ms // 1000)}" if age_ms >= 0 else "not heard yet"
    said = f"is {state} ({since})"
    advice = f"start {server.name} or mend its network"
    if server.disks and all(one.failed for one in server.disks):
        said = f"ended when its last disk failed; it is {state} ({since})"
        advice = f"give {server.name} disks that work, or mend these, and start it"
    severity = ERROR
    if server.maintenance_left_ms:
        # Its copies count until then, so that none seem to be missed says nothing.
        severity = WARNING
        advice = f"it is in maintenance: {advice} before that ends"
    elif server.mode == DECOMMISSIONED:
        severity = WARNING
        remove = f"gfsctl admin chunkservers remove {server.name}"
        advice = f"nothing lies there: {remove}; or {advice}, to use it again"
    elif state == "dead" and not under_count:
        # Its copies were made anew elsewhere: nothing rests on its return.
        severity = WARNING
        advice += "; every chunk has its copies on other servers"
    return Finding(
        _AWAY[state],
        severity,
        f"chunkserver {server.name} {said}",
        advice,
        subject=server.name,
        facts=(
            ("last heartbeat", f"{duration_text(age_ms)} ago" if age_ms >= 0 else "none yet"),
            ("suspect after", f"{SUSPECT_S:.0f} s"),
            ("dead after", f"{DEAD_S:.0f} s, unless the masters' files say otherwise"),
            ("chunks below their goal now", f"{under_count:,}"),
            *_facts(server),
        ),
    )


def _disks(server: ServerRow, under_count: int, gone: Sequence[GoneDisk]) -> Iterator[Finding]:
    known = {one.disk_id: one for one in gone if one.server == server.name}
    for disk in server.disks:
        if disk.failed:
            where = f" ({disk.directory})" if disk.directory else ""
            one = known.get(disk.disk_id)
            left, coming = (one.places, one.coming) if one is not None else (0, 0)
            missed = left or coming if one is not None else under_count  # Of many, not all are.
            yield Finding(
                "DISK_FAILED",
                # Once all its copies were made anew elsewhere nothing rests on it, as on a server;
                # what others lack counts as well, and is no matter of this disk.
                ERROR if missed else WARNING,
                f"disk {format_id(disk.disk_id)}{where} of {server.name} failed: {disk.failed};"
                f" {_left_text(left, coming)}",
                f"{_REPLACE} {server.name}:{format_id(disk.disk_id)}",
                subject=server.name,
                facts=(
                    ("disk", format_id(disk.disk_id)),
                    ("directory", disk.directory or "not told"),
                    ("what failed", disk.failed),
                    ("other disks in service", str(sum(not one.failed for one in server.disks))),
                    ("places of chunks left there", _count_text(left)),
                    ("chunks below their goal now", f"{under_count:,}"),
                    *_facts(server),
                ),
            )
    told = {disk.disk_id for disk in server.disks}
    for one in gone:
        if one.server == server.name and one.lost and one.disk_id not in told:
            yield Finding(
                "DISK_LOST",
                WARNING,
                f"{server.name} came back without disk {format_id(one.disk_id)};"
                f" {_left_text(one.places)}",
                f"if it is only not mounted, mount it and restart {server.name}; else {_REPLACE}"
                f" {server.name}:{format_id(one.disk_id)} (it is forgotten by itself once no chunk"
                f" has a place there: gfsctl admin events --subject {server.name} --kind disk)",
                subject=server.name,
                facts=(
                    ("disk", format_id(one.disk_id)),
                    ("places of chunks left there", _count_text(one.places)),
                    ("chunks below their goal now", f"{under_count:,}"),
                    *_facts(server),
                ),
            )


def _left_text(places: int, coming: int = 0) -> str:
    if not places and coming:
        chunks = "1 chunk is" if coming == 1 else f"{_count_text(coming)} chunks are"
        return f"{chunks} just copied to other disks of that server"
    if not places:
        return "no chunk has a place there any more"
    chunks = "1 chunk has its" if places == 1 else f"{_count_text(places)} chunks have a"
    return f"{chunks} place there still, made anew elsewhere"


def _count_text(places: int) -> str:
    """Return a number of places, which are counted so far and no further."""
    return f"{places:,}" if places < PLACES_COUNTED_MAX else f"{places:,} or more"


def _facts(server: ServerRow) -> Facts:
    stands = server.mode
    if server.maintenance_left_ms:
        stands += f", in maintenance for {duration_text(server.maintenance_left_ms)} more"
    return (
        ("address", format_address((server.host, server.port))),
        ("rack", server.rack),
        ("replicas by the tables", f"{server.replica_count:,}"),
        ("stands", stands),
    )

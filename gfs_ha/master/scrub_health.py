"""What the scrub says of the health of a cluster: rounds that are late or held, worn disks."""

from __future__ import annotations

from gfs_ha.ids import format_id
from gfs_ha.master.quorum import WARNING
from gfs_ha.protocol.reports import Finding
from gfs_ha.protocol.scrub import ScrubFacts, ScrubReport, ScrubSummary

WORN_AT = 10  # Damaged replicas in the life of a disk.
LATE_PERIODS = 2
_DAY_MS = 24 * 3600 * 1000
_NAMED_MAX = 8


def scrub_findings(report: ScrubReport, wall_ms: int) -> list[Finding]:
    """Return what is not as it should be."""
    found = []
    budget = report.budget
    late = []
    for row in report.items:
        for disk in row.disks:
            if budget.period_s and is_late(disk, budget.period_s, wall_ms):
                late.append(f"{row.name} ({_since(disk, wall_ms)})")
            if disk.unidentified:
                found.append(_unidentified(row.name, disk))
            if disk.found_ever >= WORN_AT:
                found.append(_worn(row.name, disk))
    if budget.paused:
        found.insert(
            0,
            Finding(
                "SCRUB_PAUSED",
                WARNING,
                "the scrub is paused: damage that nobody reads is not found",
                "gfsctl admin scrub resume, when the reason for it is over",
            ),
        )
    elif late:
        named = ", ".join(late[:_NAMED_MAX]) + (" and others" if len(late) > _NAMED_MAX else "")
        found.append(
            Finding(
                "SCRUB_LATE",
                WARNING,
                f"no whole scrub for more than {LATE_PERIODS} periods: {named}",
                "gfsctl admin scrub status says how fast it is and why; raise scrub budget --rate,"
                " or --period if that is as intended",
            )
        )
    return found


def is_late(disk: ScrubFacts, period_s: int, wall_ms: int) -> bool:
    """Return whether the last whole round of a disk is too long ago."""
    since_ms = disk.ended_ms or disk.began_ms
    return since_ms > 0 and wall_ms - since_ms > LATE_PERIODS * period_s * 1000


def _since(disk: ScrubFacts, wall_ms: int) -> str:
    if disk.ended_ms:
        return f"the last one ended {(wall_ms - disk.ended_ms) // _DAY_MS} days ago"
    return f"the first one began {(wall_ms - disk.began_ms) // _DAY_MS} days ago"


def kept_text(disk: ScrubFacts) -> str:
    """Return what slot files lie on a disk that no chunk claims; empty without any."""
    second, other = disk.second, disk.unidentified - disk.second
    parts = []
    if second:
        files = "1 slot file is a second replica" if second == 1 else f"{second} slot files are"
        files += "" if second == 1 else " second replicas"
        parts.append(f"{files}, older than what lies on this server, as a disk brings back")
    if other:
        files = "1 slot file" if other == 1 else f"{other} slot files"
        parts.append(f"{files} no chunk claims: neither copy of the header can be read")
    return "; ".join(parts)


def _unidentified(name: str, disk: ScrubFacts) -> Finding:
    ways = []
    if disk.second:
        ways.append(
            "second replicas go by themselves, each some minutes after the newer one was sealed,"
            f" once that was read whole (`gfsctl admin scrub start {name}` reads all now); one"
            " that has other bytes than its chunk, or another birth, stays until that goes from the"
            " server"
        )
    if disk.unidentified > disk.second:
        ways.append(
            "what no chunk claims is kept: look at the disk, and move it away once no chunk is"
            " below its goal"
        )
    return Finding(
        "SLOTS_UNIDENTIFIED",
        WARNING,
        f"disk {format_id(disk.disk_id)} of {name}: {kept_text(disk)}",
        "; ".join(ways),
        subject=name,
        facts=(
            ("disk", format_id(disk.disk_id)),
            ("slot files", str(disk.unidentified)),
            ("second replicas", str(disk.second)),
        ),
    )


def _worn(name: str, disk: ScrubFacts) -> Finding:
    return Finding(
        "DISK_WORN",
        WARNING,
        f"{disk.found_ever} damaged replicas were found on disk {disk.disk_id:#x} of {name} in its"
        " life",
        "look at its SMART values and the kernel's log; replace it if they agree, and start the"
        " server on an empty directory",
        subject=name,
        facts=(
            ("disk", format_id(disk.disk_id)),
            ("damaged replicas in its life", str(disk.found_ever)),
            ("worn from", str(WORN_AT)),
        ),
    )


def summarise(report: ScrubReport) -> ScrubSummary:
    """Return the scrub of the whole cluster on one line."""
    disks = [disk for row in report.items for disk in row.disks]
    total = sum(disk.bytes_total for disk in disks)
    return ScrubSummary(
        share=sum(disk.bytes_done for disk in disks) / total if total else 1.0,
        running=sum(disk.state != "idle" for disk in disks),
        bytes_per_s=sum(disk.bytes_per_s for disk in disks if disk.state != "idle"),
        found=sum(disk.found for disk in disks),
        paused=report.budget.paused,
    )

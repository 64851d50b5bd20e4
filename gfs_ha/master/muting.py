"""Findings as people are told of them: since when each stands, and which do not count now.

Pure. What is not as it should be decides health.py; since when is written down by the planner of
events, and a mute by an operator: both are the same after a change of the leader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from gfs_ha.ids import DiskId, format_id
from gfs_ha.master.quorum import ERROR
from gfs_ha.master.state.event_records import Mute, Noted
from gfs_ha.master.state.mutes import mute_rows
from gfs_ha.protocol.reports import Finding, HealthReport

FINDING_CLASS = "finding"
SERVER_CODES = ("SERVER_DEAD", "SERVER_SUSPECT")  # They stand since their server is silent.
_LESS_THAN = {"SERVER_SUSPECT": "SERVER_DEAD"}


def finding_key(finding: Finding) -> str:
    """Return the key under which is noted that a finding stands."""
    return f"{FINDING_CLASS}/{finding.code}/{finding.subject}"


def server_key(name: str) -> str:
    """Return the key under which is noted that a server is not live."""
    return f"server/{name}"


def disk_key(name: str, disk_id: DiskId) -> str:
    """Return the key under which is noted that a disk of a server is out of service."""
    return f"disk/{name}/{format_id(disk_id)}"


def mute_ends(mute: Mute, findings: Iterable[Finding]) -> str:
    """Return why a mute does not hold for findings of its code; else empty.

    It covers what there was when it was made: nothing worse, and nothing else.
    """
    for finding in findings:
        if finding.severity == ERROR and mute.severity != ERROR:
            return "it is an error now, and was a warning when it was muted"
        if mute.subjects and finding.subject not in mute.subjects:
            return f"it is about {finding.subject or 'the cluster'} now, too"
    return ""


def told(
    report: HealthReport, noted: Mapping[str, Noted], mutes: Mapping[str, Mute], now_ms: int
) -> HealthReport:
    """Return the report with since when its findings stand, and which of them count.

    Args: `now_ms` is the cluster's time.
    """
    holding = {
        code: mute
        for code, mute in mutes.items()
        if mute.until_ms > now_ms and not mute_ends(mute, _of(report.items, code))
    }
    items = []
    for finding in report.items:
        by_server = finding.code in SERVER_CODES
        row = noted.get(server_key(finding.subject) if by_server else finding_key(finding))
        mute = holding.get(finding.code) or _mute_of_worse(holding, finding)
        items.append(
            msgspec.structs.replace(
                finding,
                since_ns=row.since_wall_ns if row is not None else 0,
                muted_ms=mute.until_ms - now_ms if mute is not None else 0,
                mute_reason=mute.reason if mute is not None else "",
            )
        )
    items.sort(key=lambda one: (bool(one.muted_ms), one.severity != ERROR))
    healthy = all(one.severity != ERROR or one.muted_ms for one in items)
    return HealthReport(healthy, tuple(items), mute_rows(holding, now_ms))


def _mute_of_worse(mutes: Mapping[str, Mute], finding: Finding) -> Mute | None:
    """Return the mute of something worse about the same thing.

    To a new leader a dead server is suspect for half a minute: muted is muted.
    """
    mute = mutes.get(_LESS_THAN.get(finding.code, ""))
    if mute is None or (mute.subjects and finding.subject not in mute.subjects):
        return None
    return mute


def _of(findings: Sequence[Finding], code: str) -> list[Finding]:
    return [one for one in findings if one.code == code]

"""What the planner of events hears beyond what the planners of repair hear."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.protocol.reports import Finding


@dataclass(frozen=True, slots=True)
class News:
    """What the leader found at its last look at the whole cluster."""

    findings: tuple[Finding, ...]
    masters: tuple[str, ...]  # Names of those that vote, then of others with a remark.

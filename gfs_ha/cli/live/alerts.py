"""What is not as it should be, below the cluster on one screen (pure)."""

from __future__ import annotations

from collections.abc import Sequence

from gfs_ha.cli.live.flow import LABEL, flow, wrap
from gfs_ha.cli.live.spans import BAD, FAINT, PLAIN, STRONG, WARN, Line, fit, line
from gfs_ha.cli.units import duration_text
from gfs_ha.protocol.reports import Finding


def findings_lines(findings: Sequence[Finding], width: int) -> list[Line]:
    """Return what is not as it should be, and what to do about it; nothing is cut."""
    muted = [finding for finding in findings if finding.muted_ms]
    lines: list[Line] = []
    if len(muted) == len(findings):
        lines += flow("alerts", [line(("none", FAINT))], width)
    for finding in findings:
        if finding.muted_ms:
            continue
        style = BAD if finding.severity == "error" else WARN
        text = f"{finding.code}  {finding.message}; {finding.advice}"
        for at, told in enumerate(wrap(text, max(20, width - LABEL))):
            first = "alerts" if not lines else ""
            head = (fit(first, LABEL), STRONG)
            if at:
                lines.append((head, (told, PLAIN)))
                continue
            code, _, rest = told.partition(" ")
            lines.append((head, (code, style), (f" {rest}" if rest else "", PLAIN)))
    if muted:
        texts = [f"{one.code} ({duration_text(one.muted_ms)})" for one in muted]
        lines += flow("muted", [line((text, FAINT)) for text in texts], width)
    return lines

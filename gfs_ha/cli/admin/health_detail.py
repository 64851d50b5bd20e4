"""`gfsctl admin health detail`: each finding with its rule, facts, likely cause and next step."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.console import Group, RenderableType
from rich.text import Text

from gfs_ha.cli.admin.health import severity_text
from gfs_ha.cli.blocks import block, facts_lines
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.runbooks import Runbook, Step, runbook, steps_for
from gfs_ha.cli.session import Session, pass_session, watched
from gfs_ha.cli.units import duration_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import UsageError
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.findings import FINDING_CODES
from gfs_ha.protocol.reports import Finding


class DetailedFinding(Word, frozen=True):
    """A finding with its runbook."""

    finding: Finding
    rule: str
    cause: str
    next: tuple[Step, ...]


class HealthDetail(Word, frozen=True):
    """-> kind HealthDetail."""

    healthy: bool
    items: tuple[DetailedFinding, ...]


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin health detail                # all findings, explained
    gfsctl admin health detail CHUNKS_UNDER   # those of one code
    gfsctl explain CHUNKS_UNDER               # the runbook alone; needs no cluster
    """,
)
@click.argument("codes", metavar="[CODE]…", nargs=-1)
@watched
@pass_session
def detail(session: Session, codes: tuple[str, ...]) -> None:
    """Explain what is not as it should be: the rule, the facts, the likely cause, what to do."""
    wanted = {known_code(code) for code in codes}
    report = session.operations.health()
    items = tuple(
        detailed(finding) for finding in report.items if not wanted or finding.code in wanted
    )
    session.show(HealthDetail(report.healthy, items))


def known_code(text: str) -> str:
    """Return the code of a finding as it is spelt. Raises: UsageError when there is none such."""
    code = text.upper().replace("-", "_")
    if code not in FINDING_CODES:
        raise UsageError(f"there is no finding {printable(text)}; gfsctl explain lists all codes")
    return code


def detailed(finding: Finding) -> DetailedFinding:
    """Return a finding with what its runbook says; a newer release may have others."""
    book = runbook(finding.code) or Runbook("finding", finding.code, "", "", ())
    return DetailedFinding(
        finding, book.rule, book.cause, steps_for(book, finding.subject, finding.facts)
    )


@names.register
def _(report: HealthDetail) -> Iterator[str]:
    for item in report.items:
        yield item.finding.code


@render.register
def _(report: HealthDetail, wide: bool) -> RenderableType:
    if not report.items:
        return (
            Text("HEALTHY, and nothing to be said", "green")
            if report.healthy
            else Text("no such finding now")
        )
    parts: list[RenderableType] = []
    for item in report.items:
        if parts:
            parts.append(Text(""))
        parts.append(_block(item))
    return Group(*parts)


def _block(item: DetailedFinding) -> RenderableType:
    finding = item.finding
    head = Text(finding.code, "bold")
    head.append("  ").append_text(severity_text(finding))
    if finding.subject:
        head.append(f"  {printable(finding.subject)}", "not bold")
    if finding.since_ns:
        head.append(f"  since {time_text(finding.since_ns)}", "not bold dim")
    muted = ""
    if finding.muted_ms:
        why = f": {finding.mute_reason}" if finding.mute_reason else ""
        muted = f"for {duration_text(finding.muted_ms)} more{why}; it does not count meanwhile"
    return block(
        head,
        [
            ("what", finding.message),
            ("rule", item.rule),
            *facts_lines("facts", finding.facts),
            ("cause", item.cause),
            ("do", finding.advice),
            ("next", item.next),
            ("muted", muted),
        ],
    )

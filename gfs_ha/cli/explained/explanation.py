"""What an explanation of a thing says: what it is, whether all is well, why not, what comes."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from gfs_ha.cli.blocks import Line, block
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import names, render
from gfs_ha.cli.runbooks import Runbook, Step
from gfs_ha.cli.units import duration_text
from gfs_ha.protocol.codec import Word


class Explanation(Word, frozen=True):
    """-> kind Explanation."""

    about: str  # "file", "directory", "chunk", "job", "chunkserver", "master".
    name: str
    well: bool
    verdict: str  # One line.
    facts: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()  # By which it is as it is.
    troubles: tuple[str, ...] = ()  # Why not all is well.
    coming: tuple[str, ...] = ()  # What happens by itself, and when.
    next: tuple[Step, ...] = ()


class CodeList(Word, frozen=True):
    """-> kind CodeList: all that can be explained without a cluster."""

    items: tuple[Runbook, ...]


def eta_text(eta_ms: int) -> str:
    """Return for how long something takes still, if that can be told."""
    if eta_ms < 0:
        return "at a time that nobody can tell yet"
    return f"in about {duration_text(eta_ms)}"


@names.register
def _(report: Explanation) -> Iterator[str]:
    yield report.name


@render.register
def _(report: Explanation, wide: bool) -> RenderableType:
    head = Text(f"{report.about} ")
    head.append(printable(report.name), "bold")
    head.append(f"  {printable(report.verdict)}", "green" if report.well else "yellow")
    lines: list[Line] = [(name, value) for name, value in report.facts]
    for name, said in (("rule", report.rules), ("but", report.troubles), ("then", report.coming)):
        lines += [(name if not at else "", text) for at, text in enumerate(said)]
    return block(head, [*lines, ("next", report.next)])


@names.register
def _(report: Runbook) -> Iterator[str]:
    yield report.code


@render.register
def _(report: Runbook, wide: bool) -> RenderableType:
    head = Text()
    head.append(f"exit status {report.code}" if report.kind == "exit" else report.code, "bold")
    exits = ""
    if report.kind == "error":
        head.append("  error", "bold red")
        retry = "a later try can succeed" if report.retryable else "trying again changes nothing"
        exits = f"{report.exit_status}; {retry}"
    elif report.kind == "finding":
        head.append("  finding of gfsctl admin health", "yellow")
    return block(
        head,
        [
            ("means", report.means),
            ("rule", report.rule),
            ("cause", report.cause),
            ("exit", exits),
            ("next", report.next),
        ],
    )


@names.register
def _(report: CodeList) -> Iterator[str]:
    for book in report.items:
        yield book.code


@render.register
def _(report: CodeList, wide: bool) -> RenderableType:
    titles = {"error": "errors", "finding": "findings", "exit": "exit"}
    lines = []
    for kind, title in titles.items():
        found = [book.code for book in report.items if book.kind == kind]
        lines.append((title, "  ".join(found)))
    return block(Text("gfsctl explain CODE tells of:", "bold"), lines)

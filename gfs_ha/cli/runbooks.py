"""The runbooks: what each code of an error or finding, and each exit status, means and wants.

They are files in the package, so `gfsctl explain` needs no cluster.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files

from gfs_ha.protocol.codec import Word

ERROR, FINDING, EXIT = "error", "finding", "exit"
_FILES = {ERROR: "errors.toml", FINDING: "findings.toml", EXIT: "exits.toml"}


class Step(Word, frozen=True):
    """What to do next: a command and what it is good for."""

    command: str
    why: str


class Runbook(Word, frozen=True):
    """-> kind Runbook. What a code means, why it comes about, and what to do."""

    kind: str  # "error", "finding" or "exit".
    code: str
    means: str
    cause: str
    next: tuple[Step, ...]
    rule: str = ""  # By which it is judged; of a finding.
    exit_status: int = -1  # Of an error.
    retryable: bool = False


@lru_cache(maxsize=1)
def runbooks() -> dict[tuple[str, str], Runbook]:
    """Return all runbooks by (kind, code)."""
    from gfs_ha.errors import GfsError, error_from_wire

    found = {}
    for kind, name in _FILES.items():
        text = files("gfs_ha").joinpath("runbooks", name).read_text("utf-8")
        for code, entry in tomllib.loads(text).items():
            steps = tuple(_step(line) for line in entry["next"])
            book = Runbook(kind, code, entry["means"], entry["cause"], steps, entry.get("rule", ""))
            if kind == ERROR:
                error: GfsError = error_from_wire(code, "", {})
                facts = (error.exit_status, error.retryable)
                book = Runbook(*_shared(book), exit_status=facts[0], retryable=facts[1])
            found[kind, code] = book
    return found


def runbook(text: str) -> Runbook | None:
    """Return the runbook of a code as people type it, None when there is none of that name."""
    known = runbooks()
    wanted = text.strip().replace("-", "_")
    # First as it is written: DISK_FAILED is a finding, DiskFailed an error.
    for (_, code), book in known.items():
        if code == wanted:
            return book
    for (_, code), book in known.items():
        if code.replace("_", "").lower() == wanted.replace("_", "").lower():
            return book
    return None


def codes(kind: str) -> list[str]:
    """Return the codes of a kind, in the order of their file."""
    return [code for found, code in runbooks() if found == kind]


def steps_for(
    book: Runbook, subject: str, facts: tuple[tuple[str, str], ...] = ()
) -> tuple[Step, ...]:
    """Return the next steps about one server or master, or a disk that the facts name."""
    if not subject:
        return book.next
    names = {"NAME": subject, "DISK": dict(facts).get("disk", "DISK")}
    return tuple(Step(_about(one.command, names), one.why) for one in book.next)


def _about(command: str, names: Mapping[str, str]) -> str:
    """Return a command with what it is about, alone or with a colon: NAME:DISK."""
    words = (word.split(":") for word in command.split())
    return " ".join(":".join(names.get(part, part) for part in parts) for parts in words)


def _step(line: str) -> Step:
    command, _, why = line.partition("  # ")
    return Step(command, why)


def _shared(book: Runbook) -> tuple[str, str, str, str, tuple[Step, ...], str]:
    return book.kind, book.code, book.means, book.cause, book.next, book.rule

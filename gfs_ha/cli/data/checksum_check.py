"""Lists of checksums, compared with the files that they name."""

from __future__ import annotations

import os
import posixpath
import sys
from collections import Counter, deque
from collections.abc import Iterator
from typing import BinaryIO

from gfs_ha.cli import output
from gfs_ha.cli.data.checksum_lines import Expected, parse_line
from gfs_ha.cli.data.checksum_source import ChecksumSource, File
from gfs_ha.cli.data.copying import encodable
from gfs_ha.cli.names import printable
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text
from gfs_ha.client.local_files import local_door
from gfs_ha.errors import GfsError, NotFound, PartlyDone, Unhealthy, UsageError
from gfs_ha.protocol.codec import Word

OK = "ok"
DIFFERS = "differs"
MISSING = "missing"
FAILED = "failed"

_LINE_BYTES_MAX = 64 * 1024


class CheckedItem(Word, frozen=True):
    """One line of a list: what it says and what was found, in hex; `found` is empty without one."""

    name: str
    state: str
    expected: str
    found: str
    why: str


def check_lists(
    session: Session, source: ChecksumSource, lists: tuple[str, ...], base: str | None
) -> None:
    """Show what fits. Raises: Unhealthy when anything does not, PartlyDone, UsageError."""
    states: Counter[str] = Counter()
    lines = _Lines(lists)
    session.show_items(
        "ChecksumCheck",
        _checked(source, lines, base, states),
        lambda page: (_line(item) for item in page if not (_quiet(session, item))),
        lambda item: item.name,
        lambda: {"states": dict(sorted(states.items())), "malformed": lines.malformed},
    )
    output.flush()
    if lines.malformed and states:
        what = count_text(lines.malformed, "line is", "lines are")
        session.warn(f"{what} no checksum, two spaces and a name; left out")
    if not states:
        raise UsageError(f"{printable(' '.join(lists))}: no line with a checksum (see --help)")
    wrong = states[DIFFERS] + states[MISSING]
    told = f"{states[DIFFERS]:,} differ, {states[MISSING]:,} are missing, {states[OK]:,} fit"
    if wrong:
        raise Unhealthy(f"{count_text(wrong, 'file does', 'files do')} not fit the list: {told}")
    if states[FAILED]:
        what = count_text(states[FAILED], "file")
        raise PartlyDone(f"{what} could not be read; {states[OK]:,} fit the list")


def _quiet(session: Session, item: CheckedItem) -> bool:
    return session.options.quiet and item.state == OK


def _line(item: CheckedItem) -> str:
    words = {OK: "OK", DIFFERS: "FAILED", MISSING: "MISSING", FAILED: "FAILED"}
    why = f" ({item.why})" if item.why else ""
    return f"{printable(item.name)}: {words[item.state]}{why}"


def _checked(
    source: ChecksumSource, lines: _Lines, base: str | None, states: Counter[str]
) -> Iterator[CheckedItem]:
    waiting: deque[Expected] = deque()

    def files() -> Iterator[File]:
        for expected in lines:
            waiting.append(expected)
            yield source.file(_found_at(expected.name, base))

    for _, found in source.checksums(files()):
        expected = waiting.popleft()
        crc, why = "", ""
        if not isinstance(found, GfsError):
            crc = f"{found.crc32c:08x}"
            state = OK if found.crc32c == expected.crc32c else DIFFERS
            why = "" if state == OK else f"it is {crc}, the list says {expected.crc32c:08x}"
        else:
            state = MISSING if isinstance(found, NotFound) else FAILED
            why = found.message if state == FAILED else ""
        states[state] += 1
        yield CheckedItem(encodable(expected.name), state, f"{expected.crc32c:08x}", crc, why)


def _found_at(name: str, base: str | None) -> str:
    if base is None:
        return name
    return posixpath.join(base, name)


class _Lines:
    """What lists say, line by line. `malformed` counts the others."""

    def __init__(self, lists: tuple[str, ...]) -> None:
        self._lists = lists
        self.malformed = 0

    def __iter__(self) -> Iterator[Expected]:
        for name in self._lists:
            if name == "-":
                if sys.stdin is None:
                    raise UsageError("standard input is closed; there is no list")
                yield from self._parsed(sys.stdin.buffer)
                continue
            with local_door(name), open(name, "rb") as file:
                yield from self._parsed(file)

    def _parsed(self, file: BinaryIO) -> Iterator[Expected]:
        while raw := file.readline(_LINE_BYTES_MAX):
            text = os.fsdecode(raw).rstrip("\n")
            expected = parse_line(text)
            if expected is not None:
                yield expected
            elif text.strip() and not text.startswith("#"):
                self.malformed += 1

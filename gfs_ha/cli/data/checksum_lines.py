"""Lines of checksums as sha256sum writes them: the CRC-32C in hex, two spaces, the name."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{8}) [ *](.+)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What a list says of one name."""

    name: str
    crc32c: int


def line_of(crc: str, name: str) -> str:
    """Return a line; a name that would break it is escaped, and a backslash in front says so."""
    escaped = re.sub(r"[\\\n\r]", lambda found: _ESCAPES[found.group()], name)
    return f"{'' if escaped == name else chr(92)}{crc}  {escaped}"


def parse_line(line: str) -> Expected | None:
    """Return what a line says, or None when it is none of ours."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    escaped, crc, name = found.groups()
    if escaped:
        name = re.sub(r"\\[\\nr]", lambda one: _UNESCAPES[one.group()], name)
    return Expected(name, int(crc, 16))

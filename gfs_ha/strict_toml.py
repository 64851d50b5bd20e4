"""A TOML file read strictly: typed takes; every error names file, line and key.

A key that nobody knows is an error, because a misspelt setting that is ignored is found months
later.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from gfs_ha import limits
from gfs_ha.errors import ConfigError

CONFIG_BYTES_MAX = 1 * limits.MIB

_UNITS = {"": 1, "b": 1, "kib": limits.KIB, "mib": limits.MIB, "gib": limits.GIB, "tib": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,19})\s*([a-z]*)\s*", re.IGNORECASE)
_SHOWN_MAX = 80
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]#]+?)\s*\]")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=""")
_AT_LINE = re.compile(r"\s*\(at line (\d+), column (\d+)\)")


def read_text(path: Path) -> str:
    """Return the text of a file. Raises: ConfigError when it is missing, too large, not UTF-8."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror}") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise ConfigError(f"{path}: larger than {CONFIG_BYTES_MAX} bytes; this is no configuration")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from error


def read_root(text: str, path: Path) -> Section:
    """Return the outermost table. Raises: ConfigError with the line that is no TOML."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _AT_LINE.search(message)
        line = int(found.group(1)) if found else max(1, len(text.splitlines()))
        reason = _AT_LINE.sub("", message)
        raise ConfigError(f"{path}:{line}: broken TOML: {reason}") from error
    return Section(path, _find_lines(text), (), tree)


def parse_size(text: str) -> int:
    """Return the bytes that `64MiB`, `1 GiB` or `4096` mean. Raises: ValueError."""
    found = _SIZE.fullmatch(text)
    if found is None or found.group(2).lower() not in _UNITS:
        raise ValueError(f"{text!r} is no size; sizes look like 64MiB or 67108864")
    size = int(found.group(1)) * _UNITS[found.group(2).lower()]
    if size > limits.SIZE_MAX:
        raise ValueError(f"{text!r} is more than any size here; all are below 8 EiB")
    return size


def parse_address(text: str) -> tuple[str, int]:
    """Return (host, port) of `host:port` or `[::1]:port`. Raises: ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if (
        not colon
        or not host
        or not port.isascii()
        or not port.isdigit()
        or not 0 < int(port) < 65536
    ):
        raise ValueError(f"{text!r} is no address; addresses look like 127.0.0.1:7301")
    return host, int(port)


class Section:
    """One table of the file: typed takes, and an error for every key that nobody knows."""

    def __init__(
        self,
        file: Path,
        lines: Mapping[tuple[str, ...], int],
        where: tuple[str, ...],
        values: Mapping[str, Any],
    ) -> None:
        self._file = file
        self._lines = lines
        self._where = where
        self._values = values

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise ConfigError about a key of this table (or about the table: key empty)."""
        place = (*self._where, key) if key else self._where
        while place and place not in self._lines:
            place = place[:-1]
        line = self._lines.get(place, 1)
        raise ConfigError(f"{self._file}:{line}: {self._named(key)}: {problem}")

    def only(self, *known: str) -> Section:
        """Return this table, with no other keys than these. Raises: ConfigError at the first."""
        for key in self._values:
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                self.fail(key, f"unknown key; {hint}")
        return self

    def has(self, key: str) -> bool:
        return key in self._values

    def names(self) -> list[str]:
        """Return the keys of this table, in the file's order."""
        return list(self._values)

    def raw(self, key: str) -> Any:
        return self._values.get(key)

    def table(self, key: str, required: bool = False) -> Section:
        """Return the table of that name; a missing one is empty, or an error if required."""
        value = self.raw(key)
        if value is None:
            if required:
                self.fail(key, "is missing")
            value = {}
        if not isinstance(value, dict):
            self.fail(key, f"must be a table, [{key}]")
        return Section(self._file, self._lines, (*self._where, key), value)

    def tables(self, key: str) -> list[Section]:
        value = self.raw(key)
        where = (*self._where, key)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.fail(key, f"must be given as [[{'.'.join(where)}]]")
        return [
            Section(self._file, self._lines, (*where, str(index)), one)
            for index, one in enumerate(value)
        ]

    def text(self, key: str, default: str | None = None) -> str:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.fail(key, "is missing")
        if not isinstance(value, str) or not value or not value.isprintable():
            self.fail(key, "must be a text that is not empty, in quotes")
        return value

    def name(self, key: str, default: str | None = None) -> str:
        """Return a name of a process, rack, machine or cluster: letters, digits, `.`, `_`, `-`."""
        value = self.text(key, default)
        if value == default:
            return value
        try:
            check_name(value)
        except ValueError as error:
            self.fail(key, str(error))
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self.raw(key)
        if value is None and default is not None:
            return default
        if value is None:
            self.fail(key, "is missing")
        if not isinstance(value, int) or isinstance(value, bool):
            self.fail(key, f"must be a whole number, not {value!r}")
        if not low <= value <= high:
            self.fail(key, f"{value} is not between {low} and {high}")
        return value

    def number(self, key: str, low: float, high: float, default: float) -> float:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.fail(key, f"must be a number, not {value!r}")
        if not low <= value <= high:
            self.fail(key, f"{value} is not between {low} and {high}")
        return float(value)

    def size(self, key: str, default: int) -> int:
        value = self.raw(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, str):
            self.fail(key, f'must be a size such as "64MiB", not {value!r}')
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(key, str(error))

    def boolean(self, key: str, default: bool) -> bool:
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, f"must be true or false, not {value!r}")
        return value

    def directory(self, key: str, file: Path) -> Path:
        return file.absolute().parent / Path(self.text(key)).expanduser()

    def _named(self, key: str) -> str:
        parts: list[str] = []
        for part in (*self._where, *((key,) if key else ())):
            if part.isdigit() and parts:
                parts[-1] += f"[{part}]"
            else:
                parts.append(part)
        return ".".join(parts)


def _find_lines(text: str) -> dict[tuple[str, ...], int]:
    """Return where each key stands. Array elements are named by their number, from 0."""
    lines: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = _split_key(header.group(2))
            if header.group(1) == "[[":
                element = counts.get(table, -1) + 1
                counts[table] = element
                table = (*table, str(element))
            lines.setdefault(table, number)
            continue
        key = _KEY.match(line)
        if key:
            parts = _split_key(key.group(1))
            for depth in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:depth]), number)
    return lines


def _split_key(dotted: str) -> tuple[str, ...]:
    if dotted[:1] in "\"'":
        return (dotted[1:-1],)
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


def check_name(text: str) -> None:
    """Raise ValueError for what is no name of a process, rack, machine or cluster."""
    if len(text) > limits.SERVER_NAME_BYTES_MAX or not _NAME.fullmatch(text):
        shown = repr(text[:_SHOWN_MAX]) + ("…" if len(text) > _SHOWN_MAX else "")
        raise ValueError(
            f"{shown} is no name; names have 1 to {limits.SERVER_NAME_BYTES_MAX} letters, "
            "digits, '.', '_', '-' and begin with a letter or digit"
        )

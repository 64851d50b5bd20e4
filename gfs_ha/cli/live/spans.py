"""Styled text of a screen (pure): pieces of a line, cut and filled to a width in cells.

A style is a word for what is meant; the palette decides what a terminal shows for it. Only the
sixteen colours of the terminal's own theme are used, so that dark and light ones both please.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gfs_ha.cli.names import printable

Span = tuple[str, str]  # Text, style.
Line = tuple[Span, ...]

PLAIN, STRONG, FAINT, TITLE = "", "strong", "faint", "title"
GOOD, WARN, BAD, ACCENT, CHOSEN = "good", "warn", "bad", "accent", "chosen"

_ATTRIBUTES = {
    STRONG: "1",
    FAINT: "2",
    TITLE: "4",
    GOOD: "32",
    WARN: "33",
    BAD: "1;31",
    ACCENT: "36",
    CHOSEN: "7",
}
_COLORLESS = {
    STRONG: "1",
    FAINT: "2",
    TITLE: "4",
    WARN: "1",
    BAD: "1",
    CHOSEN: "7",
}
RICH = {
    STRONG: "bold",
    FAINT: "dim",
    TITLE: "underline",
    GOOD: "green",
    WARN: "yellow",
    BAD: "bold red",
    ACCENT: "cyan",
    CHOSEN: "reverse",
}
_ASCII = str.maketrans(
    {"…": "~", "·": "-", "▲": "^", "▼": "v", "│": "|", "±": "~", "●": "*"}
    | dict(zip("▁▂▃▄▅▆▇━─", "_..-=*#=-", strict=True))
)


def cells(text: str) -> int:
    """Return how many columns a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """Return a text that takes at most so many columns; one that was longer ends with `…`."""
    if cells(text) <= width:
        return text
    if width <= 0:
        return ""
    kept, used = [], 0
    for letter in text:
        wide = cells(letter)
        if used + wide > width - 1:
            break
        kept.append(letter)
        used += wide
    return "".join(kept) + "…"


def cut_path(path: str, width: int) -> str:
    """Return a path that takes at most so many columns; what is cut is at its beginning."""
    if cells(path) <= width:
        return path
    kept = path
    while kept and cells(kept) > max(0, width - 1):
        kept = kept[1:]
    return f"…{kept}" if width > 0 else ""


def cut_middle(text: str, width: int) -> str:
    """Return a text that takes at most so many columns; what is cut is in its middle.

    Names of machines differ at their ends: `storage-eu-1a…r17-0042`.
    """
    if cells(text) <= width:
        return text
    first = cut(text, max(1, (width + 1) // 2))
    return first[:-1] + cut_path(text, width - cells(first[:-1])) if width > 2 else cut(text, width)


def fit(text: str, width: int, right: bool = False) -> str:
    """Return a text that takes exactly so many columns."""
    text = cut(text, width)
    space = " " * (width - cells(text))
    return space + text if right else text + space


def line(*pieces: str | Span) -> Line:
    """Return a line of pieces; a plain text has no style."""
    return tuple((one, PLAIN) if isinstance(one, str) else one for one in pieces if one)


def length(spans: Iterable[Span]) -> int:
    """Return how many columns a line takes."""
    return sum(cells(text) for text, _ in spans)


def clip(spans: Sequence[Span], width: int) -> Line:
    """Return a line that takes at most so many columns."""
    if length(spans) <= width:
        return tuple(spans)
    kept: list[Span] = []
    left = width
    for text, style in spans:
        wide = cells(text)
        if wide >= left:
            # One that fits exactly is followed by others: it says so, too.
            kept.append((cut(text + "…", left), style))
            break
        kept.append((text, style))
        left -= wide
    return tuple(kept)


def spread(left: Sequence[Span], right: Sequence[Span], width: int) -> Line:
    """Return a line with one part at its left end, and one at its right end if there is room."""
    space = width - length(left) - length(right)
    if space < 2:
        return clip(left, width)
    return (*left, (" " * space, PLAIN), *right)


def all_styled(spans: Sequence[Span], style: str) -> Line:
    """Return the line in one style."""
    return ((plain(spans), style),) if spans else ()


def plain(spans: Iterable[Span]) -> str:
    """Return the text of a line."""
    return "".join(text for text, _ in spans)


class Palette:
    """What a terminal is sent for a line."""

    def __init__(self, color: bool = True, unicode: bool = True) -> None:
        self._codes = _ATTRIBUTES if color else _COLORLESS
        self._unicode = unicode

    def text(self, spans: Iterable[Span]) -> str:
        """Return a line with its escape sequences; it ends without any style."""
        told = []
        for text, style in spans:
            shown = printable(text)
            if not self._unicode:
                shown = shown.translate(_ASCII)
            code = self._codes.get(style)
            told.append(f"\x1b[{code}m{shown}\x1b[0m" if code and text else shown)
        return "".join(told)

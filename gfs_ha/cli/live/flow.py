"""Labelled lines of a summary (pure): pieces that flow, each whole where a line has room for it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from gfs_ha.cli.live.spans import PLAIN, STRONG, Line, Span, cells, clip, cut, fit, length

LABEL = 10
_GAP = 3


def flow(label: str, pieces: Iterable[Sequence[Span]], width: int) -> list[Line]:
    """Return lines with a label at their left; a piece that does not fit begins the next one.

    One that is longer than a line goes on in the next.
    """
    room = max(10, width - LABEL)
    rows: list[list[Span]] = [[]]
    used = 0
    for piece in pieces:
        if not piece:
            continue
        wide = length(piece)
        if used and used + _GAP + wide > room:
            rows.append([])
            used = 0
        if used:
            rows[-1].append((" " * _GAP, PLAIN))
            used += _GAP
        first, *others = _broken(piece, room) if wide > room else [piece]
        rows[-1] += first
        rows += [list(other) for other in others]
        used = used + wide if not others else length(others[-1])
    return labelled(label, rows)


def _broken(piece: Sequence[Span], room: int) -> list[Sequence[Span]]:
    """Return a piece that is too long in lines, broken between words: nothing of it is lost."""
    rows: list[list[Span]] = [[]]
    for text, style in piece:
        for word in re.findall(r" *[^ ]+| +", text):
            if rows[-1] and length(rows[-1]) + cells(word) > room:
                rows.append([])
            told = word if rows[-1] else word.lstrip(" ")
            rows[-1] += clip([(told, style)], room) if told else ()
    return list(rows)


def labelled(label: str, rows: Iterable[Sequence[Span]]) -> list[Line]:
    """Return lines of which the first has a label, the others room for it."""
    lines: list[Line] = []
    for row in rows:
        head = (fit(label, LABEL), STRONG) if not lines else (" " * LABEL, PLAIN)
        lines.append((head, *row))
    return lines


def wrap(text: str, width: int) -> list[str]:
    """Return a text in lines of at most so many columns, broken between words."""
    lines: list[str] = []
    now = ""
    for word in text.split(" "):
        longer = f"{now} {word}" if now else word
        if cells(longer) <= width:
            now = longer
            continue
        if now:
            lines.append(now)
        while cells(word) > width:
            part = cut(word, width)
            if part.endswith("…"):
                part = part[:-1]
            lines.append(part)
            word = word[len(part) :]
        now = word
    return [*lines, now] if now or not lines else lines

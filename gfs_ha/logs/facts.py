"""What one log line says: its constant words, its facts by name, and whose trace it belongs to."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from math import isfinite

from gfs_ha.ids import NO_TRACE, TraceId
from gfs_ha.logs.trace import current_trace

LINE_CHARACTERS_MAX = 4000

# A number beyond this is not the same any more after most readers of JSON.
_EXACT_MAX = 1 << 53
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
_ANY_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLACE = re.compile(r"(?:(\w+)=)?(%[-#0 +]*\d*(?:\.\d+)?([diouxXeEfFgGcrsa%]))")

Fact = str | int | float


def line_text(record: logging.LogRecord) -> str:
    """Return the message with its facts, in one line and bounded.

    What came from outside cannot begin a line of its own. It is made once for all handlers.
    """
    made: str | None = record.__dict__.get("line_text")
    if made is None:
        made = record.__dict__["line_text"] = _bounded(record.getMessage())
    return made


def trace_of(record: logging.LogRecord) -> TraceId:
    """Return the trace id that the record was given, or that of the present thread."""
    return getattr(record, "trace_id", NO_TRACE) or current_trace()


def words_and_facts(record: logging.LogRecord) -> tuple[str, dict[str, Fact]]:
    """Return the constant words of a message, and what stands in it as key=value, by key.

    Where the places in the message are not of that kind the words are the whole message.
    """
    args = record.args
    if not isinstance(args, tuple) or not isinstance(record.msg, str):
        return line_text(record), {}
    pieces, places = _taken_apart(record.msg)
    if places != len(args):
        return line_text(record), {}
    given = iter(args)
    words: list[str] = []
    facts: dict[str, Fact] = {}
    for text, key, form in pieces:
        words.append(text)
        if form == "%%":
            words.append("%")
        elif form and key and key not in facts:
            facts[key] = _fact(form, next(given))
        elif form:
            words.append((f"{key}=" if key else "") + form % (next(given),))
    return _bounded(" ".join("".join(words).split())), facts


@lru_cache(maxsize=512)
def _taken_apart(message: str) -> tuple[list[tuple[str, str, str]], int]:
    """Return (text before it, key, form) of each place in a message, and how many take a value."""
    pieces: list[tuple[str, str, str]] = []
    at = places = 0
    for match in _PLACE.finditer(message):
        key, form, kind = match.group(1) or "", match.group(2), match.group(3)
        places += kind != "%"
        pieces.append((message[at : match.start()], key, "%%" if kind == "%" else form))
        at = match.end()
    pieces.append((message[at:], "", ""))
    return pieces, places


def _fact(form: str, value: object) -> Fact:
    text = form % (value,)
    if isinstance(value, int | float) and not isinstance(value, bool):
        if form[-1] in "di" and abs(value) <= _EXACT_MAX:
            return int(value)
        if form[-1] in "fFgGeE" and isfinite(value):  # JSON has no word for the others.
            return float(text)
    return _bounded(text)


def lines_below(text: str) -> str:
    """Return a traceback as it stands below its line: no line of it can be taken for another one.

    What came from outside may stand in it, with line ends.
    """
    return "\n".join(f"    {one.translate(_CONTROL)}" for one in text.split("\n"))


def _bounded(text: str) -> str:
    if _ANY_CONTROL.search(text):  # Most have none: a look is cheap, a translation is not.
        text = text.translate(_CONTROL)
    if len(text) > LINE_CHARACTERS_MAX:
        return f"{text[:LINE_CHARACTERS_MAX]}… ({len(text)} characters)"
    return text

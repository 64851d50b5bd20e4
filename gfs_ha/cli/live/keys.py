"""Bytes of a keyboard as keys (pure): names for those that move, letters for the others.

A terminal sends one key as several bytes, and several keys at once; ESC alone is told from the
beginning of a longer key only by the silence after it, which the caller notices.
"""

from __future__ import annotations

UP, DOWN, LEFT, RIGHT = "up", "down", "left", "right"
PAGE_UP, PAGE_DOWN, HOME, END = "page-up", "page-down", "home", "end"
ENTER, ESCAPE, TAB, BACK_TAB, BACKSPACE, DELETE = (
    "enter",
    "escape",
    "tab",
    "back-tab",
    "backspace",
    "delete",
)
CLEAR, REDRAW = "clear", "redraw"  # Ctrl-U, Ctrl-L.

_ESC = 0x1B
_PENDING_MAX = 64  # No key is longer; what is comes from something else than a keyboard.
_FINAL = {
    "A": UP,
    "B": DOWN,
    "C": RIGHT,
    "D": LEFT,
    "H": HOME,
    "F": END,
    "Z": BACK_TAB,
    "M": ENTER,
}
_TILDE = {"1": HOME, "3": DELETE, "4": END, "5": PAGE_UP, "6": PAGE_DOWN, "7": HOME, "8": END}
_CONTROL = {
    0x09: TAB,
    0x0A: ENTER,
    0x0D: ENTER,
    0x08: BACKSPACE,
    0x7F: BACKSPACE,
    0x15: CLEAR,
    0x0C: REDRAW,
    0x0E: DOWN,
    0x10: UP,
    0x06: PAGE_DOWN,
    0x02: PAGE_UP,
}


class KeyReader:
    """Takes bytes as they come, gives keys as soon as they are whole."""

    def __init__(self) -> None:
        self._pending = b""

    @property
    def waiting(self) -> bool:
        """Return whether a key has begun that may be whole already: see `settle`."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that are whole now."""
        self._pending += data
        keys: list[str] = []
        while self._pending:
            length, key = _first(self._pending)
            if not length:
                if len(self._pending) > _PENDING_MAX:
                    self._pending = b""
                break
            self._pending = self._pending[length:]
            if key:
                keys.append(key)
        return keys

    def settle(self) -> list[str]:
        """Return the keys that are meant when nothing follows for a moment: ESC alone."""
        pending, self._pending = self._pending, b""
        return [ESCAPE] if pending[:1] == b"\x1b" else []


def _first(data: bytes) -> tuple[int, str]:
    """Return how many bytes the first key has and its name; 0: it is not whole; "": it is none."""
    first = data[0]
    if first == _ESC:
        return _escaped(data)
    if first < 0x20 or first == 0x7F:
        return 1, _CONTROL.get(first, "")
    length = 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if len(data) < length:
        return 0, ""
    try:
        return length, data[:length].decode()
    except UnicodeDecodeError:
        return 1, ""


def _escaped(data: bytes) -> tuple[int, str]:
    if len(data) == 1:
        return 0, ""
    kind = data[1:2]
    if kind == b"O":
        return (3, _FINAL.get(chr(data[2]), "")) if len(data) > 2 else (0, "")
    if kind != b"[":
        # ESC and then a key of its own, typed fast (or with Alt).
        return 1, ESCAPE
    for at in range(2, len(data)):
        if 0x40 <= data[at] <= 0x7E:
            return at + 1, _sequence(data[2:at].decode("ascii", "replace"), chr(data[at]))
        if data[at] < 0x20:
            return at, ""
    return 0, ""


def _sequence(numbers: str, final: str) -> str:
    if final == "~":
        return _TILDE.get(numbers.partition(";")[0], "")
    return _FINAL.get(final, "")

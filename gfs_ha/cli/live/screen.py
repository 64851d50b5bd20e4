"""The terminal while a live screen is on it: its modes, its size, and only the lines that changed.

The only place here that touches the terminal. Whatever ends the program gives the terminal back as
it was; a screen is drawn over the one before, and never wiped in between.
"""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any

from gfs_ha.cli.live.spans import Line, Palette, length
from gfs_ha.cli.output import ClosedPipe
from gfs_ha.errors import UsageError

# Another screen than that of the shell, no cursor, no line that wraps.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l"
_USUAL = (80, 24)


class Screen:
    """Use it with `with`, in the main thread: it also hears of Ctrl-Z and of the return from it."""

    def __init__(self, palette: Palette) -> None:
        self._palette = palette
        self._input = sys.stdin.fileno()
        self._output = sys.stdout.fileno()
        self._saved: list[Any] | None = None
        self._shown: list[str] = []
        self._size = (0, 0)
        self._stop_asked = self._resumed = False
        self._handlers: dict[int, object] = {}
        self.written = 0  # Bytes so far.

    def __enter__(self) -> Screen:
        sys.stdout.flush()
        # Told before the terminal is changed: what comes between is undone by __exit__, too.
        for number, handler in ((signal.SIGTSTP, self._on_stop), (signal.SIGCONT, self._on_return)):
            self._handlers[number] = signal.signal(number, handler)
        try:
            self._take()
        except BaseException:
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give_back()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def size(self) -> tuple[int, int]:
        """Return columns and rows as they are now."""
        try:
            found = os.get_terminal_size(self._output)
        except OSError:
            return _USUAL
        return (found.columns or _USUAL[0], found.lines or _USUAL[1])

    def read(self) -> bytes:
        """Return what was typed; it waits for that. Empty: the terminal is gone."""
        return os.read(self._input, 1024)

    def read_all(self, tell: Callable[[bytes], object]) -> None:
        """Tell what is typed, piece by piece; an empty one is the last."""
        data = b"more"
        while data:
            try:
                data = self.read()
            except OSError:
                data = b""
            tell(data)

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines from the top; only those that changed are written.

        Raises: ClosedPipe when the terminal is gone.
        """
        self.show([(self._palette.text(one), length(one)) for one in lines])

    def show(self, lines: Sequence[tuple[str, int]]) -> None:
        """The same, of lines as they are written, each with the columns that it takes."""
        size = self.size
        if size != self._size:
            self._size, self._shown = size, []
        columns, rows = size
        told = [text for text, _ in lines[:rows]]
        told += [""] * (rows - len(told))
        before: Sequence[str | None] = self._shown or [None] * rows
        pieces = []
        for at, (new, old) in enumerate(zip(told, before, strict=True)):
            if new != old:
                # First the text, then what is left of the old one: nothing flickers. A line that
                # fills the screen has nothing left of it, and the cursor would stand on its end.
                full = at < len(lines) and lines[at][1] >= columns
                pieces.append(f"\x1b[{at + 1};1H{new}{'' if full else _REST}")
        self._shown = told
        if pieces:
            self._write("".join(pieces))

    def forget(self) -> None:
        """Draw every line anew with the next frame: something else may have written there."""
        self._shown = []

    def rest(self) -> bool:
        """Suspend if that was asked for; return whether the screen is to be drawn anew."""
        if self._stop_asked:
            self._stop_asked = False
            self._give_back()
            before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTSTP)
            # Here it stands still until somebody says go on.
            signal.signal(signal.SIGTSTP, before)
            self._resumed = True
        if self._resumed:
            self._resumed = False
            self._take()
            return True
        return False

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        self._stop_asked = True

    def _on_return(self, number: int, frame: FrameType | None) -> None:
        self._resumed = True

    def _take(self) -> None:
        if self._saved is None:
            self._saved = termios.tcgetattr(self._input)
        quiet = list(termios.tcgetattr(self._input))
        # Keys one by one and unseen; Ctrl-C and Ctrl-Z stay what they are.
        quiet[3] &= ~(termios.ICANON | termios.ECHO)
        quiet[6] = list(quiet[6])
        quiet[6][termios.VMIN], quiet[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._input, termios.TCSADRAIN, quiet)
        self._write(_ENTER)
        self._shown = []

    def _give_back(self) -> None:
        try:
            self._write(_LEAVE)
        except ClosedPipe:
            pass  # It is gone, and nothing has to be given back.
        saved, self._saved = self._saved, None
        if saved is not None:
            try:
                termios.tcsetattr(self._input, termios.TCSADRAIN, saved)
            except termios.error:
                return

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self.written += len(data)
        try:
            while data:
                data = data[os.write(self._output, data) :]
        except OSError as error:
            raise ClosedPipe from error


_REST = "\x1b[K"


def can_draw() -> bool:
    """Return whether a screen can be drawn and keys can be read here."""
    return not _hindrance(os.environ.get("TERM", ""))


def check_terminal(instead: str) -> None:
    """Raises: UsageError, with what to use instead, where no screen can be drawn or key read."""
    hindrance = _hindrance(os.environ.get("TERM", ""))
    if hindrance:
        raise UsageError(f"{hindrance}; {instead}")


def _hindrance(term: str) -> str:
    for stream, name in ((sys.stdin, "standard input"), (sys.stdout, "standard output")):
        if stream is None or not stream.isatty():
            return f"{name} is no terminal"
    if term in ("dumb", "unknown"):
        return f"TERM={term} cannot show a screen"
    return "" if term else "TERM is not set: nobody knows what the terminal can show"

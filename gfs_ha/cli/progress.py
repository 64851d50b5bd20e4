"""The progress of a copy on standard error: bytes, rate, ETA; only where a person looks."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from gfs_ha.cli import output
from gfs_ha.cli.session import Session
from gfs_ha.cli.units import count_text, duration_text, size_text
from gfs_ha.runtime import ThreadedRuntime

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import Task


class Bar:
    """A client.transfers.Progress that a person sees. A bar that ended says what happened.

    Its methods are called by several threads. Args: `verb` is the word for what was done, `rest`
    what becomes of the rest when it is broken off.
    """

    def __init__(self, session: Session, verb: str, shown: bool = True, rest: str = "") -> None:
        self._verb = verb
        self._rest = f"; {rest}" if rest else ""
        self._shown = shown and output.stderr_is_terminal() and not session.options.quiet
        self._color = session.options.color
        self._runtime = ThreadedRuntime()
        self._lock = self._runtime.lock()
        self._started_s = self._runtime.monotonic_s()
        self._files_expected = self._files_finished = 0
        self._bytes_expected = self._bytes_moved = 0
        self._display: RichProgress | None = None

    def __enter__(self) -> Bar:
        self._started_s = self._runtime.monotonic_s()
        if self._shown:
            self._display = _display(self._color)
            self._display.add_task(self._verb, total=None, files="")
            self._display.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._display is None:
            return
        self._display.stop()
        if error is None and not self._files_finished and not self._bytes_moved:
            return  # Nothing was to be copied; who asked for it says so.
        took_s = max(self._runtime.monotonic_s() - self._started_s, 0.001)
        files = count_text(self._files_finished, "file")
        moved = size_text(self._bytes_moved)
        rate = size_text(self._bytes_moved / took_s)
        ended, rest = ("", "") if error is None else ("broken off: ", self._rest)
        took = duration_text(took_s * 1000)
        output.say(f"{ended}{self._verb} {files}, {moved} in {took} ({rate}/s){rest}")

    def expect(self, files: int, size: int) -> None:
        with self._lock:
            self._files_expected += files
            self._bytes_expected += size
        self._update()

    def moved(self, size: int) -> None:
        with self._lock:
            self._bytes_moved += size
        self._update()

    def finished(self, path: str) -> None:
        with self._lock:
            self._files_finished += 1
        self._update()

    def _update(self) -> None:
        if self._display is None:
            return
        files = ""
        if self._files_expected > 1:
            files = f"{self._files_finished:,}/{self._files_expected:,} files"
        self._display.update(
            self._display.task_ids[0],
            completed=self._bytes_moved,
            total=self._bytes_expected or None,
            files=files,
        )


class Announced:
    """A client.transfers.Progress of one file of which the bar knows already."""

    def __init__(self, bar: Bar) -> None:
        self.moved = bar.moved
        self.finished = bar.finished

    def expect(self, files: int, size: int) -> None:
        pass


def _display(color: bool) -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.table import Column
    from rich.text import Text

    def line() -> Column:
        return Column(no_wrap=True)

    class Bytes(ProgressColumn):
        def render(self, task: Task) -> Text:
            moved = size_text(task.completed)
            return Text(moved if task.total is None else f"{moved} of {size_text(task.total)}")

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.speed
            text = f"{size_text(speed)}/s" if speed else ""
            if speed and task.time_remaining is not None:
                text += f"  ETA {duration_text(task.time_remaining * 1000)}"
            return Text(text)

    console = Console(stderr=True, no_color=not color, markup=False, emoji=False, highlight=False)
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=line()),
        # The bar gives way: in a narrow terminal the words still stand on one line.
        BarColumn(bar_width=None, table_column=Column(ratio=1, max_width=30)),
        Bytes(line()),
        Rate(line()),
        TextColumn("{task.fields[files]}", markup=False, table_column=line()),
        console=console,
        transient=True,
        expand=True,
        refresh_per_second=8,
    )

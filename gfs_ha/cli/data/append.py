"""`gfsctl append`."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.appended_before import AppendedBefore
from gfs_ha.cli.data.records_in import Lines, standard_input, too_long_whole, whole
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import NAME
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.append_records import Appended
from gfs_ha.client.appender import SETTLED_WAIT_S, Appender
from gfs_ha.errors import (
    GfsError,
    LimitExceeded,
    PreconditionFailed,
    UnknownOutcome,
    UsageError,
)
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.metadata import DISK, MEMORY
from gfs_ha.runtime import Future, ThreadedRuntime

_LOOK_S = 0.02  # How soon an acknowledgement is told while the input pauses.
_IDLE_S = 1.0
_PATIENCE_S = 5.0  # After Ctrl-C, for what is on its way.


class AppendItem(Word, frozen=True):
    """One record, as JSON shows it; the offset of one of an earlier run may be unknown (null)."""

    path: str
    sequence: int
    offset: int | None
    length: int
    appended_before: bool


@click.command(
    cls=Verb,
    examples="""
    gfsctl append /log "job 7 started"               # one line; prints where it lies
    date | gfsctl append /log                        # what a pipe brings, as one record
    tail -f app.log | gfsctl append --stdin-lines /log  # each line a record, as it comes
    gfsctl append --stdin-lines --id job-7 /log < f  # run it again: only what is missing
    gfsctl append -n /raw "$(cat key)"               # without a newline behind it
    """,
)
@click.argument("path", metavar="PATH")
@click.argument("texts", metavar="[TEXT|-]...", nargs=-1)
@click.option("--stdin-lines", is_flag=True, help="Each line of standard input is a record.")
@click.option(
    "--id",
    "key",
    metavar="KEY",
    envvar="GFS_APPEND_ID",
    help="Name this input: the same command with the same input appends only what is missing.",
)
@click.option("-n", "--no-newline", is_flag=True, help="Put no newline behind a TEXT.")
@click.option(
    "--durability",
    type=click.Choice([DISK, MEMORY]),
    envvar="GFS_DURABILITY",
    help="When a record counts as appended: on every server's disk, or in its memory; else as"
    " `gfsctl policy` says of the directory, else disk.",
)
@pass_session
def append(
    session: Session,
    path: str,
    texts: tuple[str, ...],
    stdin_lines: bool,
    key: str | None,
    no_newline: bool,
    durability: str | None,
) -> None:
    """Append records to a file: each whole, exactly once, in one order for all readers.

    Any number of clients may append to one file at the same time. A missing file is made. Each TEXT
    is a record, with a newline behind it; `-`, or no TEXT, is standard input as one record. A
    record has at most 8 MiB (a quarter of a smaller chunk).
    """
    if stdin_lines and texts:
        raise UsageError("--stdin-lines takes its records from standard input, not from TEXT")
    if texts.count("-") > 1:
        raise UsageError("standard input can be only one of the records")
    if key == "":
        raise UsageError("--id: an empty id names nothing")
    target = session.file_path(path)
    appender = session.cluster.appender(target, durability=durability or "", key=key or "")
    run = _Run(session, target, appender, key)
    if stdin_lines:
        run.show(_line_batches(appender), listed=False)
    else:
        ending = b"" if no_newline else b"\n"
        run.show(iter([_records(texts or ("-",), ending)]), listed=True)


def _records(texts: tuple[str, ...], ending: bytes) -> list[bytes]:
    return [
        whole(standard_input()) if text == "-" else os.fsencode(text) + ending for text in texts
    ]


def _line_batches(appender: Appender) -> Iterator[list[bytes]]:
    """Yield lines as they come; an empty list when none came for a moment."""
    lines = Lines(standard_input(), ThreadedRuntime())
    while True:
        batch = lines.take(_IDLE_S if appender.idle else _LOOK_S)
        if batch is None:
            return
        yield batch


class _Run:
    """One run of the command: records go out, and what became of each comes back in order."""

    def __init__(self, session: Session, path: str, appender: Appender, key: str | None) -> None:
        self._session = session
        self._path = path
        self._appender = appender
        self._key = key
        self._pending: deque[tuple[Future[Appended], bytes]] = deque()
        self._before = AppendedBefore(session, path)
        self._done_count = 0
        self._before_count = 0
        self._bytes = 0

    def show(self, batches: Iterator[list[bytes]], listed: bool) -> None:
        """Append everything and tell it. Args: `listed` shows people each record, else the sum."""
        options = self._session.options
        items = self._append(batches, single=listed)
        if options.machine_readable:
            self._session.show_items(
                *("AppendList", items, _no_lines, lambda item: item.path),
                lambda: {"count": self._done_count, "appended_before_count": self._before_count},
            )
        else:
            for item in items:
                if listed and options.output != NAME and not options.quiet:
                    output.write_lines([_line(item)])
            if options.output == NAME:
                output.write_lines([self._path])
            elif not listed and not options.quiet:
                self._say_sum()
        if self._before_count and not options.quiet:
            of = count_text(self._done_count, "record")
            output.say(
                f"{printable(self._path)}: {count_text(self._before_count)} of {of} appended before"
            )

    def _append(self, batches: Iterator[list[bytes]], single: bool) -> Iterator[AppendItem]:
        try:
            for batch in batches:
                self._send(batch, single)
                while self._pending and self._pending[0][0].done():
                    yield self._settle()
                output.flush()
            while self._pending:
                yield self._settle()
            self._appender.close()
            self._before.check()
        except GfsError as error:
            raise self._told(error) from error
        except KeyboardInterrupt:
            self._finish_soon()
            raise
        finally:
            self._appender.abandon()

    def _send(self, batch: list[bytes], single: bool) -> None:
        """Hand records over; those before one that is too long are appended."""
        try:
            self._pending += zip(self._appender.append_all(batch), batch, strict=True)
        except LimitExceeded as error:
            if single:
                raise too_long_whole(self._appender.record_bytes_max) from error
            limit = self._appender.record_bytes_max
            at = next(n for n, record in enumerate(batch) if len(record) > limit)
            first = self._appender.next_sequence
            self._pending += zip(self._appender.append_all(batch[:at]), batch[:at], strict=True)
            raise LimitExceeded(
                f"line {first + at} has {len(batch[at])} bytes; a record has at most {limit} here"
            ) from error

    def _settle(self) -> AppendItem:
        """Return the oldest record once it is settled. Raises: what became of it instead."""
        future, data = self._pending[0]
        done = future.result(SETTLED_WAIT_S)
        self._pending.popleft()
        if self._key:
            self._before.note(done, data)
        self._done_count += 1
        self._before_count += done.before
        self._bytes += done.length
        offset = None if done.offset < 0 else done.offset
        return AppendItem(self._path, done.sequence, offset, done.length, done.before)

    def _told(self, error: GfsError) -> GfsError:
        """Return the error with what is appended, what is not, and what is not known."""
        done, unknown = self._done_count, 0
        for future, _ in self._pending:
            try:
                future.result(_PATIENCE_S)
                done += 1
            except UnknownOutcome:
                unknown += 1
            except GfsError:
                pass
        if not done and not unknown and not self._key:
            return error
        what = f"{count_text(done, 'record is', 'records are')} appended"
        if unknown:
            what += f", {count_text(unknown)} may or may not be"
        again = (
            "run the same command again for the rest"
            if self._key
            else "a run with --id can be repeated without doubling"
        )
        if isinstance(error, PreconditionFailed):  # Another run of it would end the same way.
            return type(error)(f"{error.message}; {self._path}: {what}", **error.details)
        cause = error.message
        return type(error)(f"{cause}; {self._path}: {what}; {again}", **error.details)

    def _finish_soon(self) -> None:
        """After a signal: let arrive what is on its way, and say how far it came."""
        try:
            self._appender.close(_PATIENCE_S)
        except GfsError as error:
            output.say(error.message)
        done = self._done_count + sum(_fine(future) for future, _ in self._pending)
        output.say(
            f"{printable(self._path)}: {count_text(done, 'record is', 'records are')} appended"
        )

    def _say_sum(self) -> None:
        records = count_text(self._done_count, "record")
        output.write_lines([f"{printable(self._path)}: {records}, {size_text(self._bytes)}"])


def _fine(future: Future[Appended]) -> bool:
    try:
        future.result(0.0)
    except GfsError:
        return False
    return True


def _line(item: AppendItem) -> str:
    where = "of an earlier run" if item.offset is None else f"at {item.offset}"
    return f"{printable(item.path)}: {count_text(item.length, 'byte')} {where}"


def _no_lines(items: list[AppendItem]) -> Iterator[str]:
    return iter(())

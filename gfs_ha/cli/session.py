"""One command's session: finds the configuration, connects late, shows reports, cleans up."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from gfs_ha.cli import output
from gfs_ha.cli.addressed import Addressed
from gfs_ha.cli.ages import age_facts, degraded_text
from gfs_ha.cli.failure import conclude, note_trace
from gfs_ha.cli.names import without_slash
from gfs_ha.cli.options import JSON, JSONL, NAME, WIDE, NumberRange, Options
from gfs_ha.cli.verb import WATCH_S
from gfs_ha.errors import GfsError, IsADirectory, UsageError

if TYPE_CHECKING:
    from gfs_ha.client.filesystem import Cluster
    from gfs_ha.client.operations import Operations
    from gfs_ha.config import Config

P = ParamSpec("P")
R = TypeVar("R")

_PAGE = 1000


def _named(config: Config) -> Config:
    """Return the configuration with a name for all short commands of one person, if it has none."""
    from dataclasses import replace

    from gfs_ha.client.account import own_name

    name = config.client.name or own_name(config.client.machine, process=False)
    return replace(config, client=replace(config.client, name=name))


class Session:
    """What a verb works with. `cluster` and `operations` connect at their first use."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.watching = False
        self._addressed = Addressed(options, os.environ)
        self._cluster: Cluster | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cluster is not None:
            if isinstance(error, GfsError) and self._cluster.trace:
                note_trace(error, self._cluster.trace)
            self._warn_of_age()
            self._cluster.close()
            self._bear_trace("")

    @property
    def config(self) -> Config:
        """Return the configuration of the cluster that is meant. Raises: ConfigError, NotFound."""
        return self._addressed.config

    @property
    def cluster(self) -> Cluster:
        """Return the connected library."""
        return self._connect()

    def _connect(self) -> Cluster:
        if self._cluster is None:
            from gfs_ha import connect
            from gfs_ha.cli.interrupt import guard
            from gfs_ha.runtime import ThreadedRuntime

            guard(ThreadedRuntime())
            self._listen_to_library()
            self._cluster = connect(
                _named(self.config),
                timeout_s=self.options.timeout_s,
                consistency=self.options.consistency or "linearizable",
            )
            self._bear_trace(self._cluster.trace)
        return self._cluster

    @property
    def operations(self) -> Operations:
        """Return the operators' reports."""
        return self.cluster.operations

    def _listen_to_library(self) -> None:
        """With -v the library's log lines go to standard error, else nowhere: errors are told."""
        import logging

        if self.options.verbose:
            from gfs_ha.logs.start import start_logging

            start_logging("gfsctl")
        else:
            logging.getLogger("gfs_ha").addHandler(logging.NullHandler())

    def _bear_trace(self, trace: str) -> None:
        """Have the library's log lines, if they are shown, end with the trace of this command."""
        if self.options.verbose:
            from gfs_ha.ids import NO_TRACE, parse_trace
            from gfs_ha.logs.trace import trace_process

            trace_process(parse_trace(trace) or NO_TRACE)

    def path(self, text: str) -> str:
        """Return the remote path of a word, without a slash at its end. Raises: UsageError."""
        return without_slash(self.remote(text))

    def remote(self, text: str) -> str:
        """Return the remote path of a word; a slash at its end says that a directory is meant.

        `gfs://NAME/…` says which cluster it is in. Raises: UsageError, WrongCluster.
        """
        return self._addressed.remote_path(text)

    def file_path(self, text: str) -> str:
        """Return the remote path of a word that must name a file. Raises: IsADirectory."""
        path = self.remote(text)
        if path.endswith("/"):
            raise IsADirectory(f"{text}: a slash at the end names a directory, not a file")
        return path

    # Showing ------------------------------------------------------------------------------------

    @property
    def meta(self) -> dict[str, Any]:
        """Return who leads and how far it is, as far as this command has seen."""
        if self._cluster is None:
            return {"leader": None, "index": None}
        meta = {"leader": self._cluster.leader or None, "index": None}
        if self.options.consistency is not None:
            meta |= age_facts(self.options.consistency, self._cluster.as_of)
        return meta

    def _warn_of_age(self) -> None:
        """Say that what was shown is of a cluster without a leader; a new look begins anew."""
        if self._cluster is None:
            return
        as_of = self._cluster.as_of
        if as_of is not None and as_of.degraded:
            self.warn(degraded_text(as_of))
        self._cluster.forget_age()

    def show(self, report: Any) -> None:
        """Show a report in the wanted form. Its `items` are what jsonl and name print."""
        mode = self.options.output
        if mode in (JSON, JSONL):
            self._show_json(report)
            return
        if mode == NAME:
            from gfs_ha.cli.render import names

            output.write_names(names(report))
            return
        output.write_lines(self.text(report).split("\n"))

    def text(self, report: Any) -> str:
        """Return a report as people see it."""
        from gfs_ha.cli.render import render, text_of

        wide = self.options.output == WIDE
        return text_of(render(report, wide), self.options.color, wide)

    def _show_json(self, report: Any) -> None:
        from gfs_ha.cli.document import json_bytes, report_document

        found = report_document(report, self.meta)
        if self.options.output == JSONL:
            output.write(*(json_bytes(item, JSONL) for item in found["items"]))
        else:
            output.write(json_bytes(found, JSONL if self.watching else JSON))

    def show_items(
        self,
        kind: str,
        items: Iterator[Any],
        lines: Callable[[list[Any]], Iterable[str]],
        name: Callable[[Any], str],
        more: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        """Show items as they come, so that a long listing begins at once and is never held.

        Args: `lines` gives the text lines of up to a page of items, `name` what `-o name` prints,
        `more` the facts beside the items, once these have been seen.
        """
        mode = self.options.output
        if mode in (JSON, JSONL):
            from gfs_ha.cli.document import json_bytes, plain, streamed

            if mode == JSON:
                plains = (plain(item) for item in items)
                output.write_pieces(streamed(kind, plains, lambda: {**more(), "meta": self.meta}))
            else:
                output.write_pieces(json_bytes(plain(item), JSONL) for item in items)
            return
        if mode == NAME:
            output.write_names(name(item) for item in items)
            return
        while page := list(islice(items, _PAGE)):
            output.write_lines(lines(page))

    def done(self, kind: str, items: Iterable[Any]) -> None:
        """Tell programs what was done; people see that the command came back."""
        mode = self.options.output
        if mode in (JSON, JSONL):
            from gfs_ha.cli.document import plain

            self.show_plain(kind, [plain(item) for item in items])
        elif mode == NAME:
            output.write_names(str(item.path) for item in items)

    def show_plain(self, kind: str, items: list[dict[str, Any]], **more: Any) -> None:
        """Write facts that are JSON already."""
        from gfs_ha.cli.document import document, json_bytes

        if self.options.output == JSONL:
            output.write(*(json_bytes(item, JSONL) for item in items))
        else:
            output.write(json_bytes(document(kind, items, self.meta, **more), JSON))

    # Talking ------------------------------------------------------------------------------------

    def warn(self, text: str) -> None:
        """Say something odd on standard error, unless told to be quiet."""
        if not self.options.quiet:
            output.say(f"warning: {text}")

    def note(self, text: str) -> None:
        """Say something useful on standard error when more was asked for."""
        if self.options.verbose:
            output.say(text)

    def confirm(self, question: str, flag: str = "-y") -> bool:
        """Ask a person. Raises: UsageError when there is no terminal to ask at."""
        self.check_can_ask(question, flag)
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def check_can_ask(self, question: str, flag: str = "-y") -> None:
        """Raise UsageError when there is no terminal to ask at."""
        if sys.stdin is None or not sys.stdin.isatty() or not output.stderr_is_terminal():
            raise UsageError(f"{question} There is no terminal to ask at; say {flag}")

    # Watching -----------------------------------------------------------------------------------

    def watch(self, period_s: float, once: Callable[[], object]) -> None:
        """Show again and again until a signal; what is only temporary does not end it."""
        from gfs_ha.runtime import ThreadedRuntime

        runtime = ThreadedRuntime()
        self.watching = True

        def look() -> None:
            once()
            self._warn_of_age()

        if output.stdout_is_terminal() and not self.options.machine_readable:
            from gfs_ha.cli.live.screen import can_draw

            if can_draw():
                self._watch_on_screen(period_s, look)
                return
        while True:
            try:
                look()
            except GfsError as error:
                if not error.retryable:
                    raise
                conclude(error, self.options.machine_readable, verbose=False)
            output.flush()
            runtime.sleep(period_s)

    def _watch_on_screen(self, period_s: float, look: Callable[[], object]) -> None:
        from gfs_ha.cli.live.screen import Screen
        from gfs_ha.cli.live.spans import Palette
        from gfs_ha.cli.live.watching import Watching
        from gfs_ha.runtime import ThreadedRuntime

        palette = Palette(self.options.color)
        self._connect()  # Not in the thread that shows: signals are the main thread's.
        with Screen(palette) as screen:
            Watching(screen, palette, look, ThreadedRuntime()).run(period_s)


def pass_session(
    function: Callable[Concatenate[Session, P], R],
) -> Callable[P, None]:
    """Give the verb a `Session` that is closed at its end; see `watched`."""

    @click.pass_obj
    @wraps(function)
    def wrapper(options: Options, *args: Any, **kwargs: Any) -> None:
        period_s = kwargs.pop("watch", None)
        with Session(options) as session:
            if period_s is None:
                function(session, *args, **kwargs)
            else:
                session.watch(period_s, lambda: function(session, *args, **kwargs))

    return wrapper


def watched(function: Callable[P, R]) -> Callable[P, R]:
    """Give a verb that shows state `-w/--watch [SECONDS]`."""
    return click.option(
        *("-w", "--watch"),
        type=NumberRange(min=0.1, max=86_400),
        metavar="[SECONDS]",
        help=f"Show it again and again (every {WATCH_S:.0f} s).",
    )(function)

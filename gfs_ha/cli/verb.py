"""The commands' frame: common options, help that begins with examples, modules loaded late."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gfs_ha.cli.options import common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

WATCH_S = 2.0
HELP = {"help_option_names": ["--help"]}
_RANGE = re.compile("(INTEGER|FLOAT) RANGE|INTEGER|FLOAT")


class Verb(click.Command):
    """One command. `examples` are lines of `words  # what it does`, shown before anything else."""

    def __init__(self, *args: Any, examples: str = "", **more: Any) -> None:
        more["params"] = [*(more.get("params") or []), *common_options(with_environment=False)]
        more.setdefault("context_settings", HELP)
        super().__init__(*args, **more)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _timed(self, args))

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.examples, formatter)
        super().format_help(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_options(self, ctx, formatter)


def _write_options(
    command: click.Command, ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    own: list[tuple[str, str]] = []
    common: list[tuple[str, str]] = []
    for parameter in command.get_params(ctx):
        record = parameter.get_help_record(ctx)
        # A word of which nothing is to be said stands in the line of usage.
        if record is not None and (record[1] or isinstance(parameter, click.Option)):
            names = _RANGE.sub("N", record[0])
            (common if getattr(parameter, "common", False) else own).append((names, record[1]))
    for title, rows in (("Options", own), ("Common options", common)):
        with formatter.section(title):
            formatter.write_dl(rows)


def _write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    lines = [line.strip() for line in examples.strip().splitlines()]
    if not lines:
        return
    formatter.write("Examples:\n")
    rows = [line.partition("  # ")[::2] for line in lines]
    width = max(len(words) for words, _ in rows)
    for words, text in rows:
        formatter.write(f"  {words.ljust(width)}  {'# ' + text if text else ''}".rstrip())
        formatter.write("\n")
    formatter.write("\n")


def _timed(command: click.Command, words: list[str]) -> list[str]:
    watches = any(parameter.name == "watch" for parameter in command.params)
    return _with_period(words) if watches else words


def _with_period(words: list[str]) -> list[str]:
    """Return the words with the period that `-w` may leave out, so that `-w /path` is no error."""
    found: list[str] = []
    for at, word in enumerate(words):
        if word == "--":
            return found + words[at:]
        found.append(word)
        if word in ("-w", "--watch"):
            after = words[at + 1] if at + 1 < len(words) else ""
            if not after.replace(".", "", 1).isdigit():
                found.append(str(WATCH_S))
    return found


class Row(NamedTuple):
    """Where a command lives, and its one line in the list."""

    module: str
    attribute: str
    summary: str


class Family(click.Group):
    """A group that imports a command when it is used: the list of all of them costs nothing.

    `examples` are as those of a Verb.
    """

    def __init__(
        self,
        *args: Any,
        rows: Mapping[str, Row] | None = None,
        examples: str = "",
        **more: Any,
    ) -> None:
        more.setdefault("context_settings", HELP)
        super().__init__(*args, **more)
        self._rows = dict(rows or {})
        self._examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self._examples, formatter)
        super().format_help(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._rows)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        row = self._rows.get(cmd_name)
        if row is None:
            return None
        command = getattr(import_module(row.module), row.attribute)
        assert isinstance(command, click.Command), row
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands and options that begin so, without importing any command."""
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=row.summary)
            for name, row in self._rows.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row.summary) for name, row in self._rows.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if args and not args[0].startswith("-"):
                known = ", ".join(self._rows)
                raise click.UsageError(
                    f"no command {args[0]!r}; there are: {known}", ctx
                ) from error
            raise


class VerbFamily(Family):
    """A group that is a verb of its own when none of its commands is named.

    Its function runs in both cases: it returns at once when `ctx.invoked_subcommand` is set.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        more["params"] = [*(more.get("params") or []), *common_options(with_environment=False)]
        super().__init__(*args, invoke_without_command=True, **more)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _timed(self, args))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_options(self, ctx, formatter)

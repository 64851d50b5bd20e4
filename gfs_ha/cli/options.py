"""What every verb can be told: configuration, output mode, how much to say, how long to wait."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import click

P = ParamSpec("P")
R = TypeVar("R")

TABLE, WIDE, JSON, JSONL, NAME = "table", "wide", "json", "jsonl", "name"
OUTPUTS = (TABLE, WIDE, JSON, JSONL, NAME)


class NumberRange(click.FloatRange):
    """A number between bounds; `nan` is neither below nor above any, and no number."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is not a number", param, ctx)
        return found


class Points(NumberRange):
    """A number of percent: `5`, `5%`."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        text = value.removesuffix("%").rstrip() if isinstance(value, str) else value
        return super().convert(text, param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]  # Older ones take none.
    """A number of bytes: `4096`, `64MiB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from gfs_ha.strict_toml import parse_size

        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(slots=True)
class Options:
    """The common options of one run; a verb's own position overrides what stood before it."""

    config: str | None = None  # As the command line says; the environment is read by contexts.py.
    context: str | None = None
    output: str = TABLE
    quiet: bool = False
    verbose: bool = False
    color: bool = True
    timeout_s: float | None = None
    consistency: str | None = None  # Of verbs that read; None = linearizable, and not shown.

    @property
    def machine_readable(self) -> bool:
        return self.output in (JSON, JSONL)


def common_options(with_environment: bool) -> list[click.Option]:
    """Return fresh common options; only the root reads the environment, so that words win."""

    def option(*names: str, env: str, text: str, **more: object) -> click.Option:
        made = click.Option(
            [*names],
            expose_value=False,
            allow_from_autoenv=False,
            envvar=env if with_environment and env else None,
            help=f"{text} [{env}]" if env else text,
            callback=_keep,
            **more,  # type: ignore[arg-type]
        )
        made.common = True  # type: ignore[attr-defined]
        return made

    return [
        option("--config", env="GFS_CONFIG", metavar="FILE", text="The cluster's TOML file."),
        option("--context", env="GFS_CONTEXT", metavar="NAME", text="A cluster by its name here."),
        option(
            *("-o", "--output"),
            env="GFS_OUTPUT",
            type=click.Choice(OUTPUTS),
            text="How to show results.",
        ),
        option("--json", env="", is_flag=True, text="The same as -o json."),
        option("-q", "--quiet", env="GFS_QUIET", is_flag=True, text="No progress, no warnings."),
        option(
            *("-v", "--verbose"),
            env="GFS_VERBOSE",
            is_flag=True,
            text="Say more; errors come with a traceback.",
        ),
        option("--no-color", env="GFS_NO_COLOR", is_flag=True, text="No colours (also NO_COLOR)."),
        option(
            "--timeout",
            env="GFS_TIMEOUT",
            type=NumberRange(min=0.1, max=86_400),
            metavar="SECONDS",
            text="Longest time without an answer (default 30).",
        ),
    ]


def consistency_option(function: Callable[P, R]) -> Callable[P, R]:
    """Give a verb that reads names or contents `--consistency`."""

    def keep(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
        if value:
            from gfs_ha.client.consistency import consistency_of
            from gfs_ha.errors import UsageError

            try:
                consistency_of(value)
            except UsageError as error:
                raise click.BadParameter(error.message) from error
            context.ensure_object(Options).consistency = value

    return click.option(
        "--consistency",
        metavar="linearizable|bounded:MS|local",
        envvar="GFS_CONSISTENCY",
        expose_value=False,
        callback=keep,
        help="How old answers may be: see operations.md. [GFS_CONSISTENCY]",
    )(function)


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    source = context.get_parameter_source(parameter.name or "")
    if source in (None, click.core.ParameterSource.DEFAULT):
        return
    named = parameter.name in ("config", "context")
    if named and source is click.core.ParameterSource.ENVIRONMENT:
        return  # What the command line says wins over both variables: see contexts.py.
    options = context.ensure_object(Options)
    match parameter.name:
        case "json":
            if value:
                options.output = JSON
        case "no_color":
            options.color = not value
        case "timeout":
            options.timeout_s = float(value)  # type: ignore[arg-type]
        case "config" | "context":
            setattr(options, str(parameter.name), str(value) if value else None)
        case name:
            setattr(options, str(name), value)


def wanted_output(words: list[str]) -> str:
    """Return the output mode that a command line asks for, also when it cannot be parsed."""
    wanted = TABLE
    for at, word in enumerate(words):
        if word == "--":
            break
        if word == "--json":
            wanted = JSON
        elif word in ("-o", "--output") and at + 1 < len(words):
            wanted = words[at + 1]
        elif word.startswith("--output="):
            wanted = word.partition("=")[2]
        elif word.startswith("-o") and word[2:] in OUTPUTS:
            wanted = word[2:]
    return wanted

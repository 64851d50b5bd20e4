"""`gfsctl context`: several clusters by the names that a person gives them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click
from rich.table import Table

from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.config import Config, load
from gfs_ha.contexts import (
    Chosen,
    Contexts,
    change_contexts,
    choose,
    home_directory,
    read_contexts,
)
from gfs_ha.errors import AlreadyExists, ConfigError, GfsError, UsageError
from gfs_ha.protocol.codec import Word
from gfs_ha.runtime import ThreadedRuntime
from gfs_ha.strict_toml import check_name

_HERE = "gfs_ha.cli.context"

context = Family(
    "context",
    help="Several clusters, by the names that you give them on this machine.",
    examples="""
    gfsctl context add prod /etc/gfs-ha/prod.toml  # a name for a cluster's file
    gfsctl context use prod                        # what all commands mean from now on
    gfsctl --context test ls /                     # another one, this time (or GFS_CONTEXT)
    gfsctl cp gfs://test/a gfs://test/b            # or in the words themselves
    gfsctl context show                            # which one is meant here and now, and why
    """,
    rows={
        "ls": Row(_HERE, "list_contexts", "List them"),
        "show": Row(_HERE, "show_context", "Which one is meant now, and why"),
        "use": Row(_HERE, "use_context", "Mean this one from now on"),
        "add": Row(_HERE, "add_context", "Give a configuration file a name"),
        "rm": Row(_HERE, "remove_contexts", "Forget names"),
    },
)


class ContextRow(Word, frozen=True):
    """One context and the cluster that its file names; `trouble` says why it names none."""

    name: str
    current: bool
    config: str
    cluster_id: str = ""
    cluster_name: str = ""
    masters: tuple[str, ...] = ()
    why: str = ""  # Of the one that is meant: what says so.
    trouble: str = ""


class ContextList(Word, frozen=True):
    """The contexts of a person."""

    items: tuple[ContextRow, ...]


class MeantContext(Word, frozen=True):
    """The cluster that is meant."""

    items: tuple[ContextRow, ...]


@click.command(
    "ls",
    cls=Verb,
    examples="""
    gfsctl context ls            # names, clusters and files; * marks the current one
    gfsctl context ls -o name    # the names
    """,
)
@pass_session
def list_contexts(session: Session) -> None:
    """List the contexts, the cluster of each, and what is wrong with its file."""
    contexts = read_contexts(os.environ)
    rows = [_row(contexts, name, path) for name, path in contexts.files.items()]
    session.show(ContextList(tuple(rows)))
    if not rows and session.options.output in (TABLE, WIDE):
        session.warn("there are none yet: gfsctl context add NAME FILE")


@click.command(
    "show",
    cls=Verb,
    examples="""
    gfsctl context show          # the cluster that commands mean here and now, and why
    gfsctl context show prod     # that of a context
    """,
)
@click.argument("name", metavar="[CONTEXT]", required=False)
@pass_session
def show_context(session: Session, name: str | None) -> None:
    """Show which cluster is meant, by which file, and what says so."""
    contexts = read_contexts(os.environ)
    options = session.options
    if name is None:
        chosen = choose(os.environ, options.config, options.context)
    else:
        chosen = Chosen(contexts.file(name), "", name)
    row = replace_row(_row(contexts, chosen.context, chosen.path), chosen)
    session.show(MeantContext((row,)))
    if row.trouble:
        raise ConfigError(row.trouble)


@click.command(
    "use",
    cls=Verb,
    examples="""
    gfsctl context use prod      # all commands mean this cluster from now on
    gfsctl context use --none    # none of them again
    """,
)
@click.argument("name", metavar="[CONTEXT]", required=False)
@click.option("--none", is_flag=True, help="Mean none of them: the usual places again.")
@pass_session
def use_context(session: Session, name: str | None, none: bool) -> None:
    """Mean a cluster from now on, wherever nothing else says which one."""
    if (name is None) != none:
        raise UsageError("give the name of a context, or --none (see gfsctl context ls)")

    def act(contexts: Contexts) -> Contexts:
        if name is not None:
            contexts.file(name)
        return replace(contexts, current=name or "")

    changed = change_contexts(os.environ, ThreadedRuntime(), act)
    if name is not None:
        _done(session, changed, name)
        _warn_if_overruled(session, name, changed)


@click.command(
    "add",
    cls=Verb,
    examples="""
    gfsctl context add prod /etc/gfs-ha/prod.toml        # a name for a cluster's file
    gfsctl context add test ~/test/gfs.toml --use        # and mean it from now on
    gfsctl context add prod /mnt/new.toml --replace      # another file for a name
    """,
)
@click.argument("name", metavar="NAME")
@click.argument("file", metavar="FILE")
@click.option("--use", is_flag=True, help="Mean it from now on.")
@click.option("--replace", "again", is_flag=True, help="Let a name mean another file.")
@pass_session
def add_context(session: Session, name: str, file: str, use: bool, again: bool) -> None:
    """Give a configuration file a name. The file is read and checked, and stays where it is."""
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from error
    path = Path(file).expanduser().absolute()
    load(path)

    def act(contexts: Contexts) -> Contexts:
        known = contexts.files.get(name)
        if known is not None and known != path and not again:
            raise AlreadyExists(
                f"the context {name!r} is {known}; --replace lets it mean another file"
            )
        current = name if use else contexts.current
        return replace(contexts, files={**contexts.files, name: path}, current=current)

    changed = change_contexts(os.environ, ThreadedRuntime(), act)
    _done(session, changed, name)
    if use:
        _warn_if_overruled(session, name, changed)


@click.command(
    "rm",
    cls=Verb,
    examples="""
    gfsctl context rm test       # the name only; the cluster and its file stay
    """,
)
@click.argument("names", metavar="CONTEXT...", nargs=-1, required=True)
@pass_session
def remove_contexts(session: Session, names: tuple[str, ...]) -> None:
    """Forget names of clusters. Files and clusters are left alone."""

    def act(contexts: Contexts) -> Contexts:
        for name in names:
            contexts.file(name)
        left = {key: path for key, path in contexts.files.items() if key not in names}
        current = contexts.current if contexts.current in left else ""
        return replace(contexts, files=left, current=current)

    before = read_contexts(os.environ).current
    change_contexts(os.environ, ThreadedRuntime(), act)
    session.done("ContextList", [_Removed(name) for name in names])
    if before in names:
        session.warn(f"{before} was the current context; none is now")


class _Removed(Word, frozen=True):
    path: str


def replace_row(row: ContextRow, chosen: Chosen) -> ContextRow:
    """Return the row with what says that it is meant."""
    from msgspec.structs import replace as changed

    return changed(row, why=chosen.why)


def _row(contexts: Contexts, name: str, path: Path) -> ContextRow:
    current = bool(name) and name == contexts.current
    try:
        config: Config = load(path)
    except GfsError as error:
        return ContextRow(name, current, str(path), trouble=error.message)
    masters = tuple(f"{one.name} {one.host}:{one.port}" for one in config.cluster.masters)
    cluster = config.cluster
    return ContextRow(name, current, str(path), cluster.id, cluster.name, masters)


def _done(session: Session, contexts: Contexts, name: str) -> None:
    row = _row(contexts, name, contexts.file(name))
    if session.options.output not in (TABLE, WIDE):
        session.show(ContextList((row,)))


def _warn_if_overruled(session: Session, name: str, contexts: Contexts) -> None:
    """Say that something else decides here: else a person works on the wrong cluster."""
    environ: Mapping[str, str] = os.environ
    try:
        chosen = choose(environ)
    except GfsError as error:
        session.warn(error.message)
        return
    if chosen.path.absolute() != contexts.file(name):
        what = {
            "GFS_CONFIG": f"GFS_CONFIG={environ.get('GFS_CONFIG')}",
            "GFS_CONTEXT": f"GFS_CONTEXT={environ.get('GFS_CONTEXT')}",
        }.get(chosen.why, f"{chosen.path} in this directory")
        session.warn(f"{what} comes before {name}, here and now")


@render.register
def _(report: ContextList, wide: bool) -> Table:
    table = Table("", "Context", "Cluster", "File", box=None)
    if wide:
        table.add_column("Masters")
    if any(row.trouble for row in report.items):
        table.add_column("Trouble")
    for row in report.items:
        cells = ["*" if row.current else "", row.name, _cluster(row), printable(row.config)]
        if wide:
            cells.append(", ".join(row.masters))
        if any(one.trouble for one in report.items):
            cells.append(printable(row.trouble))
        table.add_row(*cells)
    return table


@render.register
def _(report: MeantContext, wide: bool) -> Table:
    (row,) = report.items
    grid = Table.grid(padding=(0, 2))
    grid.add_row("context", row.name or "none: a file by itself")
    if row.why:
        grid.add_row("said by", row.why)
    grid.add_row("file", printable(row.config))
    if not row.trouble:
        grid.add_row("cluster", _cluster(row))
        grid.add_row("masters", ", ".join(row.masters))
    directory = home_directory(os.environ)
    if wide and directory is not None:
        grid.add_row("contexts", printable(str(directory / "contexts.toml")))
    return grid


def _cluster(row: ContextRow) -> str:
    if not row.cluster_id:
        return "?"
    same = row.cluster_name == row.cluster_id
    return row.cluster_id if same else f"{row.cluster_name} ({row.cluster_id})"

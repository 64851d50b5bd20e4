"""`gfsctl get`."""

from __future__ import annotations

import os
import posixpath
from functools import partial

import click

from gfs_ha.cli.data.cat import copy_out
from gfs_ha.cli.data.copying import Outcome, Source, copy_options
from gfs_ha.cli.data.several import error_of_one, split_target
from gfs_ha.cli.names import printable, without_slash
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.progress import Bar
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.lanes import Lanes
from gfs_ha.errors import GfsError, NotADirectory, UsageError
from gfs_ha.protocol.metadata import DIRECTORY
from gfs_ha.runtime import ThreadedRuntime


@click.command(
    cls=Verb,
    examples="""
    gfsctl get /docs/report.pdf .            # into this directory
    gfsctl get /docs/report.pdf copy.pdf     # under another name
    gfsctl get -r /backup/src restored       # a tree
    gfsctl get -j 8 /logs/a /logs/b .        # several into a directory, 8 at once
    gfsctl get /backup/src.tar - | tar x     # to a pipe
    gfsctl get --verify /disk.img disk.img   # read the local file again and compare
    """,
)
@click.argument("words", metavar="REMOTE... LOCAL", nargs=-1)
@copy_options
@click.option("--verify", is_flag=True, help="Read the local file again and compare.")
@consistency_option
@pass_session
def get(
    session: Session,
    words: tuple[str, ...],
    recursive: bool,
    jobs: int | None,
    verify: bool,
) -> None:
    """Copy files out of the cluster; `-` is standard output.

    Every byte is verified on its way. A file appears whole under its name, or not at all. An
    existing directory receives a source under its own name.
    """
    remotes, local = split_target(
        words, "get THIS to where? Name remote sources and a local target ('.' or '-' will do)"
    )
    paths = [_wanted(session, text) for text in remotes]
    if local == "-":
        if verify:
            raise UsageError("--verify reads a local file again; standard output is none")
        copy_out(session, [session.file_path(text) for text in remotes])
        return
    if len(paths) > 1 and not os.path.isdir(local):
        raise NotADirectory(f"{printable(local)} is no directory, and there are several sources")
    cluster = session.cluster
    outcome = Outcome(session, "GetList")
    lanes = Lanes(ThreadedRuntime(), jobs)
    with Bar(session, "got") as bar:

        def source(path: str) -> Source:
            name = posixpath.basename(path)
            if recursive and _is_directory(session, path):
                copy_tree = partial(cluster.get_tree, path, local, verify=verify, jobs=jobs)
                return Source(path, name, True, lambda cancel: copy_tree(progress=bar))
            landing = os.path.join(local, name) if os.path.isdir(local) else local
            pipe = os.path.exists(landing) and not os.path.isfile(landing)
            copy = partial(cluster.get, path, local, verify=verify, jobs=lanes)
            return Source(path, name, pipe, lambda cancel: copy(progress=bar, cancel=cancel))

        outcome.attempt_each([source(path) for path in paths], lanes)
    outcome.conclude()


def _wanted(session: Session, text: str) -> str:
    return without_slash(session.remote(text))


def _is_directory(session: Session, path: str) -> bool:
    try:
        return session.cluster.stat(path).kind == DIRECTORY
    except GfsError as error:
        error_of_one(error)
        return False  # What is wrong with this one is told when it is copied.

"""`gfsctl get`."""

from __future__ import annotations

import os
from functools import partial

import click

from gfs_ha.cli.data.cat import copy_out
from gfs_ha.cli.data.copying import Outcome, tree_options
from gfs_ha.cli.data.several import split_target
from gfs_ha.cli.names import printable, remote_path, without_slash
from gfs_ha.cli.progress import Bar
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.transfers import Fetched, TreeResult
from gfs_ha.errors import NotADirectory, UsageError
from gfs_ha.protocol.metadata import DIRECTORY


@click.command(
    cls=Verb,
    examples="""
    gfsctl get /docs/report.pdf .            # into this directory
    gfsctl get /docs/report.pdf copy.pdf     # under another name
    gfsctl get -r /backup/src restored       # a tree
    gfsctl get /backup/src.tar - | tar x     # to a pipe
    gfsctl get --verify /disk.img disk.img   # read the local file again and compare
    """,
)
@click.argument("words", metavar="REMOTE... LOCAL", nargs=-1)
@tree_options
@click.option("--verify", is_flag=True, help="Read the local file again and compare.")
@pass_session
def get(
    session: Session,
    words: tuple[str, ...],
    recursive: bool,
    jobs: int,
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
    with Bar(session, "got") as bar:

        def copy(path: str) -> Fetched | TreeResult:
            if recursive and cluster.stat(path).kind == DIRECTORY:
                return cluster.get_tree(path, local, verify=verify, jobs=jobs, progress=bar)
            return cluster.get(path, local, verify=verify, progress=bar)

        for path in paths:
            outcome.attempt(path, partial(copy, path))
    outcome.conclude()


def _wanted(session: Session, text: str) -> str:
    return without_slash(remote_path(text, session.config.cluster))

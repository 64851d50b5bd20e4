"""`gfsctl put`."""

from __future__ import annotations

import os
import stat
import sys
from functools import partial
from typing import BinaryIO

import click

from gfs_ha.cli.data.copying import Copied, Outcome, Source, copy_options
from gfs_ha.cli.data.several import split_target
from gfs_ha.cli.names import printable, without_slash
from gfs_ha.cli.progress import Announced, Bar
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.filesystem import PutArguments
from gfs_ha.client.lanes import Lanes
from gfs_ha.client.room_for_copies import RoomForCopies
from gfs_ha.client.transfers import Cancel, Progress
from gfs_ha.errors import NotADirectory, UsageError
from gfs_ha.limits import GOAL_MAX
from gfs_ha.protocol.metadata import DIRECTORY, DISK, MEMORY
from gfs_ha.runtime import ThreadedRuntime


@click.command(
    cls=Verb,
    examples="""
    gfsctl put report.pdf /docs/              # a file into a directory
    gfsctl put -r src /backup/src             # a tree; /backup/src is made, or receives it
    gfsctl put -j 8 *.log /logs               # several into a directory, 8 at once
    tar c src | gfsctl put - /backup/src.tar  # what a pipe brings
    gfsctl put --if-absent lock /locks/job    # exactly one of many wins; the others exit 4
    gfsctl put -- -odd-name /docs/            # a name that begins with a dash
    """,
)
@click.argument("words", metavar="LOCAL... REMOTE", nargs=-1)
@copy_options
@click.option("--if-absent", is_flag=True, help="Replace nothing: exit 4 if the file exists.")
@click.option(
    "--durability",
    type=click.Choice([DISK, MEMORY]),
    envvar="GFS_DURABILITY",
    help="When a byte counts as stored: on every server's disk, or in its memory; else as"
    " `gfsctl policy` says of the directory, else disk.",
)
@click.option(
    "--replicas",
    type=click.IntRange(0, GOAL_MAX),
    default=0,
    help="How many copies are wanted (0: as `gfsctl policy` says of the directory).",
)
@pass_session
def put(
    session: Session,
    words: tuple[str, ...],
    recursive: bool,
    jobs: int | None,
    if_absent: bool,
    durability: str | None,
    replicas: int,
) -> None:
    """Copy local files into the cluster; `-` is standard input.

    An existing directory receives a source under its own name; an existing file is replaced in
    one step: readers see the old content or the new one. Mode and time are kept. Up to -j chunks
    are kept in memory until they are safe, 64 MiB each; 2 unless -j says more.
    """
    sources, remote = split_target(words, "put THIS where? Name local sources and a remote target")
    target = session.remote(remote)
    if len(sources) > 1:
        _check_several(session, sources, target)
    cluster = session.cluster
    if replicas > 1 and not session.options.quiet:
        _warn_of_too_many(session, replicas)
    outcome = Outcome(session, "PutList")
    lanes = Lanes(ThreadedRuntime(), jobs)
    with Bar(session, "put") as bar:

        def how(progress: Progress, cancel: Cancel) -> PutArguments:
            return PutArguments(
                durability=durability or "",
                replicas=replicas,
                if_absent=if_absent,
                progress=progress,
                cancel=cancel,
            )

        def copy(source: str, cancel: Cancel) -> Copied:
            if recursive and source != "-" and os.path.isdir(source):
                return cluster.put_tree(source, target, jobs=jobs, **how(bar, cancel))
            given = _standard_input() if source == "-" else source
            return cluster.put(given, target, jobs=lanes, **how(bar, cancel))

        def copy_announced(source: str, size: int, cancel: Cancel) -> Copied:
            try:
                return cluster.put(source, target, jobs=lanes, **how(Announced(bar), cancel))
            except BaseException:
                bar.expect(-1, -size)
                raise

        def source(word: str) -> Source:
            name = os.path.basename(os.path.abspath(word))
            if word != "-" and (size := _regular_size(word)) is not None:
                bar.expect(1, size)
                return Source(word, name, False, partial(copy_announced, word, size))
            return Source(word, name, os.path.exists(word), partial(copy, word))

        outcome.attempt_each([source(word) for word in sources], lanes)
    outcome.conclude()


def _warn_of_too_many(session: Session, replicas: int) -> None:
    """Warn of more copies than servers in service can hold; the file is put all the same."""
    room = RoomForCopies.of_servers(session.operations.servers().items)
    if said := room.warning(replicas, lambda possible: f"--replicas {possible}"):
        session.warn(said)


def _regular_size(local: str) -> int | None:
    """Return the size of a regular file; None for what is none, or is not there."""
    try:
        status = os.stat(local)
    except (OSError, ValueError):
        return None  # What is wrong with it is told when it is copied.
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("standard input is closed; there is nothing to put")
    return sys.stdin.buffer


def _check_several(session: Session, sources: tuple[str, ...], target: str) -> None:
    if "-" in sources:
        raise UsageError("standard input cannot be one of several sources")
    if session.cluster.stat(without_slash(target)).kind != DIRECTORY:
        raise NotADirectory(f"{printable(target)} is no directory, and there are several sources")

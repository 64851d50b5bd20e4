"""`gfsctl checksum`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.checksum_check import check_lists
from gfs_ha.cli.data.checksum_lines import line_of
from gfs_ha.cli.data.checksum_source import ChecksumSource, Found
from gfs_ha.cli.data.copying import encodable, problem_facts
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.names import SCHEME, printable
from gfs_ha.cli.options import consistency_option
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.client.lanes import LANES_MAX
from gfs_ha.client.transfers import Problem
from gfs_ha.errors import GfsError, UsageError
from gfs_ha.protocol.codec import Word


class ChecksumItem(Word, frozen=True):
    """One file's checksum as JSON shows it, in hex; `how` it was found and from how much read."""

    name: str
    path: str
    crc32c: str
    size: int
    read_bytes: int
    how: str


@click.command(
    cls=Verb,
    examples="""
    gfsctl checksum /docs/report.pdf                    # the CRC-32C of a file; no byte is read
    gfsctl checksum ./report.pdf                        # of a local one, to compare
    gfsctl checksum -r /backup --base /backup > sums    # of a tree, with names below it
    gfsctl checksum -c sums --base ./restored           # does the local tree fit the list?
    zcat x.gz | gfsctl checksum - /docs/x               # of a pipe, and of a file
    gfsctl checksum --verify -r /backup                 # read all, compare with what is stored
    """,
)
@click.argument("paths", metavar="PATH...", nargs=-1)
@click.option("-r", "--recursive", is_flag=True, help="All files below directories.")
@click.option("-c", "--check", "lists", metavar="FILE", multiple=True, help="Check a list.")
@click.option("--local", is_flag=True, help="All paths are local, also absolute ones.")
@click.option("--base", metavar="DIR", help="Show, or look for, names below this directory.")
@click.option("--no-read", is_flag=True, help="Read nothing: exit 11 names what would need it.")
@click.option("--verify", is_flag=True, help="Read everything and compare with what is stored.")
@click.option(
    *("-j", "--jobs"),
    type=click.IntRange(1, LANES_MAX),
    envvar="GFS_JOBS",
    help="How many remote files are looked at at once.",
)
@consistency_option
@pass_session
def checksum(
    session: Session,
    paths: tuple[str, ...],
    recursive: bool,
    lists: tuple[str, ...],
    local: bool,
    base: str | None,
    no_read: bool,
    verify: bool,
    jobs: int | None,
) -> None:
    """Show the CRC-32C of whole files, here or in the cluster, in lines like those of sha256sum.

    It is the standard CRC (Castagnoli) of the file's bytes, as other tools reckon it. In the
    cluster it comes from what is stored; only what has no CRC there is read: files that were cut or
    written into, or that grow. A path that is not absolute is a local one, '-' standard input. With
    -c, lists ('-' again) are checked: exit status 8 when anything does not fit or is missing.
    """
    if verify and no_read:
        raise UsageError("--verify reads everything and --no-read nothing; give one of them")
    if paths and lists:
        raise UsageError("-c checks what its lists name; say with --base where that lies")
    if not paths and not lists:
        raise UsageError("checksum of what? Name files, or one or more lists with -c")
    source = ChecksumSource(session, local, jobs, read=not no_read, verify=verify)
    if lists:
        check_lists(session, source, lists, base)
        return
    several = Several(session)
    session.show_items(
        "ChecksumList",
        _items(source.checksums(source.files(paths, recursive)), several, base),
        _lines,
        lambda item: item.name,
        lambda: {"problems": [problem_facts(one) for one in several.problems]},
    )
    several.conclude("summed")


def _items(found: Iterator[Found], several: Several, base: str | None) -> Iterator[ChecksumItem]:
    for path, one in found:
        if isinstance(one, GfsError):
            several.problems.append(Problem(path, one))
            continue
        several.done_count += 1
        name, path = encodable(_below(path, base)), encodable(path)
        crc = f"{one.crc32c:08x}"
        yield ChecksumItem(name, path, crc, one.size, one.read_bytes, one.how)


def _lines(page: list[ChecksumItem]) -> Iterable[str]:
    lines = (line_of(item.crc32c, item.name) for item in page)
    return map(printable, lines) if output.stdout_is_terminal() else lines


def _below(path: str, base: str | None) -> str:
    """Return a path as seen from the base; one that is not below it as it is."""
    if base is None:
        return path
    if base.startswith(SCHEME):
        base = "/" + base[len(SCHEME) :].partition("/")[2]
    above = posixpath.normpath(base)
    plain = posixpath.normpath(path)
    if above == ".":
        return plain
    prefix = above if above.endswith("/") else f"{above}/"
    return plain[len(prefix) :] if plain.startswith(prefix) else path

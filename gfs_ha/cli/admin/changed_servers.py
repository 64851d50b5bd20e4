"""Tells what was done about servers or disks, one after the other, as it was asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gfs_ha.cli import output
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session

Tell = Callable[[str, str], None]


@contextmanager
def telling(
    session: Session, dry_run: bool = False, kind: str = "ChunkserverChanged"
) -> Iterator[Tell]:
    """Give what tells of a server or disk by its name and a line for people.

    People read each line at once. Programs get one document in the end, also when it is an early
    one; `dry_run` in it says that nothing was done.
    """
    names: list[str] = []

    def tell(name: str, text: str) -> None:
        names.append(name)
        if session.options.machine_readable:
            return
        if session.options.output not in (TABLE, WIDE):
            output.write_lines([name])
        elif not session.options.quiet:
            output.write_lines([text])
        output.flush()

    try:
        yield tell
    finally:
        if names and session.options.machine_readable:
            items = [{"name": name} for name in names]
            session.show_plain(kind, items, dry_run=dry_run)

"""`-n` of verbs that change the cluster: what would hold then; nothing is done."""

from __future__ import annotations

from typing import TypeVar

import click
import msgspec

from gfs_ha.cli import output
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session

T = TypeVar("T", bound=msgspec.Struct)

dry_run_option = click.option("-n", "--dry-run", is_flag=True, help="Only say what would change.")


def changed(now: T, changes: msgspec.Struct) -> T:
    """Return a report as changes to it would make it; a negative number leaves one as it is."""
    wanted = {
        name: type(getattr(now, name))(value)
        for name, value in msgspec.structs.asdict(changes).items()
        if value >= 0
    }
    return msgspec.structs.replace(now, **wanted)


def show_then(session: Session, report: msgspec.Struct) -> None:
    """Show what would hold, and say that it does not."""
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        output.write_lines(["nothing was changed; it would be:"])
    session.show(report)

"""`gfsctl admin chunkservers maintenance|label|remove`: planned pauses, labels, the end."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin.changed_servers import telling
from gfs_ha.cli.admin.drain_plan import named_rows
from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.spans import Span
from gfs_ha.cli.units import count_text, duration_text
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.client.server_modes import why_not
from gfs_ha.errors import PreconditionFailed, UsageError
from gfs_ha.limits import MAINTENANCE_MS_DEFAULT, MAINTENANCE_MS_MAX

_HERE = "gfs_ha.cli.admin.maintenance"

maintenance = Family(
    "maintenance",
    help="Planned pauses: a server may stop for a while, and nothing is copied because of it.",
    examples="""
    gfsctl admin chunkservers maintenance on cs7 --for 30m    # stop it, mend it, start it
    gfsctl admin chunkservers maintenance off cs7             # it is back for good
    """,
    rows={
        "on": Row(_HERE, "begin", "Begin it, for a bounded time"),
        "off": Row(_HERE, "end", "End it"),
    },
)


@click.command(
    "on",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers ok-to-stop cs7                  # may it stop at all?
    gfsctl admin chunkservers maintenance on cs7              # for an hour
    gfsctl admin chunkservers maintenance on cs7 --for 4h     # at most 24 h
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1, required=True)
@click.option(
    "--for",
    "for_ms",
    type=Span(),
    default=MAINTENANCE_MS_DEFAULT,
    metavar="TIME",
    help="How long at most: 30m, 4h; usual 1h, at most 24h.",
)
@dry_run_option
@pass_session
def begin(session: Session, servers: tuple[str, ...], for_ms: int, dry_run: bool) -> None:
    """Let a server stop for a while without having its copies made anew elsewhere.

    It gets no new chunks meanwhile, and appends are handed on. A chunk of which only one other copy
    is left is repaired all the same. The time ends by itself; said again, it begins anew.
    """
    if for_ms > MAINTENANCE_MS_MAX:
        raise UsageError(f"--for: {duration_text(MAINTENANCE_MS_MAX)} at most")
    rows = named_rows(session.operations.servers().items, servers)
    with telling(session, dry_run) as tell:
        for row in rows:
            if dry_run:
                tell(row.name, f"would begin: {row.name}, {duration_text(for_ms)}")
                continue
            session.operations.server_modes.maintain(row.name, for_ms)
            tell(
                row.name,
                f"{row.name} is in maintenance for {duration_text(for_ms)};"
                f" gfsctl admin chunkservers maintenance off {row.name} ends it",
            )
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        named = " ".join(row.name for row in rows)
        output.write_lines([f"may it stop? gfsctl admin chunkservers ok-to-stop {named}"])


@click.command(
    "off",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers maintenance off cs7    # a server that is away is repaired from now on
    """,
)
@click.argument("servers", metavar="SERVER...", nargs=-1, required=True)
@dry_run_option
@pass_session
def end(session: Session, servers: tuple[str, ...], dry_run: bool) -> None:
    """End the maintenance of a server before its time is over; saying it twice is no error."""
    rows = named_rows(session.operations.servers().items, servers)
    with telling(session, dry_run) as tell:
        for row in rows:
            if not row.maintenance_left_ms:
                tell(row.name, f"{row.name} is not in maintenance")
            elif dry_run:
                left = duration_text(row.maintenance_left_ms)
                tell(row.name, f"would end: {row.name}, {left} before its time")
            else:
                session.operations.server_modes.maintain(row.name, 0)
                tell(row.name, f"the maintenance of {row.name} is over")


@click.command(
    "label",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers label cs7 room=b12 disk=nvme   # set labels
    gfsctl admin chunkservers label cs7 disk-                # take one away
    gfsctl admin chunkservers ls --label room=b12            # servers that have one
    """,
)
@click.argument("server")
@click.argument("labels", metavar="KEY=VALUE|KEY-...", nargs=-1, required=True)
@dry_run_option
@pass_session
def label(session: Session, server: str, labels: tuple[str, ...], dry_run: bool) -> None:
    """Set labels of a server, or take them away; they say nothing to the cluster itself."""
    wanted: dict[str, str] = {}
    removed: list[str] = []
    for one in labels:
        key, equals, value = one.partition("=")
        if equals and key:
            wanted[key] = value
        elif one.endswith("-") and len(one) > 1:
            removed.append(one[:-1])
        else:
            raise UsageError(f"{one!r}: say KEY=VALUE to set a label, KEY- to take it away")
    both = sorted(wanted.keys() & set(removed))
    if both:
        raise UsageError(f"{both[0]!r} cannot be set and taken away at once")
    (row,) = named_rows(session.operations.servers().items, (server,))
    if dry_run:
        known = {key: value for key, value in row.labels if key not in removed} | wanted
        then = ", ".join(f"{key}={value}" for key, value in sorted(known.items()))
        with telling(session, dry_run) as tell:
            tell(server, f"{server} would have {then or 'no labels'}")
        return
    session.operations.server_modes.label(server, tuple(wanted.items()), tuple(removed))
    said = [f"{key}={value}" for key, value in wanted.items()]
    had = dict(row.labels)
    said += [
        f"label {key} is gone" if key in had else f"there was no label {key}" for key in removed
    ]
    with telling(session) as tell:
        tell(server, f"{server}: {', '.join(said)}")


@click.command(
    "remove",
    cls=Verb,
    examples="""
    gfsctl admin chunkservers remove cs7 -n    # may it go, and what is in the way?
    gfsctl admin chunkservers remove cs7       # decommissioned before, or dead for good
    """,
)
@click.argument("server")
@click.option("-n", "--dry-run", is_flag=True, help="Only say whether it may go.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_session
def remove(session: Session, server: str, dry_run: bool, yes: bool) -> None:
    """Take a server out of the cluster: one that was emptied, or a dead one that is repaired.

    Its name is free then; its data directory is not taken back (an empty one is, as a new server).
    Exit status 4: it is in service, or some chunk would be without its copies.
    """
    plan = session.operations.server_modes.plan_removal(server)
    if plan.kept_count:
        raise PreconditionFailed(why_not(server, plan))
    places = count_text(plan.places, "place")
    if dry_run:
        with telling(session, dry_run) as tell:
            tell(server, f"{server} may go; {places} of chunks would be forgotten")
        return
    question = f"Take {server} out of the cluster ({places} of chunks are forgotten)?"
    if not yes and not session.confirm(question):
        raise PreconditionFailed(f"{server} stays")
    shown = output.stderr_is_terminal() and not session.options.quiet
    try:
        session.operations.server_modes.remove(
            server, lambda count: output.overwrite(f"{count} places looked at") if shown else None
        )
    finally:
        if shown:
            output.overwrite("")
    with telling(session) as tell:
        tell(server, f"{server} is no member of the cluster any more")

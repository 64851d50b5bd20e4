"""`gfsctl version`."""

from __future__ import annotations

import platform

import click

from gfs_ha import __version__
from gfs_ha.cli import output
from gfs_ha.cli.options import JSONL, Options
from gfs_ha.cli.verb import Verb
from gfs_ha.limits import PROTOCOL_VERSION, SCHEMA_VERSION


@click.command(
    cls=Verb,
    examples="""
    gfsctl version            # for people
    gfsctl version -o json    # for programs
    """,
)
@click.pass_obj
def version(options: Options) -> None:
    """Show the version of this program and of what it speaks."""
    if options.machine_readable:
        from gfs_ha.cli.document import document, json_bytes

        facts = {
            "version": __version__,
            "protocol": PROTOCOL_VERSION,
            "schema": SCHEMA_VERSION,
            "python": platform.python_version(),
        }
        meta = {"leader": None, "index": None}
        found = facts if options.output == JSONL else document("Version", [facts], meta)
        output.write(json_bytes(found, options.output))
    elif options.output == "name":
        output.write_lines([__version__])
    else:
        output.write_lines(
            [f"gfs-ha {__version__} (protocol {PROTOCOL_VERSION}, schema {SCHEMA_VERSION})"]
        )

"""`gfsctl admin metrics`: what a master measures, as Prometheus reads it."""

from __future__ import annotations

import click

from gfs_ha.cli import output
from gfs_ha.cli.options import JSON, JSONL
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import GfsError, NoLeader, NotFound
from gfs_ha.protocol.reports import MasterFacts

_LEADER = "leader"


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin metrics                     # of the leader, and of the cluster as it knows it
    gfsctl admin metrics m2                  # of one master
    gfsctl admin metrics | grep gfs_cluster_findings
    """,
)
@click.argument("master", metavar="[MASTER]", required=False)
@pass_session
def metrics(session: Session, master: str | None) -> None:
    """Print what a master measures, without a way to its port for watchers.

    Only the leader tells of the cluster. Chunkservers tell on their own ports ([metrics] listen).
    """
    operations = session.operations
    said = operations.master_facts()
    name = master or _leader(said)
    if name not in said:
        raise NotFound(
            f"there is no master {name!r}; there are {', '.join(said)} (a chunkserver tells what it"
            " measures on its own port, [metrics] listen in its file)"
        )
    found = operations.master_metrics(name)
    if session.options.output in (JSON, JSONL):
        session.show_plain("Metrics", [{"node": found.node, "text": found.text}])
    else:
        output.write(found.text.encode())


def _leader(said: dict[str, MasterFacts | GfsError]) -> str:
    leading = [
        name
        for name, facts in said.items()
        if isinstance(facts, MasterFacts) and facts.role == _LEADER
    ]
    if not leading:
        raise NoLeader("no master leads; name one: gfsctl admin metrics MASTER")
    return leading[0]

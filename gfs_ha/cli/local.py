"""`gfsctl local`: a real cluster of processes on this machine."""

from __future__ import annotations

import shlex
import signal as signals
from collections.abc import Callable
from typing import Any

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.several import Several
from gfs_ha.cli.local_options import (
    capacities_of,
    chunk_bytes_of,
    directory_option,
    racks_of,
)
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import JSON, JSONL, NAME
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Family, Row, Verb
from gfs_ha.errors import NotFound, UsageError
from gfs_ha.local.cluster import START_TIMEOUT_S, LocalCluster
from gfs_ha.local.member_status import RUNNING
from gfs_ha.local.shape import Growth

_HERE = "gfs_ha.cli.local"

local = Family(
    "local",
    help="A real cluster of processes on this machine.",
    examples="""
    gfsctl local up                                # 3 masters, 4 chunkservers, 2 racks
    eval "$(gfsctl local env)" && gfsctl ls /      # use it
    gfsctl local kill m1 -9 && gfsctl admin status  # lose a master
    gfsctl local start m1                          # and have it back
    gfsctl local add                               # a chunkserver more
    gfsctl local down --wipe                       # remove it with its data
    """,
    rows={
        "up": Row(_HERE, "up", "Start a cluster, or what is stopped of it"),
        "down": Row(_HERE, "down", "Stop its processes; keep the data unless --wipe"),
        "status": Row(_HERE, "status", "Which processes live"),
        "kill": Row(_HERE, "kill", "Send a signal to processes"),
        "start": Row(_HERE, "start", "Start processes again"),
        "add": Row(_HERE, "add", "Start further chunkservers"),
        "replace-master": Row(_HERE, "replace_master", "A new master for an old or dead one"),
        "env": Row(_HERE, "env", "Print the export of GFS_CONFIG"),
    },
)


@click.command(
    cls=Verb,
    examples="""
    gfsctl local up                                       # 3 masters, 4 chunkservers, 2 racks
    gfsctl local up --dir /tmp/one --racks 3              # a second cluster elsewhere
    gfsctl local up --capacity 2GiB,4GiB                  # small and big disks in turns
    gfsctl local up --disks 3                             # three data directories each
    gfsctl local up --no-tls                              # without certificates
    eval "$(gfsctl local env)" && gfsctl ls /             # use it
    """,
)
@directory_option
@click.option("--masters", type=int, help="How many masters (3).")
@click.option("--chunkservers", type=int, help="How many chunkservers (4).")
@click.option(
    "--racks", metavar="N|R1,R2", help="How many racks, or their names; taken in turns (r1,r2)."
)
@click.option("--chunk-size", metavar="SIZE", help="1MiB to 64MiB (64MiB).")
@click.option(
    "--capacity", metavar="SIZE,…", help="Of each disk, by server in turns (all of the disk)."
)
@click.option("--disks", type=int, help="Data directories of each chunkserver (1).")
@click.option(
    "--tls/--no-tls",
    default=None,
    help="Whether everybody of a new cluster shows a certificate, as in a closed cluster (--tls).",
)
@pass_session
def up(
    session: Session,
    directory: str | None,
    masters: int | None,
    chunkservers: int | None,
    racks: str | None,
    chunk_size: str | None,
    capacity: str | None,
    disks: int | None,
    tls: bool | None,
) -> None:
    """Start a cluster, or what is stopped of it; it serves when this returns."""
    cluster = LocalCluster(directory)
    report = cluster.up(
        masters=masters,
        chunkservers=chunkservers,
        racks=racks_of(racks),
        chunk_bytes=chunk_bytes_of(chunk_size),
        capacities=capacities_of(capacity),
        disks=disks,
        closed=True if tls is None and not cluster.complete else tls,
    )
    if session.options.output in (JSON, JSONL):
        facts = {
            "directory": str(report.directory),
            "config": str(report.config),
            "created": report.created,
            "running": list(report.running),
            "started": list(report.started),
        }
        session.show_plain("LocalUp", [facts])
        return
    if session.options.output == NAME:
        output.write_lines([*report.running, *report.started])
        return
    if report.running:
        output.write_lines([f"running: {' '.join(report.running)}"])
    if report.started:
        output.write_lines([f"started: {' '.join(report.started)}"])
    output.write_lines([f"ready in {report.directory}; for gfsctl:", _export(cluster)])


@click.command(
    cls=Verb,
    examples="""
    gfsctl local down           # stop everything; `up` finds the data again
    gfsctl local down --wipe    # and remove all data of it
    """,
)
@directory_option
@click.option("--wipe", is_flag=True, help="Remove the cluster's data, too.")
@pass_session
def down(session: Session, directory: str | None, wipe: bool) -> None:
    """Stop the processes of the cluster; none is left."""
    cluster = LocalCluster(directory)
    there = cluster.there
    ended = cluster.down(wipe=wipe)
    if session.options.output in (JSON, JSONL):
        facts = {"directory": str(cluster.directory), "stopped": list(ended), "wiped": wipe}
        session.show_plain("LocalDown", [facts])
    elif session.options.output == NAME:
        output.write_lines(ended)
    elif not there:
        output.write_lines([f"there is no local cluster in {cluster.directory}; nothing to stop"])
    else:
        what = f"stopped: {' '.join(ended)}" if ended else "nothing was running"
        kept = "data removed" if wipe else "data kept"
        output.write_lines([f"{what} ({kept}, {cluster.directory})"])


@click.command(
    cls=Verb,
    examples="""
    gfsctl local status            # every process: running, paused or stopped
    gfsctl local status -o json    # the same for programs
    """,
)
@directory_option
@pass_session
def status(session: Session, directory: str | None) -> None:
    """Show which processes live. Exit status 3 when there is no cluster."""
    cluster = LocalCluster(directory)
    members = cluster.status()
    if not members:
        raise NotFound(
            f"there is no local cluster in {cluster.directory}; `gfsctl local up` makes one"
        )
    if session.options.output in (JSON, JSONL):
        rows = [
            {
                "name": member.name,
                "role": member.role,
                "state": member.state,
                "pid": member.pid or None,
                "port": member.port or None,
                "rack": member.rack or None,
                "log": str(member.log),
                "metrics_port": member.metrics_port or None,
                "error": member.error or None,
            }
            for member in members
        ]
        session.show_plain("LocalProcessList", rows, directory=str(cluster.directory))
    elif session.options.output == NAME:
        output.write_lines(member.name for member in members)
    else:
        output.write_lines(
            f"{one.name:<6} {one.role:<12} {one.state:<8} "
            f"{'pid ' + str(one.pid) if one.pid else '-':<12} port {one.port or '-':<6} "
            f"{one.rack or '-':<4} {one.log}"
            for one in members
        )
        output.write_lines(f"{one.name}: {printable(one.error)}" for one in members if one.error)
        running = sum(member.state == RUNNING for member in members)
        output.write_lines([f"{running} of {len(members)} running in {cluster.directory}"])


@click.command(
    cls=Verb,
    examples="""
    gfsctl local kill m1              # SIGTERM: it stops cleanly
    gfsctl local kill cs2 -9          # SIGKILL: as if the machine died
    gfsctl local kill m1 cs1 cs3 -9   # several
    gfsctl local kill m1 -STOP        # it freezes; -CONT lets it go on
    """,
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@directory_option
@click.option("-9", "-KILL", "kill", is_flag=True, help="SIGKILL.")
@click.option("-15", "-TERM", "term", is_flag=True, help="SIGTERM, as without any.")
@click.option("-STOP", "stop", is_flag=True, help="SIGSTOP: it freezes.")
@click.option("-CONT", "cont", is_flag=True, help="SIGCONT: it goes on.")
@click.option("--signal", metavar="NAME", help="Which signal (TERM).")
@pass_session
def kill(
    session: Session,
    /,
    names: tuple[str, ...],
    directory: str | None,
    signal: str | None,
    **usual: bool,
) -> None:
    """Send a signal to processes; after TERM and KILL they are gone on return."""
    said = [*(one for one, given in usual.items() if given), *([] if signal is None else [signal])]
    if len({_signal(one) for one in said}) > 1:
        raise UsageError(f"one signal at a time, and not {' and '.join(map(printable, said))}")
    number = _signal(said[0] if said else "TERM")
    cluster = LocalCluster(directory)

    def act(name: str) -> dict[str, Any]:
        return {"name": name, "pid": cluster.kill(name, number), "signal": number.name}

    _tell_each(session, ("LocalKill", "signalled"), names, act)


@click.command(
    cls=Verb,
    examples="""
    gfsctl local start cs2       # after `kill`
    gfsctl local start m1 cs2    # several
    """,
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@directory_option
@pass_session
def start(session: Session, names: tuple[str, ...], directory: str | None) -> None:
    """Start processes again; they serve their ports when this returns.

    Exit status 4: it is paused (by `kill --signal STOP`), or was removed from the cluster.
    """
    cluster = LocalCluster(directory)

    def act(name: str) -> dict[str, Any]:
        if started := cluster.start(name):
            cluster.wait_known(name)
        return {"name": name, "started": started}

    _tell_each(session, ("LocalStart", "started"), names, act)


@click.command(
    cls=Verb,
    examples="""
    gfsctl local add                          # one chunkserver, on the rack that has the fewest
    gfsctl local add --servers 2 --rack r3    # two, on a further rack
    gfsctl local add --capacity 8GiB          # one with a bigger disk
    gfsctl admin rebalance start              # has the new ones take their share
    """,
)
@directory_option
@click.option("--servers", metavar="N", type=int, default=1, help="How many chunkservers (1).")
@click.option("--rack", metavar="R", help="Their rack (for each the one that has the fewest).")
@click.option(
    "--capacity", metavar="SIZE", help="Of each disk (as those that are there, in turns)."
)
@click.option("--disks", type=int, help="Data directories of each (as those that are there).")
@pass_session
def add(
    session: Session,
    directory: str | None,
    servers: int,
    rack: str | None,
    capacity: str | None,
    disks: int | None,
) -> None:
    """Start further chunkservers of a cluster that runs; they are live when this returns.

    When it fails or is broken off, those that no master heard of are removed; `up` starts the
    others.

    Exit status 3: there is no cluster; 4: too few of its masters run.
    """
    sizes = capacities_of(capacity)
    if sizes is not None and len(sizes) > 1:
        raise UsageError(f"--capacity {capacity!r}: one size for all that are added")
    size = sizes[0] if sizes is not None else None
    growth = Growth(servers=servers, rack=rack, capacity=size, disks=disks)
    added = LocalCluster(directory).add(growth)
    if session.options.output in (JSON, JSONL):
        rows = [{"name": one.name, "rack": one.rack, "port": one.port} for one in added]
        session.show_plain("LocalAdd", rows)
    elif session.options.output == NAME:
        output.write_lines(one.name for one in added)
    else:
        output.write_lines(f"{one.name} started on rack {one.rack}" for one in added)
        output.write_lines(["to have them take their share: `gfsctl admin rebalance start`"])


@click.command(
    "replace-master",
    cls=Verb,
    examples="""
    gfsctl local kill m3 -9 && gfsctl local replace-master m3    # a machine is gone for good
    """,
)
@click.argument("old", metavar="OLD")
@directory_option
@pass_session
def replace_master(session: Session, old: str, directory: str | None) -> None:
    """Start a new master on an empty directory and put it into the place of an old one.

    The cluster serves all the time. If this is interrupted, the same again goes on. --timeout is
    the longest time without progress, or without a leader.
    """
    steps = []
    limit_s = session.options.timeout_s
    cluster = LocalCluster(directory, timeout_s=START_TIMEOUT_S if limit_s is None else limit_s)
    for step in cluster.replace_master(old):
        steps.append(step)
        if not session.options.machine_readable and session.options.output != NAME:
            output.write_lines([step])
            output.flush()
    if session.options.machine_readable:
        session.show_plain("LocalReplaceMaster", [{"name": old, "steps": steps}])


@click.command(
    cls=Verb,
    examples="""
    eval "$(gfsctl local env)"    # gfsctl and the library find this cluster now
    """,
)
@directory_option
@pass_session
def env(session: Session, directory: str | None) -> None:
    """Print the export of GFS_CONFIG for a shell."""
    cluster = LocalCluster(directory)
    if not cluster.config_path.exists():
        raise NotFound(
            f"there is no local cluster in {cluster.directory}; `gfsctl local up` makes one"
        )
    if session.options.output in (JSON, JSONL):
        session.show_plain("LocalEnvironment", [cluster.env()])
    else:
        output.write_lines([_export(cluster)])


def _tell_each(
    session: Session,
    said: tuple[str, str],
    names: tuple[str, ...],
    act: Callable[[str], dict[str, Any]],
) -> None:
    """Do it to each process and tell what was done; one that fails keeps no other from it.

    Args: `said` is (the kind of JSON, what did not happen to those that failed).
    """
    several = Several(session)
    done = several.attempt_each(dict.fromkeys(names), act)
    if session.options.output in (JSON, JSONL):
        if done:
            session.show_plain(said[0], done)
    elif session.options.output == NAME:
        output.write_lines(facts["name"] for facts in done)
    else:
        output.write_lines(_done_text(facts) for facts in done)
    several.conclude(said[1])


def _done_text(facts: dict[str, Any]) -> str:
    if "signal" in facts:
        return f"{facts['signal']} sent to {facts['name']} (pid {facts['pid']})"
    return f"{facts['name']} {'started' if facts['started'] else 'runs already'}"


def _export(cluster: LocalCluster) -> str:
    return "\n".join(f"export {key}={shlex.quote(value)}" for key, value in cluster.env().items())


def _signal(name: str) -> signals.Signals:
    try:
        if name.isdigit():
            return signals.Signals(int(name))
        return signals.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except (KeyError, ValueError):
        raise UsageError(f"there is no signal {name!r}") from None

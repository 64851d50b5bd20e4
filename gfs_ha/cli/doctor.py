"""`gfsctl doctor`: what is wrong between this machine and the cluster."""

from __future__ import annotations

import locale
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import click

from gfs_ha.cli import output
from gfs_ha.cli.data.room import LIVE, room_bytes, standing
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.client.diagnosis import FAIL, OK, WARN, Check, diagnose
from gfs_ha.config import Config, load
from gfs_ha.contexts import choose
from gfs_ha.errors import GfsError, Unhealthy
from gfs_ha.limits import GIB
from gfs_ha.protocol.codec import Word
from gfs_ha.protocol.reports import ServerRow
from gfs_ha.version import VERSION

FILES_MIN = 1024
_COLORS = {OK: "green", WARN: "yellow", FAIL: "red"}
_SCRATCH_FREE_MIN = GIB


class DoctorItem(Word, frozen=True):
    """One check as JSON shows it."""

    name: str
    state: str
    fact: str
    next_step: str


@click.command(
    cls=Verb,
    examples="""
    gfsctl doctor                    # can this machine use the cluster, and if not, why?
    gfsctl doctor --target /data     # also: is there room for what is to be copied to /data?
    gfsctl doctor -o json            # for programs
    """,
)
@click.option("--target", metavar="DIR", help="A local directory that is to be copied to.")
@pass_session
def doctor(session: Session, target: str | None) -> None:
    """Look for what is wrong between this machine and the cluster, and say what to do.

    It looks at the configuration, names, ports, the leader, room, versions, clocks, and the limits
    of this machine; it changes nothing, and ends within a few seconds whatever hangs. Exit status
    0: nothing failed (there may be warnings); 8: something did.
    """
    config, first = _configuration(session)
    checks = [first]
    if config is not None:
        checks += _cluster(config)
    checks += [*_scratch(target), _open_files(), _terminal()]
    session.show_items(
        "DoctorReport",
        (DoctorItem(one.name, one.state, one.fact, one.next_step) for one in checks),
        lambda page: _lines(page, session.options.color and output.stdout_is_terminal()),
        lambda item: item.name,
        lambda: {"summary": _summary(checks)},
    )
    output.flush()
    failed = [one.name for one in checks if one.state == FAIL]
    if failed:
        raise Unhealthy(f"{count_text(len(failed), 'check')} failed: {', '.join(failed)}")
    warned = sum(one.state == WARN for one in checks)
    if session.options.output in (TABLE, WIDE) and not session.options.quiet:
        well = f"with {count_text(warned, 'warning')}" if warned else "all is well"
        output.write_lines([f"this machine can use the cluster; {well}"])


def _summary(checks: Iterable[Check]) -> dict[str, int]:
    states = [one.state for one in checks]
    return {state: states.count(state) for state in (OK, WARN, FAIL)}


def _lines(page: list[DoctorItem], color: bool) -> Iterator[str]:
    width = max(len(item.name) for item in page)
    for item in page:
        state = f"{item.state.upper():<4}"
        if color:
            state = click.style(state, fg=_COLORS[item.state], bold=item.state == FAIL)
        yield f"{state}  {item.name:<{width}}  {printable(item.fact)}"
        if item.next_step:
            yield f"      {'':<{width}}  -> {printable(item.next_step)}"


def _configuration(session: Session) -> tuple[Config | None, Check]:
    """Return the configuration if there is a valid one, and what is to be said of it."""
    options = session.options
    try:
        chosen = choose(os.environ, options.config, options.context)
        config = load(chosen.path)
    except GfsError as error:
        step = "gfsctl local up makes a cluster here; else ask for its gfs.toml and give --config"
        if os.path.exists(options.config or os.environ.get("GFS_CONFIG", "")):
            step = "mend the file where the message says"
        return None, Check("configuration", FAIL, error.message, step)
    masters = count_text(len(config.cluster.masters), "master")
    name = config.cluster.name or config.cluster.id
    fact = f"{chosen.path} ({chosen.why}): cluster {name}, {masters}"
    return config, Check("configuration", OK, fact)


def _cluster(config: Config) -> list[Check]:
    from gfs_ha.cli.interrupt import guard
    from gfs_ha.client.doctor import Doctor
    from gfs_ha.runtime import ThreadedRuntime

    runtime = ThreadedRuntime()
    guard(runtime)
    seen = Doctor(config, runtime).look()
    rows = [one.row for one in seen.servers or ()]
    return [*diagnose(seen, VERSION), *([room_there(rows)] if rows else [])]


def room_there(servers: Sequence[ServerRow]) -> Check:
    """Return what is to be said of the room for new files."""
    taking = [one for one in servers if standing(one) == LIVE]
    having = [one for one in taking if room_bytes(one)]
    free = f"{size_text(sum(map(room_bytes, having)))} for copies"
    told = f"{free} on {len(having)} of {count_text(len(servers), 'chunkserver')}"
    if not having:
        step = "add chunkservers, or remove files; gfsctl df -o wide shows each server"
        return Check("room", FAIL, "no chunkserver has room for new files", step)
    full = ", ".join(one.name for one in taking if not room_bytes(one))
    if full:
        return Check("room", WARN, f"{told}; full: {full}", "gfsctl admin rebalance, or gfsctl df")
    return Check("room", OK, told)


def _scratch(target: str | None) -> Iterator[Check]:
    """Look at directories that files are written to."""
    try:
        temporary = tempfile.gettempdir()
    except OSError as error:
        yield Check("temporary files", FAIL, str(error), "set TMPDIR to a writable directory")
    else:
        yield _room("temporary files", temporary)
    yield _room("target", target if target is not None else os.curdir, target is None)


def _room(name: str, directory: str, shown_whole: bool = False) -> Check:
    path = os.path.abspath(directory) if shown_whole else directory
    try:
        free = shutil.disk_usage(path).free
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        return Check(name, FAIL, f"{path!r}: {error.strerror}", "name a directory that exists")
    if not os.path.isdir(path):
        return Check(name, FAIL, f"{path} is no directory", "name a directory")
    fact = f"{size_text(free)} free in {path}"
    if not writable:
        return Check(name, WARN, f"{path} cannot be written", "get to another directory, or chmod")
    if free < _SCRATCH_FREE_MIN:
        return Check(name, WARN, fact, "make room before big files are got")
    return Check(name, OK, fact)


def _open_files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        step = f"ulimit -n {FILES_MIN} (the hard limit is {hard})"
        return Check("open files", WARN, f"{soft} at most", step)
    told = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} at most"
    return Check("open files", OK, told)


def _terminal() -> Check:
    encoding = (getattr(sys.stdout, "encoding", None) or "none").lower().replace("_", "-")
    preferred = locale.getpreferredencoding(False).lower().replace("_", "-")
    term = os.environ.get("TERM", "")
    where = (
        f"a terminal ({term or 'TERM is not set'})"
        if output.stdout_is_terminal()
        else "no terminal"
    )
    fact = f"{where}, locale {preferred}"
    if "utf-8" not in (encoding, preferred):
        return Check("terminal", WARN, fact, "export LANG=C.UTF-8: names beyond ASCII look wrong")
    return Check("terminal", OK, fact)

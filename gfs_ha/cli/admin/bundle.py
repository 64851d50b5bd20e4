"""`gfsctl admin bundle`: one archive of all that support asks for first, without secrets."""

from __future__ import annotations

import io
import os
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import click

from gfs_ha.cli import output
from gfs_ha.cli.admin.bundle_parts import Bundle, gather
from gfs_ha.cli.failure import local_error
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import size_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import AlreadyExists, PartlyDone

STDOUT = "-"


@click.command(
    cls=Verb,
    examples="""
    gfsctl admin bundle                        # gfs-bundle-CLUSTER-TIME.tar.gz, here
    gfsctl admin bundle --out /tmp/b.tar.gz
    gfsctl admin bundle --out - | ssh me@desk 'cat > b.tar.gz'
    """,
)
@click.option("--out", metavar="FILE", help="Where to; `-` is standard output.")
@pass_session
def bundle(session: Session, out: str | None) -> None:
    """Gather what explains the state of the cluster, for support, into one tar.gz of mode 0600.

    In it are status, health, masters, chunkservers, disks, settings, repair, jobs and events, the
    configuration, versions, and the newest log lines of every process. Passwords, tokens, tickets
    and keys are taken out by their names and shapes, and files with keys are never read. Names of
    files, machines and clients stay: look through it before it leaves the house.

    Exit status 11: some of it could not be got, as with masters down; manifest.json says what and
    why. 4: FILE exists.
    """
    cluster_id = session.config.cluster.id
    from gfs_ha.runtime import ThreadedRuntime

    wall_ns = ThreadedRuntime().wall_ns()
    when = datetime.fromtimestamp(wall_ns // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    name = f"gfs-bundle-{_plain(session.config.cluster.name or cluster_id)}-{when}"
    target = out or f"{name}.tar.gz"
    if target != STDOUT and os.path.lexists(target):
        raise AlreadyExists(f"{target} exists already; give another name with --out")
    found = gather(session, lambda what: session.note(f"asks for {what}"))
    manifest = found.manifest(cluster_id, wall_ns // 1_000_000)
    packed = _packed(name, found, manifest, wall_ns // 10**9)
    if target == STDOUT:
        output.write(packed)
    else:
        _write(Path(target), packed)
        _tell(session, target, found, len(packed))
    if found.missing:
        for what, why in sorted(found.missing.items()):
            session.warn(f"not in it: {what}: {why}")
        raise PartlyDone(
            f"{target}: {len(found.missing)} of {len(found.missing) + len(found.files)} parts could"
            " not be got; manifest.json says why"
        )


def _plain(text: str) -> str:
    return "".join(one if one.isalnum() or one in "-_." else "_" for one in text)[:64]


def _packed(name: str, found: Bundle, manifest: bytes, mtime_s: int) -> bytes:
    """Return the archive; all of it is at most BUNDLE_BYTES_MAX before it is compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, content in (("manifest.json", manifest), *sorted(found.files.items())):
            entry = tarfile.TarInfo(f"{name}/{file}")
            entry.size, entry.mtime, entry.mode = len(content), mtime_s, 0o600
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _write(target: Path, packed: bytes) -> None:
    """Write a file that was not there; nothing of it stays when it cannot be written whole.

    Raises: AlreadyExists, Denied, DiskFull…
    """
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(packed)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            target.unlink()
            raise
    except OSError as error:
        raise local_error(error) from error


def _tell(session: Session, target: str, found: Bundle, length: int) -> None:
    if session.options.machine_readable:
        item = {"path": target, "bytes": length, "files": sorted(found.files)}
        more = {"missing": found.missing, "removed": found.redaction.count}
        session.show_plain("Bundle", [item | more])
        return
    removed = found.redaction.count
    behind = f", {removed} secrets taken out" if removed else ""
    output.write_lines([f"{target}: {len(found.files)} files, {size_text(length)}{behind}"])

"""`gfsctl admin tls status`: what a node or an authority holds, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from msgspec.structs import replace
from rich.console import Group
from rich.table import Table

from gfs_ha.cli.admin.tls import CertificateRow, now, row_of
from gfs_ha.cli.names import printable
from gfs_ha.cli.render import render
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text, time_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import ConfigError, Unhealthy
from gfs_ha.pki import files
from gfs_ha.pki.authority import Issued, is_authority, opened
from gfs_ha.pki.certificates import (
    WARN_BEFORE,
    Authorities,
    check_own,
    days_left,
    key_id,
    load_authorities,
    load_certificate,
    load_key,
    load_revocations,
)
from gfs_ha.pki.names import PeerName
from gfs_ha.pki.peers import Revocations
from gfs_ha.pki.standing import certificate_troubles, troubles
from gfs_ha.protocol.codec import Word


class AuthorityRow(Word, frozen=True):
    """One authority that is trusted."""

    id: str
    current: bool
    expires_ns: int
    days_left: int


class TlsStatus(Word, frozen=True):
    """What a TLS directory holds, or what an authority issued."""

    directory: str
    items: tuple[CertificateRow, ...]
    authorities: tuple[AuthorityRow, ...]
    revoked: int
    list_days_left: int | None  # None: there is no list.
    troubles: tuple[str, ...]
    older: int = 0  # Of an authority: certificates that are not shown, since they are over.


@click.command(
    "status",
    cls=Verb,
    examples="""
    gfsctl admin tls status                # the TLS directory of the configuration
    gfsctl admin tls status m1/tls         # that of a node: days left, who is trusted
    gfsctl admin tls status ~/gfs-ca       # what an authority issued, and counts still
    gfsctl admin tls status ~/gfs-ca --all # also what was replaced by a newer one
    gfsctl admin tls status -o json        # for programs
    """,
)
@click.argument("directory", metavar="[DIR]", required=False)
@click.option("--all", "every", is_flag=True, help="Of an authority: also what is over.")
@pass_session
def status(session: Session, directory: str | None, every: bool) -> None:
    """Show certificates, the days that they have left, what is trusted and what is revoked.

    Exit status 8: something ends within 30 days (the list of what is revoked: within 7), has
    ended, is revoked, or is of an authority that is being replaced.
    """
    if directory is not None:
        where = Path(directory).expanduser()
    elif session.config.tls_directory is not None:
        where = session.config.tls_directory
    else:
        raise ConfigError(f'{session.config.path}: does not say mode = "tls"; give a directory')
    report = _of_authority(where, every) if is_authority(where) else _of_node(where)
    session.show(report)
    if report.troubles:
        raise Unhealthy(f"{where}: {'; '.join(report.troubles)}")


def _of_node(where: Path) -> TlsStatus:
    trusted = load_authorities(files.read(where / files.TRUSTED), where / files.TRUSTED)
    at = where / files.CERTIFICATE
    certificate = load_certificate(files.read(at), at)
    key = load_key(files.read_secret(where / files.KEY), where / files.KEY)
    try:
        own = check_own(certificate, key, trusted)
    except ConfigError as error:
        raise ConfigError(f"{at}: {error.message}") from error
    revocations = Revocations()
    if (where / files.REVOKED).exists():
        revoked = where / files.REVOKED
        revocations = load_revocations(files.read(revoked), trusted, revoked)
    state = _state(own.expires, revocations.has(own), own.authority != _first(trusted))
    found = troubles(own, trusted, revocations, now())
    return _report(where, (row_of(own, state),), trusted, revocations, tuple(found))


def _of_authority(where: Path, every: bool) -> TlsStatus:
    with opened(where) as authority:
        trusted = load_authorities(authority.trusted_pem, where)
        revocations = load_revocations(authority.lists_pem, trusted, where / files.REVOKED)
        issued = authority.issued()
    families: dict[PeerName, list[Issued]] = {}
    for one in issued:
        families.setdefault(one.certificate.name, []).append(one)
    found: list[str] = []
    for one in issued:
        if one.in_use(families[one.certificate.name], now()):
            found.extend(certificate_troubles(one.certificate, revocations, now()))
            if one.outdated:
                found.append(f"the certificate of {one.certificate.name} is of the old authority")
    found.extend(troubles(None, trusted, revocations, now()))
    shown = [one for one in issued if every or not _is_over(one, families[one.certificate.name])]
    rows = [
        row_of(
            one.certificate,
            _state(one.certificate.expires, bool(one.revoked), one.outdated, one.trusted),
        )
        for one in shown
    ]
    report = _report(where, tuple(rows), trusted, revocations, tuple(found))
    return replace(report, older=len(issued) - len(shown))


def _is_over(one: Issued, family: Sequence[Issued]) -> bool:
    """Return whether nobody needs to see it any more; while it is revoked, it is to be refused."""
    return one.certificate.expires <= now() if one.revoked else one.replaced(family, now())


def _state(expires: datetime, revoked: bool, outdated: bool, trusted: bool = True) -> str:
    if revoked:
        return "revoked"
    if expires <= now():
        return "expired"
    if not trusted:
        return "distrusted"  # Its authority went by `rotate --finish`.
    if expires - now() < WARN_BEFORE:
        return "expiring"
    return "old authority" if outdated else "good"


def _first(trusted: Authorities) -> bytes:
    return key_id(trusted.certificates[0])


def _report(
    where: Path,
    rows: tuple[CertificateRow, ...],
    trusted: Authorities,
    revocations: Revocations,
    found: tuple[str, ...],
) -> TlsStatus:
    authorities = tuple(
        AuthorityRow(
            id=key_id(one).hex()[:16],
            current=key_id(one) == _first(trusted),
            expires_ns=int(one.not_valid_after_utc.timestamp()) * 1_000_000_000,
            days_left=days_left(one.not_valid_after_utc, now()),
        )
        for one in trusted.certificates
    )
    ends = revocations.expires
    left = None if ends is None else days_left(ends, now())
    return TlsStatus(str(where), rows, authorities, len(revocations.revoked), left, found)


@render.register
def _(report: TlsStatus, wide: bool) -> Group:
    table = Table("Name", "Role", "Days left", "State", "Until", "Serial", box=None)
    if wide:
        table.add_column("Hosts")
    for row in report.items:
        serial = row.serial if wide else row.serial[:12]
        cells = [row.name, row.role, str(row.days_left), row.state, time_text(row.expires_ns)]
        table.add_row(*cells, serial, *([", ".join(row.hosts)] if wide else []))
    lines = Table.grid(padding=(0, 2))
    for one in report.authorities:
        which = "trusts" if one.current else "trusts, old"
        lines.add_row(which, f"authority {one.id}", f"{count_text(one.days_left)} days left")
    days = report.list_days_left
    left = "no list" if days is None else f"list good for {days} days"
    if days is not None and days < 0:
        left = "list has run out"
    lines.add_row("revoked", count_text(report.revoked, "certificate"), left)
    if report.older:
        lines.add_row("older", count_text(report.older, "certificate"), "--all shows them")
    return Group(printable(report.directory), table, lines)

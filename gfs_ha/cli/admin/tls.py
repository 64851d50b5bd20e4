"""`gfsctl admin tls`: the certificates of a cluster, and what its verbs have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from gfs_ha.cli import output
from gfs_ha.cli.names import printable
from gfs_ha.cli.options import TABLE, WIDE
from gfs_ha.cli.session import Session
from gfs_ha.cli.verb import Family, Row
from gfs_ha.pki.certificates import days_left
from gfs_ha.pki.names import Role
from gfs_ha.pki.peers import PeerCertificate
from gfs_ha.protocol.codec import Word

P = ParamSpec("P")
R = TypeVar("R")

_HERE = "gfs_ha.cli.admin"
CA_DIRECTORY = "gfs-ca"

tls = Family(
    "tls",
    help="Certificates: who belongs to the cluster, as what, and for how long.",
    examples="""
    gfsctl admin tls init --ca ~/gfs-ca                     # once: the cluster's own authority
    gfsctl admin tls issue m1 --role master --host m1.example --out m1/tls
    gfsctl admin tls issue ann --role client --out ann/tls  # a person
    gfsctl admin tls status m1/tls                          # days left; exit 8 if too few
    gfsctl admin tls revoke ann -y                          # shut out
    """,
    rows={
        "init": Row(f"{_HERE}.tls_issue", "init", "Make the authority of a cluster"),
        "issue": Row(f"{_HERE}.tls_issue", "issue", "Issue a certificate, with its key or for one"),
        "request": Row(f"{_HERE}.tls_issue", "request_one", "Make a key on a node, and a request"),
        "trust": Row(f"{_HERE}.tls_change", "trust", "Tell nodes whom to trust, what is revoked"),
        "rotate": Row(
            f"{_HERE}.tls_change", "rotate", "Put a new authority in the old one's place"
        ),
        "revoke": Row(f"{_HERE}.tls_change", "revoke", "Shut out who holds a certificate"),
        "status": Row(f"{_HERE}.tls_status", "status", "Days left, what is trusted (exit 8)"),
    },
)


class CertificateRow(Word, frozen=True):
    """One certificate."""

    name: str
    role: str
    serial: str  # Hex.
    hosts: tuple[str, ...]
    expires_ns: int
    days_left: int
    state: str = "good"  # Or "old authority", "distrusted", "expiring", "expired", "revoked".


class TlsChange(Word, frozen=True):
    """What a verb did, or would do, to the certificates of a directory."""

    directory: str
    cluster: str
    done: bool
    items: tuple[CertificateRow, ...] = ()
    what: str = ""


def ca_option(function: Callable[P, R]) -> Callable[P, R]:
    """Give a verb the directory of the authority."""
    return click.option(
        "--ca",
        "ca",
        envvar="GFS_CA",
        metavar="DIR",
        default=CA_DIRECTORY,
        show_default=True,
        help="The directory of the authority. [GFS_CA]",
        callback=lambda context, parameter, value: Path(value).expanduser(),
    )(function)


def role_option(required: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Give a verb the role of a certificate."""
    return click.option(
        "--role",
        type=click.Choice([str(role) for role in Role]),
        required=required,
        help="What its holder is.",
        callback=lambda context, parameter, value: Role(value) if value else None,
    )


def now() -> datetime:
    """Return the time by which certificates are issued and judged here."""
    return datetime.now(UTC)


def row_of(one: PeerCertificate, state: str = "good") -> CertificateRow:
    """Return a certificate as it is shown."""
    return CertificateRow(
        name=one.name.name,
        role=str(one.name.role),
        serial=f"{one.serial:x}",
        hosts=one.hosts,
        expires_ns=int(one.expires.timestamp()) * 1_000_000_000,
        days_left=days_left(one.expires, now()),
        state=state,
    )


def tell(session: Session, change: TlsChange, lines: Iterable[str]) -> None:
    """Show people the lines, programs the facts."""
    if session.options.output in (TABLE, WIDE):
        if not session.options.quiet:
            output.write_lines(printable(line) for line in lines)
    else:
        session.show(change)

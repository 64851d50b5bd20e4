"""`gfsctl admin tls init|issue|request`: an authority, and certificates by it."""

from __future__ import annotations

from pathlib import Path

import click

from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.tls import TlsChange, ca_option, now, role_option, row_of, tell
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import AlreadyExists, UsageError
from gfs_ha.pki import files
from gfs_ha.pki.authority import Authority, create, is_authority, opened
from gfs_ha.pki.certificates import describe, load_certificate
from gfs_ha.pki.enrolment import answer, ask, enrol
from gfs_ha.pki.names import SERVING, PeerName, Role, make_name
from gfs_ha.pki.peers import PeerCertificate
from gfs_ha.pki.requests import Asked, alternatives, read_request
from gfs_ha.pki.signing import CERTIFICATE_DAYS_DEFAULT, CERTIFICATE_DAYS_MAX

_out_option = click.option(
    "--out",
    metavar="DIR",
    required=True,
    help="The TLS directory to fill.",
    callback=lambda context, parameter, value: Path(value).expanduser(),
)
_host_option = click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="A name or address by which others dial it; several may be given.",
)
_cluster_option = click.option(
    "--cluster", metavar="ID", help="The id of the cluster (default: that of the configuration)."
)


@click.command(
    "init",
    cls=Verb,
    examples="""
    gfsctl admin tls init                               # into ./gfs-ca, for the configured cluster
    gfsctl admin tls init --ca ~/gfs-ca --cluster prod-7f3a
    """,
)
@ca_option
@_cluster_option
@dry_run_option
@pass_session
def init(session: Session, ca: Path, cluster: str | None, dry_run: bool) -> None:
    """Make the authority of a cluster: its key decides who belongs to it.

    Keep the directory off the servers; only this command needs it. It is good for ten years.
    Exit status 4: there is one already.
    """
    cluster_id = cluster or session.config.cluster.id
    make_name(cluster_id, Role.ADMIN, "admin")
    if is_authority(ca):
        raise AlreadyExists(f"{ca} holds an authority already; tls rotate renews it")
    if not dry_run:
        create(ca, cluster_id, now())
    what = "would make" if dry_run else "made"
    lines = [f"{what} the authority of cluster {cluster_id} in {ca}; keep {ca} secret and safe"]
    tell(session, TlsChange(str(ca), cluster_id, not dry_run, what="authority"), lines)


@click.command(
    "issue",
    cls=Verb,
    examples="""
    gfsctl admin tls issue m1 --role master --host m1.example --host 10.0.0.1 --out m1/tls
    gfsctl admin tls issue ann --role admin --out ~/.config/gfs-ha/tls   # an operator
    gfsctl admin tls issue cs7 --role chunkserver --csr cs7/request.pem --out cs7
    """,
)
@click.argument("name", metavar="NAME")
@role_option(required=True)
@_host_option
@click.option("--csr", metavar="FILE", help="Sign this request: the key stays where it was made.")
@_out_option
@click.option(
    "--days",
    type=click.IntRange(1, CERTIFICATE_DAYS_MAX),
    default=CERTIFICATE_DAYS_DEFAULT,
    show_default=True,
    help="How long it is good.",
)
@ca_option
@dry_run_option
@pass_session
def issue(
    session: Session,
    name: str,
    role: Role,
    hosts: tuple[str, ...],
    csr: str | None,
    out: Path,
    days: int,
    ca: Path,
    dry_run: bool,
) -> None:
    """Issue a certificate: with a new key in DIR, or for a request that `tls request` made.

    A process that runs with DIR takes the new one over within seconds. Exit status 4: DIR is
    somebody else's.
    """
    if is_authority(out):
        raise UsageError(f"{out} is an authority's directory; give each node one of its own")
    with opened(ca) as authority:
        wanted = make_name(authority.cluster, role, name)
        asked = None
        if csr is not None:
            asked = _read_request(Path(csr), wanted, hosts)
            hosts = asked.hosts
        _check_hosts(wanted, hosts)
        _check_directory(out, wanted)
        if not dry_run:
            issued = _issue(authority, wanted, hosts, asked, out, days)
    what = "would issue" if dry_run else "issued"
    reached = f" at {', '.join(hosts)}" if hosts else ""
    lines = [f"{what} a certificate of {wanted}{reached} for {days} days, in {out}"]
    if csr is not None and not dry_run:
        lines.append(f"copy {out}/*.pem to where the key was made")
    items = () if dry_run else (row_of(issued),)
    tell(session, TlsChange(str(out), wanted.cluster, not dry_run, items, "certificate"), lines)


@click.command(
    "request",
    cls=Verb,
    examples="""
    gfsctl admin tls request cs7 --role chunkserver --host cs7.example --out /etc/gfs-ha/tls
    gfsctl admin tls request cs7 --role chunkserver --host cs7.example --out DIR --same-key
    """,
)
@click.argument("name", metavar="NAME")
@role_option(required=True)
@_host_option
@_out_option
@_cluster_option
@click.option("--same-key", is_flag=True, help="Ask again for the key that is there.")
@dry_run_option
@pass_session
def request_one(
    session: Session,
    name: str,
    role: Role,
    hosts: tuple[str, ...],
    out: Path,
    cluster: str | None,
    same_key: bool,
    dry_run: bool,
) -> None:
    """Make a key on the node that will use it, and a request to sign; the key never leaves it.

    Take DIR/request.pem to the authority (`tls issue --csr`) and bring back what it gives. Exit
    status 4: there is a key already.
    """
    wanted = make_name(cluster or session.config.cluster.id, role, name)
    _check_hosts(wanted, hosts)
    _check_directory(out, wanted)
    if not same_key:
        files.refuse_existing(out / files.KEY, "--same-key asks again for it")
    if not dry_run:
        ask(wanted, hosts, out, same_key)
    what = "would make" if dry_run else "made"
    lines = [f"{what} a request of {wanted} in {out}/{files.REQUEST}; now sign it: tls issue --csr"]
    tell(session, TlsChange(str(out), wanted.cluster, not dry_run, what="request"), lines)


def _issue(
    authority: Authority,
    wanted: PeerName,
    hosts: tuple[str, ...],
    asked: Asked | None,
    out: Path,
    days: int,
) -> PeerCertificate:
    """Sign what was asked for, or make a key; return the certificate."""
    authority.renew_lists(now())
    if asked is None:
        enrol(authority, wanted, hosts, out, now(), days)
    else:
        answer(authority, asked, out, now(), days)
    where = out / files.CERTIFICATE
    return describe(load_certificate(files.read(where), where))


def _read_request(csr: Path, wanted: PeerName, hosts: tuple[str, ...]) -> Asked:
    """Return what a request asks for. Raises: UsageError when that is something else."""
    asked = read_request(files.read(csr), csr)
    if asked.name != wanted:
        raise UsageError(
            f"{csr} asks for {asked.name.uri}, not for {wanted.uri}: whose request is it?"
        )
    if hosts and set(hosts) != set(asked.hosts):
        raise UsageError(
            f"{csr} asks for {', '.join(asked.hosts) or 'no host'}: ask anew for others"
        )
    return asked


def _check_hosts(wanted: PeerName, hosts: tuple[str, ...]) -> None:
    if wanted.role in SERVING and not hosts:
        raise UsageError(f"{wanted} is dialled by others: give its --host")
    alternatives(wanted, hosts)


def _check_directory(out: Path, wanted: PeerName) -> None:
    """Raises: AlreadyExists when the directory is that of somebody else."""
    where = out / files.CERTIFICATE
    if not where.exists():
        return
    there = describe(load_certificate(files.read(where), where)).name
    if there != wanted:
        raise AlreadyExists(f"{out} is the directory of {there.uri}, not of {wanted.uri}")

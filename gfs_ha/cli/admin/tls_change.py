"""`gfsctl admin tls trust|rotate|revoke`: who is trusted, and who is not any more."""

from __future__ import annotations

from pathlib import Path

import click

from gfs_ha.cli.admin.dry_run import dry_run_option
from gfs_ha.cli.admin.tls import TlsChange, ca_option, now, role_option, row_of, tell
from gfs_ha.cli.session import Session, pass_session
from gfs_ha.cli.units import count_text
from gfs_ha.cli.verb import Verb
from gfs_ha.errors import AlreadyExists, NotFound, PreconditionFailed, UsageError
from gfs_ha.pki import files
from gfs_ha.pki.authority import Authority, Issued, is_authority, opened
from gfs_ha.pki.certificates import describe, load_certificate
from gfs_ha.pki.enrolment import give_trust
from gfs_ha.pki.names import Role

_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
_NAMED_MAX = 10


@click.command(
    "trust",
    cls=Verb,
    examples="""
    gfsctl admin tls trust m1/tls m2/tls m3/tls    # after each revoke and rotate
    gfsctl admin tls trust /mnt/gfs/tls -n         # which files would be written
    """,
)
@click.argument("directories", metavar="DIR...", nargs=-1, required=True)
@ca_option
@dry_run_option
@pass_session
def trust(session: Session, directories: tuple[str, ...], ca: Path, dry_run: bool) -> None:
    """Write into TLS directories whom to trust and what is revoked; keys stay as they are.

    The list of what is revoked is signed anew, for 30 days: do this at least once a month. A
    process that runs with a directory takes it over within seconds. Exit status 4: a DIR is that
    of another cluster.
    """
    places = [Path(one).expanduser() for one in directories]
    for place in places:
        if is_authority(place):
            raise UsageError(f"{place} is an authority's directory; give those of nodes")
        if not place.is_dir():
            raise NotFound(f"{place} is no directory; tls issue makes those of nodes")
    with opened(ca) as authority:
        for place in places:  # All of them before the first is written.
            _check_cluster(place, authority.cluster)
        if not dry_run:
            authority.renew_lists(now())
            for place in places:
                give_trust(authority, place)
        for place in places:
            if not (place / files.CERTIFICATE).exists() and not (place / files.KEY).exists():
                session.warn(
                    f"{place} holds no certificate and no key: a process that runs elsewhere"
                    " hears nothing of it; give the directory that [security] names"
                )
        count = count_text(1 if authority.previous is None else 2, "authority", "authorities")
        cluster = authority.cluster
    what = "would write" if dry_run else "wrote"
    lines = [
        f"{what} {place}/{files.TRUSTED} ({count}) and {files.REVOKED}; it is good for 30 days"
        for place in places
    ]
    tell(session, TlsChange(str(ca), cluster, not dry_run, what="trust"), lines)


@click.command(
    "rotate",
    cls=Verb,
    examples="""
    gfsctl admin tls rotate               # 1. a new authority; both are trusted
    gfsctl admin tls trust m1/tls …       # 2. tell every node, before it meets a new certificate
    gfsctl admin tls issue m1 …           # 3. new certificates for all
    gfsctl admin tls rotate --finish      # 4. the old one is trusted no more; trust once again
    """,
)
@click.option("--finish", is_flag=True, help="Trust the old authority no more.")
@_yes_option
@ca_option
@dry_run_option
@pass_session
def rotate(session: Session, finish: bool, yes: bool, ca: Path, dry_run: bool) -> None:
    """Put a new authority in the old one's place, in steps that nobody notices.

    Exit status 4: a rotation is under way already, or none; with --finish: certificates of the old
    authority are still in use (-y shuts them out).
    """
    with opened(ca) as authority:
        left = authority.outdated(now()) if finish else []
        lines = _finish(authority, left, yes, dry_run) if finish else _rotate(authority, dry_run)
        cluster = authority.cluster
    rows = tuple(row_of(one.certificate, "old authority") for one in left)
    tell(session, TlsChange(str(ca), cluster, not dry_run, rows, "rotation"), lines)


@click.command(
    "revoke",
    cls=Verb,
    examples="""
    gfsctl admin tls revoke ann                   # all certificates of that name; asks
    gfsctl admin tls revoke 3fa91c… -y            # one, by its serial
    gfsctl admin tls revoke cs7 --role chunkserver -n   # which ones that would be
    """,
)
@click.argument("name", metavar="NAME|SERIAL")
@role_option(required=False)
@_yes_option
@ca_option
@dry_run_option
@pass_session
def revoke(
    session: Session, name: str, role: Role | None, yes: bool, ca: Path, dry_run: bool
) -> None:
    """Shut out who holds a certificate, for good; a new one can be issued under the name.

    It takes effect where the new list arrives (`tls trust`), there within seconds. Exit status 3:
    there is no such certificate.
    """
    with opened(ca) as authority:
        found = authority.find(name, role, now())
        rows = tuple(row_of(one.certificate, "revoked") for one in found)
        what = f"{count_text(len(found), 'certificate')} of {found[0].certificate.name}"
        if not dry_run:
            if not yes and not session.confirm(f"Revoke {what}, for good?"):
                raise PreconditionFailed("nothing was revoked")
            authority.revoke([one.certificate for one in found], now())
        cluster = authority.cluster
    lines = [f"would revoke {what}"]
    if not dry_run:
        lines = [
            f"revoked {what}",
            f"now give every node the new list: gfsctl admin tls trust DIR… (or copy {ca}"
            f"/{files.REVOKED} there)",
        ]
    tell(session, TlsChange(str(ca), cluster, not dry_run, rows, "revoked"), lines)


def _check_cluster(place: Path, cluster: str) -> None:
    """Raises: AlreadyExists when the directory is that of a node of another cluster."""
    where = place / files.CERTIFICATE
    if not where.exists():
        return
    there = describe(load_certificate(files.read(where), where)).name
    if there.cluster != cluster:
        raise AlreadyExists(
            f"{place} is the directory of {there.uri}, and this authority that of cluster"
            f" {cluster}: give --ca the one of {there.cluster}, or leave {place} out"
        )


def _rotate(authority: Authority, dry_run: bool) -> list[str]:
    if authority.previous is not None:
        raise PreconditionFailed(
            f"{authority.directory}: a rotation is under way; end it with tls rotate --finish"
        )
    issued = authority.issued()
    good = count_text(sum(one.in_use(issued, now()) for one in issued), "certificate")
    if dry_run:
        return [f"would make a new authority beside the old one; {good} would have to follow"]
    authority.rotate(now())
    return [
        "made a new authority; both are trusted until --finish",
        "next: tls trust for every node, then tls issue for all (tls status lists who is left:"
        f" {good})",
    ]


def _finish(authority: Authority, left: list[Issued], yes: bool, dry_run: bool) -> list[str]:
    if authority.previous is None:
        raise PreconditionFailed(f"{authority.directory}: no rotation is under way")
    names = [str(one.certificate.name) for one in left[:_NAMED_MAX]]
    if len(left) > _NAMED_MAX:
        names.append(f"{len(left) - _NAMED_MAX} more")
    if dry_run:
        what = f"; it would shut out {', '.join(names)}" if names else ""
        refused = ", and takes -y for that" if names and not yes else ""
        return [f"would trust the old authority no more{what}{refused}"]
    if names and not yes:
        use = "uses a certificate" if len(left) == 1 else "use certificates"
        raise PreconditionFailed(
            f"{', '.join(names)} still {use} of the old authority: issue new ones, or shut out"
            " with -y who has none"
        )
    authority.finish(now())
    return ["the old authority is trusted no more; now tls trust for every node"]

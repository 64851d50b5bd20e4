"""The certificates of a closed local cluster, from an authority that lies in its directory.

Each `up` sees to it that they have long to go. Who may read the directory of the authority is the
user who started the cluster: to others of this machine it is closed.
"""

from __future__ import annotations

import getpass
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gfs_ha import config
from gfs_ha.errors import ConfigError, UsageError
from gfs_ha.local.layout import Layout
from gfs_ha.local.member_text import HOST
from gfs_ha.pki import authority as authorities
from gfs_ha.pki import files
from gfs_ha.pki.certificates import describe, load_certificate, load_lists
from gfs_ha.pki.enrolment import enrol, give_trust
from gfs_ha.pki.names import PeerName, Role, make_name
from gfs_ha.pki.signing import CERTIFICATE_DAYS_MAX

_AUTHORITY = "ca"
_PLACE = "tls"
_LEFT_MIN = timedelta(days=60)  # Before the end of a certificate; health warns at 30.
_LIST_LEFT_MIN = timedelta(days=20)  # Of the list of what is revoked, which is good for 30.
_NOBODY = "operator"


def certify(layout: Layout) -> None:
    """Give every process, and who uses the cluster, what TLS takes; what is good stays.

    Nothing in a cluster that is not closed. Raises: ConfigError.
    """
    read = config.load(layout.client_config)
    if read.security != config.TLS:
        return
    now = datetime.now(UTC)
    where = layout.directory / _AUTHORITY
    if not authorities.is_authority(where):
        authorities.create(where, read.cluster.id, now)
    with authorities.opened(where) as authority:
        lists = load_lists(authority.lists_pem, where)
        ends = [one.next_update_utc for one in lists if one.next_update_utc is not None]
        renewed = not ends or min(ends) - now < _LIST_LEFT_MIN
        if renewed:
            authority.renew_lists(now)
        for name, hosts, place in _everybody(layout, read.cluster.id):
            if not _good(place, now):
                enrol(authority, name, hosts, place, now, CERTIFICATE_DAYS_MAX)
            elif renewed:
                give_trust(authority, place)


def forget(layout: Layout) -> None:
    """Remove the authority and what its user shows; the processes' files lie in their homes."""
    for name in (_AUTHORITY, _PLACE):
        shutil.rmtree(layout.directory / name, ignore_errors=True)


def _everybody(layout: Layout, cluster: str) -> Iterator[tuple[PeerName, tuple[str, ...], Path]]:
    yield _user(cluster), (), layout.directory / _PLACE
    for home in layout.homes():
        yield make_name(cluster, Role(home.role), home.name), (HOST,), home.directory / _PLACE


def _user(cluster: str) -> PeerName:
    """Return who works with the cluster: the user of this machine, as an administrator."""
    try:
        return make_name(cluster, Role.ADMIN, getpass.getuser())
    except (UsageError, KeyError, OSError):
        return make_name(cluster, Role.ADMIN, _NOBODY)


def _good(place: Path, now: datetime) -> bool:
    where = place / files.CERTIFICATE
    try:
        if not (place / files.KEY).exists():
            return False
        return describe(load_certificate(files.read(where), where)).expires - now >= _LEFT_MIN
    except ConfigError:
        return False

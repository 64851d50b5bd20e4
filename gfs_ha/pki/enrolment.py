"""How a node gets its TLS directory: a key made there, a certificate for it, whom to trust."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from gfs_ha.errors import ConfigError
from gfs_ha.pki import files
from gfs_ha.pki.authority import Authority
from gfs_ha.pki.certificates import load_key
from gfs_ha.pki.names import PeerName
from gfs_ha.pki.requests import Asked, key_pem, make_key, make_request
from gfs_ha.pki.signing import CERTIFICATE_DAYS_DEFAULT


def enrol(
    authority: Authority,
    name: PeerName,
    hosts: Sequence[str],
    out: Path,
    now: datetime,
    days: int = CERTIFICATE_DAYS_DEFAULT,
) -> None:
    """Fill a TLS directory on the authority's own machine: a new key and all that belongs to it.

    What was there is replaced; a process that uses it takes the new files over while it runs.
    Raises: UsageError, LimitExceeded, ConfigError.
    """
    key = make_key()
    # First: where this cannot be written nothing is signed that nobody would ever hold.
    give_trust(authority, out)
    certificate = authority.issue(key.public_key(), name, hosts, now, days)
    files.write_secret(out / files.KEY, key_pem(key))
    files.write_public(out / files.CERTIFICATE, certificate)


def give_trust(authority: Authority, out: Path) -> None:
    """Write down whom a node trusts and what is revoked. Raises: ConfigError."""
    files.make_directory(out)
    files.write_public(out / files.TRUSTED, authority.trusted_pem)
    files.write_public(out / files.REVOKED, authority.lists_pem)


def ask(name: PeerName, hosts: Sequence[str], out: Path, same_key: bool = False) -> None:
    """Make a key on the node that will use it, or take the one there, and the request to sign.

    Raises: UsageError, ConfigError.
    """
    files.make_directory(out)
    where = out / files.KEY
    key = load_key(files.read_secret(where), where) if same_key else make_key()
    files.write_public(out / files.REQUEST, make_request(key, name, hosts))
    if same_key:
        return
    try:
        # Last: a process may run with the one that is there.
        files.write_secret(where, key_pem(key))
    except ConfigError:
        files.remove(out / files.REQUEST)
        raise


def answer(
    authority: Authority,
    asked: Asked,
    out: Path,
    now: datetime,
    days: int = CERTIFICATE_DAYS_DEFAULT,
) -> None:
    """Sign a request as it was read. The key stays where it was made.

    What is signed is what was read and judged, and not what its file says by now.
    Raises: UsageError, LimitExceeded, ConfigError.
    """
    give_trust(authority, out)  # First, as in `enrol`.
    certificate = authority.issue(asked.key, asked.name, asked.hosts, now, days)
    files.write_public(out / files.CERTIFICATE, certificate)

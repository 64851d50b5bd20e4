"""What there is to say about certificates before they stop somebody: how long, whose, revoked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from gfs_ha.pki.certificates import WARN_BEFORE, Authorities, days_left, key_id
from gfs_ha.pki.peers import PeerCertificate, Revocations

LIST_WARN_BEFORE = timedelta(days=7)
_DAY = timedelta(days=1)


def troubles(
    own: PeerCertificate | None, authorities: Authorities, revocations: Revocations, now: datetime
) -> Iterator[str]:
    """Yield what a person should do something about, each as one sentence."""
    if own is not None:
        yield from certificate_troubles(own, revocations, now)
        if own.authority != key_id(authorities.certificates[0]):
            yield f"the certificate of {own.name} is of the old authority: issue a new one"
    for one in authorities.certificates:
        ends = one.not_valid_after_utc
        if ends - now < WARN_BEFORE:
            yield f"authority {key_id(one).hex()[:16]} {ending(ends, now)}: rotate it"
    yield from list_troubles(revocations, now)


def certificate_troubles(
    one: PeerCertificate, revocations: Revocations, now: datetime
) -> Iterator[str]:
    """Yield what is wrong with one certificate."""
    if revocations.has(one):
        yield f"the certificate of {one.name} is revoked"
    elif one.expires - now < WARN_BEFORE:
        yield f"the certificate of {one.name} {ending(one.expires, now)}: issue a new one"


def list_troubles(revocations: Revocations, now: datetime) -> Iterator[str]:
    """Yield what is wrong with the lists of revoked certificates."""
    if revocations.expires is None:
        yield "there is no list of revoked certificates (crl.pem): nobody can be locked out"
    elif revocations.expires - now < LIST_WARN_BEFORE:
        how = ending(revocations.expires, now)
        yield f"the list of revoked certificates {how}: give out a new one (tls trust)"


def ending(expires: datetime, now: datetime) -> str:
    """Return how near the end is, in words: `runs out in 12 days`, `has run out 3 days ago`."""
    if expires <= now:
        return f"has run out {_days((now - expires) // _DAY)} ago"
    return f"runs out in {_days(days_left(expires, now))}"


def _days(count: int) -> str:
    return "less than a day" if count < 1 else "1 day" if count == 1 else f"{count} days"

"""What certificates say of the health of a cluster: whose end is near, and what is not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gfs_ha.master.quorum import WARNING
from gfs_ha.protocol.reports import Finding

WARN_DAYS = 30
LIST_WARN_DAYS = 7
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """Until when a certificate is good; `subject` is the server or master whose it is, if any."""

    whose: str
    until_ms: int  # Wall time.
    subject: str = ""


@dataclass(frozen=True, slots=True)
class TlsSymptoms:
    """What is known of the certificates of a cluster that has some."""

    ends: tuple[CertificateEnd, ...]
    list_until_ms: int  # Of the leader's list of revoked certificates; 0: it has none.


def certificate_findings(tls: TlsSymptoms | None, wall_ms: int) -> Iterator[Finding]:
    """Yield what ends soon or has ended; nothing without TLS."""
    if tls is None:
        return
    for one in sorted(tls.ends, key=lambda end: (end.until_ms, end.whose)):
        if one.until_ms - wall_ms < WARN_DAYS * _DAY_MS:
            new = "rotate it" if not one.subject else f"issue {one.subject} a new one"
            yield Finding(
                "CERT_EXPIRES",
                WARNING,
                f"{one.whose} {_ending(one.until_ms, wall_ms)}; nobody believes it then",
                f"{new}: gfsctl admin tls {'issue' if one.subject else 'rotate'} --help; running"
                " processes take new files over by themselves",
                subject=one.subject,
                facts=(("days left", str((one.until_ms - wall_ms) // _DAY_MS)),),
            )
    if tls.list_until_ms - wall_ms < LIST_WARN_DAYS * _DAY_MS:
        how = "is not there"
        if tls.list_until_ms:
            how = _ending(tls.list_until_ms, wall_ms)
        yield Finding(
            "CRL_EXPIRES",
            WARNING,
            f"the leader's list of revoked certificates {how}: what was revoked since is not known",
            "give every node a new one: gfsctl admin tls trust DIR..., at least once a month",
        )


def _ending(until_ms: int, wall_ms: int) -> str:
    days = abs(until_ms - wall_ms) // _DAY_MS
    count = "less than a day" if not days else "1 day" if days == 1 else f"{days} days"
    return f"runs out in {count}" if until_ms > wall_ms else f"has run out {count} ago"

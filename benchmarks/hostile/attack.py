"""What an attack is: something that is tried on a port, and how its daemon is to tell of it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hostile.peer import Address


@dataclass(frozen=True)
class Gang:
    """What the attackers have: certificates, good and bad, and the names of the cluster."""

    cluster: str
    known: dict[str, ssl.SSLContext]  # Of this cluster and genuine, by role.
    strangers: dict[str, ssl.SSLContext]  # That no port may let in, by what is wrong with them.


@dataclass(frozen=True)
class Target:
    """One port of one daemon."""

    name: str
    daemon: str
    address: Address
    gang: Gang
    member: str = ""  # Its name among the masters, where it is a port for members.


@dataclass(frozen=True)
class Told:
    """How a daemon tells of an attack: counters that grow together by each try, a line, or both."""

    counters: tuple[str, ...] = ()  # Names of series, without labels or with some of them.
    line: str = ""  # A regular expression.


@dataclass(frozen=True)
class Attack:
    """Args: `run` returns what the attacker saw. Raises: NotRefused when he got what he wanted."""

    name: str
    run: Callable[[Target], str]
    told: Told
    tries: int = 1
    quick: bool = True  # Is tried in the short run, too.
    rss_mib_max: float = 32.0  # What the daemon may have more after it than before.


@dataclass
class Row:
    """One line of the table."""

    attack: str
    port: str
    daemon: str
    tries: int
    seen: str
    told: str
    rss_mib: tuple[float, float]
    descriptors: tuple[int, int]
    took_s: float
    wrong: list[str] = field(default_factory=list)


def seen_of(ends: list[str]) -> str:
    """Return the different ends of several tries in a few words."""
    return ", ".join(dict.fromkeys(ends))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, in the order of their ports."""
    lines = ["| port | tried | tries | seen | told by | MiB | descriptors | |", "|---" * 8 + "|"]
    for row in sorted(rows, key=lambda one: one.port):
        mib = f"{row.rss_mib[0]:.0f} → {row.rss_mib[1]:.0f}"
        held = f"{row.descriptors[0]} → {row.descriptors[1]}"
        verdict = "; ".join(row.wrong).replace("|", "/") or "ok"
        cells = (row.port, row.attack, str(row.tries), row.seen, row.told, mib, held, verdict)
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


# Whom no port lets in: what is wrong with a certificate, and the reason in the log.
STRANGERS = {
    "no certificate": "shows no certificate",
    "expired": "expired",
    "revoked": "is revoked",
    "another authority": "not good",
    "another cluster": "is for cluster 'cluster-2'",
    "TLS 1.2": "offers no TLS 1.3",
}
OTHER_CLUSTER = "cluster-2"

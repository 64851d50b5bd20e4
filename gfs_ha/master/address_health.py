"""What addresses say of the health of a cluster: who tells one that is each machine's own.

Nobody is dialled for it: what servers told and where masters are is all that is looked at. So two
hosts besides have to be known before anything is said: with one all may be a single machine, where
its own addresses do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gfs_ha.master.quorum import WARNING
from gfs_ha.net.sockets import format_address
from gfs_ha.protocol.reports import Finding, ServerRow

_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
_HOSTS_MIN = 2  # Besides, that are no machine's own.
_LISTED_MAX = 8


def address_findings(
    masters: Iterable[str], servers: Sequence[ServerRow], listening: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield the servers that no other machine finds.

    Args: `masters` are the hosts of all of them; `listening` is where servers listen, by name and
    in numbers: that of which the own name is an address of loopback is not found either.
    """
    lost = {one.name: _own_address(one, listening.get(one.name, "")) for one in servers}
    told = {*masters, *(one.host for one in servers if not lost[one.name])}
    hosts = {host for host in told if host and not _is_own(host)}  # Empty: nobody told it yet.
    if len(hosts) < _HOSTS_MIN:
        return
    listed = sorted(hosts)
    for server in servers:
        if server.state != "dead" and lost[server.name]:
            yield _finding(server, lost[server.name], listed)


def _own_address(server: ServerRow, listening: str) -> str:
    """Return at which address of its own machine alone a server is found; empty for none."""
    return next((one for one in (server.host, listening) if _is_own(one)), "")


def _is_own(host: str) -> bool:
    """Return whether an address means to each machine itself; to dial no address does, too."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() in _NAMES
    return address.is_loopback or address.is_unspecified


def _finding(server: ServerRow, own: str, others: Sequence[str]) -> Finding:
    where = format_address((server.host, server.port))
    said = f"chunkserver {server.name} tells everybody to dial {where}"
    if own == server.host:
        why = f"{said}, which is each machine's own"
        advice = (
            f"say in its file under [chunkserver] listen an address of its network, as {others[0]}"
            " is, and restart it (other machines reach it with security mode tls, or none and"
            " --insecure)"
        )
    else:
        why = f"{said}, and listens at {own}, which is what {server.host} is on its machine"
        advice = (
            f"take {server.host} out of the line of /etc/hosts there that begins with {own}, or say"
            " in its file under [chunkserver] listen an address of its network; restart it"
        )
    more = len(others) - _LISTED_MAX
    return Finding(
        "SERVER_ADDRESS",
        WARNING,
        f"{why}: no other machine finds it there",
        advice,
        subject=server.name,
        facts=(
            ("address", where),
            ("listens at", own),
            ("rack", server.rack),
            ("machine", server.machine),
            ("replicas by the tables", f"{server.replica_count:,}"),
            ("hosts of others", ", ".join(others[:_LISTED_MAX]) + f" and {more} more" * (more > 0)),
        ),
    )

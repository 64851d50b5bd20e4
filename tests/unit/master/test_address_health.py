"""Chunkservers whose address means another machine to whoever is told it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from test_health import RAFT, WELL, server

from gfs_ha.master.health import examine
from gfs_ha.master.raft.contract import MemberStatus
from gfs_ha.master.raft.members import Addresses
from gfs_ha.protocol.reports import Finding

OWN = ["127.0.0.1", "127.0.1.1", "::1", "localhost", "Localhost", "0.0.0.0", "::"]


def found(
    masters: tuple[str, ...],
    servers: tuple[str, ...],
    listening: tuple[str, ...] = (),
    **changes: object,
) -> list[Finding]:
    """Return what is said of servers that tell these hosts, where masters have those.

    Args: `listening` is where these servers listen, in numbers.
    """
    members = tuple(
        MemberStatus(f"m{number}", True, Addresses((host, 7103), (host, 7003)))
        for number, host in enumerate(masters, start=1)
    )
    rows = tuple(
        server(number, host=host, port=7002, **changes)
        for number, host in enumerate(servers, start=1)
    )
    raft = msgspec.structs.replace(RAFT, members=members)
    told = {row.name: one for row, one in zip(rows, listening, strict=False)}
    report = examine(replace(WELL, raft=raft, servers=rows, listening=told))
    return [one for one in report.items if one.code == "SERVER_ADDRESS"]


@pytest.mark.parametrize("own", OWN)
def test_a_server_that_tells_the_own_address_of_each_machine_is_found(own: str) -> None:
    [one] = found(("10.0.0.1", "10.0.0.2", "10.0.0.3"), (own, "10.0.0.5", "10.0.0.6"))
    assert (one.severity, one.subject) == ("warning", "cs1")
    where = f"[{own}]:7002" if ":" in own else f"{own}:7002"
    assert one.message == (
        f"chunkserver cs1 tells everybody to dial {where}, which is each machine's own: no other"
        " machine finds it there"
    )
    assert one.advice == (
        "say in its file under [chunkserver] listen an address of its network, as 10.0.0.1 is, and"
        " restart it (other machines reach it with security mode tls, or none and --insecure)"
    )
    assert ("address", where) in one.facts
    assert ("hosts of others", "10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.5, 10.0.0.6") in one.facts


@pytest.mark.parametrize(
    ("masters", "servers"),
    [
        (("127.0.0.1",) * 3, ("127.0.0.1",) * 3),
        (("localhost", "127.0.0.1", "::1"), ("127.0.0.1", "localhost", "0.0.0.0")),
        (("192.168.7.7",) * 3, ("127.0.0.1", "127.0.0.2", "localhost")),
        (("192.168.7.7",) * 3, ("127.0.0.1", "192.168.7.7", "127.0.0.1")),
        (("192.168.7.7", "", ""), ("127.0.0.1", "127.0.0.1")),
        (("10.0.0.1", "10.0.0.2", "10.0.0.3"), ("10.0.0.5", "cs2.example", "fd00::7")),
    ],
    ids=["loopback", "its names", "masters on the network", "one machine", "not told", "a network"],
)
def test_one_machine_and_a_network_have_none(
    masters: tuple[str, ...], servers: tuple[str, ...]
) -> None:
    """All of it may be one machine, where its own addresses do: nobody can tell from here."""
    assert found(masters, servers) == []


def test_two_hosts_besides_are_two_machines_whosever_they_are() -> None:
    for masters, servers in (
        (("10.0.0.1", "10.0.0.2"), ("127.0.0.1",)),
        (("10.0.0.1",), ("127.0.0.1", "10.0.0.5")),
        (("127.0.0.1",), ("127.0.0.1", "10.0.0.5", "cs3.example")),
    ):
        assert [one.subject for one in found(masters, servers)] == ["cs1"], masters


def test_all_that_tell_such_addresses_are_named_but_none_that_is_dead() -> None:
    masters = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    said = found(masters, ("127.0.0.1", "10.0.0.5", "localhost"))
    assert [one.subject for one in said] == ["cs1", "cs3"]
    assert [one.subject for one in found(masters, ("127.0.0.1",), state="suspect")] == ["cs1"]
    assert found(masters, ("127.0.0.1",), state="dead") == [], "SERVER_DEAD is said of it"


def test_many_hosts_are_not_all_listed() -> None:
    hosts = tuple(f"10.0.1.{number}" for number in range(200))
    [one] = found(hosts[:3], ("127.0.0.1", *hosts))
    facts = dict(one.facts)
    assert facts["hosts of others"] == f"{', '.join(sorted(hosts)[:8])} and 192 more"


@pytest.mark.parametrize("own", ["127.0.1.1", "::1"])
def test_a_server_whose_name_is_its_own_address_on_its_machine_is_found(own: str) -> None:
    """Debian's installer writes the name of a machine beside 127.0.1.1 into its /etc/hosts."""
    masters, servers = ("10.0.0.1", "10.0.0.2"), ("cs1.example", "cs2.example", "10.0.0.5")
    [one] = found(masters, servers, (own, "10.0.0.7", "10.0.0.5"))
    assert (one.severity, one.subject) == ("warning", "cs1")
    assert one.message == (
        "chunkserver cs1 tells everybody to dial cs1.example:7002, and listens at"
        f" {own}, which is what cs1.example is on its machine: no other machine finds it there"
    )
    assert one.advice == (
        "take cs1.example out of the line of /etc/hosts there that begins with"
        f" {own}, or say in its file under [chunkserver] listen an address of its network; restart"
        " it"
    )
    assert ("listens at", own) in one.facts
    assert ("hosts of others", "10.0.0.1, 10.0.0.2, 10.0.0.5, cs2.example") in one.facts


def test_names_that_are_one_machine_have_none() -> None:
    assert found(("box",) * 3, ("box", "127.0.0.1", "box"), ("127.0.1.1",) * 3) == []
    assert found(("box",) * 3, ("cs1", "cs2", "cs3"), ("127.0.1.1",) * 3) == []
    assert found(("10.0.0.1", "10.0.0.2"), ("cs1",), ("",)) == [], "a server of an older release"

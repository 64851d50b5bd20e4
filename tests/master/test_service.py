"""What three masters promise their clients: names, exactly once, going on without the leader."""

from __future__ import annotations

import pytest
from trio import CALL_S, CLUSTER, Client, Trio, wait_until

from gfs_ha.errors import GfsError, ProtocolError, WrongCluster
from gfs_ha.limits import PROTOCOL_VERSION, REQUESTS_PER_CALL_MAX
from gfs_ha.net.network import Caller
from gfs_ha.net.network import Hello as Greeting
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.protocol.calls import SERVE_METHOD, Asked, CallContext, CallReply
from gfs_ha.protocol.codec import Failure, Hello, decode, encode
from gfs_ha.protocol.metadata import (
    CloseSession,
    Done,
    ListDirectory,
    Listing,
    Mkdir,
    Publish,
    PublishFile,
    Remove,
    Renew,
    Stat,
)
from gfs_ha.protocol.reports import (
    GetHealth,
    GetMasterFacts,
    GetMasters,
    GetStatus,
    MasterFacts,
)


def names(client: Client, path: str) -> list[str]:
    listing = client.ask(ListDirectory(path))
    assert isinstance(listing, Listing), listing
    return [entry.name for entry in listing.entries]


def dial(trio: Trio, name: str, cluster: str = CLUSTER, version: int = PROTOCOL_VERSION) -> Caller:
    """Return a connection to one master, whoever leads."""
    [master] = [master for master in trio.masters if master.name == name]

    def accept(answer: bytes) -> None:
        if b"failure" in answer[:16]:
            raise decode(Failure, answer).raised()

    hello = Hello(cluster, version, "client", "tester")
    network = TcpNetwork(trio.runtime)
    caller = network.dial((master.host, master.port), Greeting(encode(hello), accept), CALL_S)
    trio.at_close(caller.close)
    return caller


def call(caller: Caller, *asked: Asked, deadline_s: float = CALL_S) -> CallReply:
    context = encode(CallContext(int(deadline_s * 1000)))
    answer = caller.call(SERVE_METHOD, context, encode(asked), CALL_S)
    if answer[1:9].endswith(b"failure"):
        raise decode(Failure, answer).raised()
    return decode(CallReply, answer)


def test_a_directory_that_was_made_is_listed(guest: Client) -> None:
    assert guest.ask(Mkdir("/made")).kind == "directory"
    assert "made" in names(guest, "/")
    assert guest.ask(Stat("/made")).kind == "directory"


def test_a_read_sees_every_change_that_was_acknowledged_before_it(guest: Client) -> None:
    for number in range(100):
        guest.ask(Mkdir(f"/d{number}"))
        assert guest.ask(Stat(f"/d{number}")).kind == "directory"
        guest.ask(Remove(f"/d{number}"))
        missing = guest.ask(Stat(f"/d{number}"))
        assert isinstance(missing, Failure) and missing.error == "NotFound"


def test_many_requests_of_one_call_are_answered_in_order(guest: Client) -> None:
    guest.ask(Mkdir("/many"))
    asked = [guest.asked(Mkdir(f"/many/d{number:03}")) for number in range(100)]
    asked.insert(50, Asked(Stat("/missing")))
    replies = guest.send(*asked)
    assert isinstance(replies[50], Failure)
    assert all(reply.kind == "directory" for reply in replies[:50] + replies[51:])
    assert names(guest, "/many") == [f"d{number:03}" for number in range(100)]


def test_the_same_request_again_gets_the_same_answer_also_from_another_leader(
    trio: Trio, client: Client
) -> None:
    made = client.asked(Mkdir("/once"))
    first = client.send(made)
    assert client.send(made) == first
    trio.stop(trio.leader())
    assert client.send(made) == first


def test_the_cluster_goes_on_when_its_leader_stops(trio: Trio, client: Client) -> None:
    client.ask(Mkdir("/before"))
    stopped = trio.leader()
    trio.stop(stopped)
    client.ask(Mkdir("/after"))
    assert names(client, "/") == ["after", "before"]
    # A slow machine may have had more elections than the one that the stop asked for.
    led = {term.member for term in client.ask(GetMasters()).terms}
    assert stopped in led and len(led) > 1


def test_everything_is_there_after_all_masters_stopped(trio: Trio, client: Client) -> None:
    client.ask(Mkdir("/kept"))
    for name in list(trio.servers):
        trio.stop(name)
    trio.start()
    assert names(client, "/") == ["kept"]


def test_a_follower_names_the_leader_and_its_address(shared: Trio, guest: Client) -> None:
    callers = {name: dial(shared, name) for name in shared.servers}

    def told() -> bool:
        leader = shared.leader()
        [address] = [master for master in shared.masters if master.name == leader]
        replies = [
            call(caller, guest.asked(Mkdir("/b")))[0]
            for name, caller in callers.items()
            if name != leader
        ]
        if shared.leader() != leader:
            return False
        assert all(isinstance(one, Failure) and one.error == "NotLeader" for one in replies)
        named = {"leader": leader, "host": address.host, "port": address.port}
        return all(isinstance(one, Failure) and one.details == named for one in replies)

    wait_until(told, "the followers to name who leads")


def test_every_master_tells_its_facts(shared: Trio, guest: Client) -> None:
    callers = {name: dial(shared, name) for name in shared.servers}

    def roles() -> list[str]:
        told = []
        for name, caller in callers.items():
            [facts] = call(caller, Asked(GetMasterFacts()))
            assert isinstance(facts, MasterFacts)
            assert facts.name == name and facts.rss_bytes > 0 and facts.state_bytes > 0
            told.append(facts.role)
        return sorted(told)

    wait_until(lambda: roles() == ["follower", "follower", "leader"], "one of them to lead")


def test_without_a_majority_nothing_is_answered_wrongly(trio: Trio, client: Client) -> None:
    client.ask(Mkdir("/a"))
    leader = trio.leader()
    caller = dial(trio, leader)
    for name in set(trio.servers) - {leader}:
        trio.stop(name)
    [made] = call(caller, client.asked(Mkdir("/b")), deadline_s=2.0)
    assert isinstance(made, Failure) and made.error in ("UnknownOutcome", "NotLeader")
    [read] = call(caller, Asked(Stat("/a")), deadline_s=2.0)
    assert isinstance(read, Failure) and read.raised().exit_status in (5, 10)

    def told() -> str:
        [facts] = call(caller, Asked(GetMasterFacts()))
        assert isinstance(facts, MasterFacts)
        return facts.role

    # It no longer answers at once; what it tells of itself is looked at a moment later.
    wait_until(lambda: told() != "leader", "it says that it leads no more")


def test_another_cluster_is_refused(shared: Trio, guest: Client) -> None:
    with pytest.raises(WrongCluster, match="other"):
        dial(shared, shared.leader(), cluster="other")


@pytest.mark.parametrize("version", [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1])
def test_another_release_is_refused(shared: Trio, guest: Client, version: int) -> None:
    with pytest.raises(ProtocolError, match=f"speaks protocol {version}, .*same release on both"):
        dial(shared, shared.leader(), version=version)


def test_what_is_no_call_is_an_error_of_the_caller(shared: Trio, guest: Client) -> None:
    caller = dial(shared, shared.leader())
    context = encode(CallContext(1000))
    too_many = [Asked(Stat("/"))] * (REQUESTS_PER_CALL_MAX + 1)
    for method, body in (
        (SERVE_METHOD, b"\xc1"),
        (SERVE_METHOD, encode([])),
        (SERVE_METHOD, encode(too_many)),
        (9, encode([Asked(Stat("/"))])),
    ):
        answer = decode(Failure, caller.call(method, context, body, CALL_S))
        assert answer.error in ("ProtocolError", "LimitExceeded")
    assert call(caller, Asked(Stat("/")))[0].kind == "directory"  # type: ignore[union-attr]


def test_a_session_is_renewed_until_it_is_closed(guest: Client) -> None:
    assert guest.ask(Renew()) == Done()
    assert guest.ask(CloseSession()) == Done()
    gone = guest.ask(Renew())
    assert isinstance(gone, Failure) and gone.error == "SessionExpired"


def test_while_a_master_is_short_of_room_only_growth_is_refused(trio: Trio, client: Client) -> None:
    grown = client.asked(Mkdir("/full"))
    answer = client.send(grown)
    for server in trio.servers.values():
        server.raft.space_low_source = lambda: True
    wait_until(lambda: trio.servers[trio.leader()].raft.status().any_voter_low, "the news")
    empty = PublishFile("/new", 0, 0o644, 0)
    for request in (Mkdir("/other"), Publish((empty,))):
        refused = client.ask(request)
        assert isinstance(refused, Failure) and refused.error == "NoSpace"
    # What happened before is not called refused, and what shrinks goes on.
    assert client.send(grown) == answer
    assert client.ask(Remove("/full")).kind == "directory"
    codes = {finding.code for finding in client.ask(GetHealth()).items}
    assert "SPACE_LOW" in codes


def test_a_fresh_cluster_says_what_it_lacks(guest: Client) -> None:
    status = guest.ask(GetStatus())
    assert status.cluster_id == CLUSTER and status.chunk_count == 0
    assert not status.health.healthy

    def lacking() -> list[str]:
        return [finding.code for finding in guest.ask(GetStatus()).health.items]

    wait_until(lambda: lacking() == ["TOO_FEW_SERVERS"], "that to be all")


def test_a_master_that_is_gone_is_a_finding(trio: Trio, client: Client) -> None:
    lost = next(name for name in trio.servers if name != trio.leader())
    trio.stop(lost)

    def codes() -> set[str]:
        return {f.code for f in client.ask(GetHealth()).items if lost in f.message}

    wait_until(lambda: codes() == {"NO_QUORUM_MARGIN"}, "the finding")
    rows = {row.name: row.reachable for row in client.ask(GetMasters()).items}
    assert rows[lost] is False and list(rows.values()).count(True) == 2


def test_errors_are_told_as_codes(guest: Client) -> None:
    for request, code in (
        (Stat("/missing"), "NotFound"),
        (Stat("relative"), "InvalidPath"),
        (ListDirectory("/", limit=0), "InvalidArgument"),
        (Mkdir("/no/such/parent"), "NotFound"),
    ):
        reply = guest.ask(request)
        assert isinstance(reply, Failure) and reply.error == code, reply
        assert isinstance(reply.raised(), GfsError)

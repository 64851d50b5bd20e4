"""What a client's look at a cluster means, for every kind of trouble."""

from __future__ import annotations

import pytest

from gfs_ha.client.diagnosis import FAIL, OK, WARN, Check, diagnose
from gfs_ha.client.doctor import MasterSeen, Seen, ServerSeen
from gfs_ha.config import MasterAddress
from gfs_ha.errors import GfsError, Unreachable, WrongCluster
from gfs_ha.ids import ServerId
from gfs_ha.protocol.reports import MasterFacts, MemberPlace, ServerRow

MS = 1_000_000


def master(number: int, host: str = "10.0.0.1") -> MasterAddress:
    return MasterAddress(f"m{number}", host, 7000 + number, 7100 + number)


def facts(number: int, role: str = "follower", version: str = "1.0", **more: object) -> MasterFacts:
    members = tuple(MemberPlace(f"m{n}", "10.0.0.1", 7000 + n, 7100 + n) for n in (1, 2, 3))
    fields: dict[str, object] = {"members": members, "leader": "m1", "incarnation": 1, **more}
    numbers = dict.fromkeys(
        (
            *("commit_index", "applied_index", "last_index", "first_index", "log_bytes"),
            *("state_bytes", "map_bytes", "disk_free_bytes", "commit_p50_us", "commit_p99_us"),
            "rss_bytes",
        ),
        0,
    )
    return MasterFacts(
        name=f"m{number}",
        role=role,
        term=4,
        leader_age_ms=7_200_000,
        version=version,
        **{**numbers, **fields},  # type: ignore[arg-type]
    )


def well(number: int, role: str = "follower", offset_ns: int = 0, **more: object) -> MasterSeen:
    told = facts(number, role, **more)
    return MasterSeen(
        *(master(number), ("10.0.0.1",), MS, 2 * MS, told), offset_ns=offset_ns, error_ns=MS
    )


def silent(number: int, error: GfsError, connected: bool = False, named: bool = True) -> MasterSeen:
    addresses = ("10.0.0.1",) if named else ()
    return MasterSeen(master(number), addresses, MS if connected else -1, error=error)


def server(number: int, state: str = "live") -> ServerRow:
    return ServerRow(
        *(ServerId(number), f"cs{number}", "10.0.0.9", 9000 + number, "r1", "host", state),
        *(0.5, 1, 1, 1, 1, 1, 1, ()),
    )


def seen(*masters: MasterSeen, servers: list[ServerSeen] | None = None) -> Seen:
    return Seen(list(masters), servers, "" if servers is not None else "no master leads")


def all_well() -> Seen:
    servers = [ServerSeen(server(n), n * MS) for n in (1, 2, 3)]
    return seen(well(1, "leader"), well(2), well(3), servers=servers)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_when_all_is_well_every_check_says_what_it_saw() -> None:
    assert [(one.name, one.state, one.fact) for one in diagnose(all_well(), "1.0")] == [
        ("names", OK, "all resolve: m1 10.0.0.1, m2 10.0.0.1, m3 10.0.0.1"),
        ("masters", OK, "3 of 3 answer: m1 2.0 ms, m2 2.0 ms, m3 2.0 ms"),
        ("cluster", OK, "id and protocol agree with all that answer"),
        ("leader", OK, "m1, in term 4, for 2 h"),
        ("members", OK, "the configuration names the masters that there are"),
        ("chunkservers", OK, "3 of 3 answer, in 2.0 ms (at most 3.0 ms)"),
        ("versions", OK, "client and masters are 1.0"),
        (
            *("clocks", OK),
            "against this machine: m1 +0.0 ms ± 1.0 ms, m2 +0.0 ms ± 1.0 ms, m3 +0.0 ms ± 1.0 ms",
        ),
    ]


def test_nothing_reachable_fails_without_repeating_itself() -> None:
    refused = [
        silent(n, Unreachable(f"10.0.0.1:{7000 + n} cannot be reached: Connection refused"))
        for n in (1, 2, 3)
    ]
    checks = by_name(diagnose(seen(*refused), "1.0"))
    assert checks["masters"] == Check(
        "masters",
        FAIL,
        "0 of 3 answer; m1 (10.0.0.1:7001), m2 (10.0.0.1:7002), m3 (10.0.0.1:7003): "
        "cannot be reached: Connection refused",
        "start them, or open their ports in the firewalls between",
    )
    assert checks["leader"].state == FAIL
    assert checks["chunkservers"].state == WARN
    assert {"versions", "clocks", "members", "cluster"}.isdisjoint(checks)


def test_another_cluster_is_told_by_the_cluster_check() -> None:
    error = WrongCluster("this is a master of cluster b, not of a")
    checks = by_name(diagnose(seen(*(silent(n, error, True) for n in (1, 2, 3))), "1.0"))
    assert checks["cluster"].state == FAIL
    assert checks["cluster"].fact == "m1, m2, m3: this is a master of cluster b, not of a"
    assert checks["masters"].next_step == "see cluster"


@pytest.mark.parametrize(("lost", "state"), [(1, WARN), (2, FAIL)])
def test_a_minority_that_is_silent_is_a_warning(lost: int, state: str) -> None:
    error = Unreachable("master m3 did not answer in 1 s: is it running?")
    masters = [well(n, "leader" if n == 1 else "follower") for n in range(1, 4 - lost)]
    masters += [silent(n, error, True) for n in range(4 - lost, 4)]
    check = by_name(diagnose(seen(*masters, servers=[]), "1.0"))["masters"]
    assert check.state == state
    assert "the port is open, but" in check.fact
    assert check.next_step.startswith("look at their logs")
    assert "[security]" in check.next_step, "a closed cluster resets who shows no certificate"


def test_names_that_do_not_resolve_are_told_once() -> None:
    lost = [
        MasterSeen(
            master(n, "nowhere"), error=Unreachable(f"nowhere:{7000 + n} cannot be resolved: no")
        )
        for n in (1, 2, 3)
    ]
    checks = by_name(diagnose(seen(*lost), "1.0"))
    assert checks["names"].fact == "nowhere: cannot be resolved: no"
    assert (checks["names"].state, checks["masters"].next_step) == (FAIL, "see names")


def test_nobody_leads_with_the_troubles_of_those_that_answer() -> None:
    masters = [well(n, leader="", trouble="disk full" if n == 2 else "") for n in (1, 2, 3)]
    leader = by_name(diagnose(seen(*masters), "1.0"))["leader"]
    assert (leader.state, leader.fact) == (FAIL, "nobody leads; disk full")


def test_a_leader_out_of_our_reach_is_named() -> None:
    masters = [silent(1, Unreachable("no")), well(2), well(3)]
    leader = by_name(diagnose(seen(*masters), "1.0"))["leader"]
    assert leader.state == FAIL and leader.fact.startswith("m1 leads, by the word of others")


@pytest.mark.parametrize(
    ("offset_ns", "state"), [(900 * MS, OK), (1000 * MS, OK), (1002 * MS, WARN), (-5000 * MS, WARN)]
)
def test_a_clock_is_wrong_beyond_a_second_and_the_bound_of_error(
    offset_ns: int, state: str
) -> None:
    look = seen(well(1, "leader", offset_ns), well(2), well(3), servers=[])
    check = by_name(diagnose(look, "1.0"))["clocks"]
    assert check.state == state
    if state == WARN:
        assert check.next_step.startswith("set the clock of m1 (NTP)")


def test_when_all_clocks_differ_alike_it_is_this_machines() -> None:
    look = seen(*(well(n, "leader" if n == 1 else "follower", 3600 * 1000 * MS) for n in (1, 2, 3)))
    assert by_name(diagnose(look, "1.0"))["clocks"].next_step.startswith("set this machine's clock")


def test_a_server_that_masters_hear_and_we_do_not_is_a_matter_of_ports() -> None:
    look = all_well()
    assert look.servers is not None
    look.servers[1] = ServerSeen(
        server(2), error=Unreachable("10.0.0.9:9002 cannot be reached: No route to host")
    )
    check = by_name(diagnose(look, "1.0"))["chunkservers"]
    assert check.state == WARN and "cs2 (10.0.0.9:9002): cannot be reached" in check.fact
    assert check.next_step.startswith("the masters hear them")
    look.servers[1] = ServerSeen(server(2, "dead"), error=Unreachable("no"))
    check = by_name(diagnose(look, "1.0"))["chunkservers"]
    assert "(the masters: dead)" in check.fact and check.next_step.startswith("bring them back")


def test_no_server_at_all_and_none_reached_fail() -> None:
    look = all_well()
    look.servers = []
    assert by_name(diagnose(look, "1.0"))["chunkservers"].state == FAIL
    look.servers = [ServerSeen(server(n), error=Unreachable("no")) for n in range(1, 10)]
    check = by_name(diagnose(look, "1.0"))["chunkservers"]
    assert check.state == FAIL and "and 4 more" in check.fact


def test_other_versions_and_members_are_warnings() -> None:
    look = all_well()
    assert by_name(diagnose(look, "2.0"))["versions"].state == WARN
    members = (MemberPlace("m1", "10.0.0.1", 7001, 7101), MemberPlace("m4", "10.0.0.4", 7004, 7104))
    look.masters[0] = well(1, "leader", members=members)
    check = by_name(diagnose(look, "1.0"))["members"]
    assert check.state == WARN
    assert check.fact == ("the masters are m1, m4, but m2 is none; m3 is none; m4 is missing here")

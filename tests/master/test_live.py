"""Real masters answer how the cluster is now: pages of servers, and what a follower can say."""

from __future__ import annotations

import pytest
from asker import Asker, followers
from msgspec.structs import replace
from peers import ScriptedServer
from trio import Trio, wait_until

from gfs_ha.errors import InvalidArgument
from gfs_ha.protocol.calls import LED, LOCAL, ReadTerms
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.live import UNHEARD, GetLive, LiveReport
from gfs_ha.protocol.rates import LoadFacts, Served


def look(asker: Asker, name: str, asked: GetLive, terms: str = LED) -> LiveReport:
    report = asker.ask(name, ReadTerms(terms), asked).replies[0]
    assert isinstance(report, LiveReport), report
    return report


@pytest.fixture
def asker(trio: Trio) -> Asker:
    return Asker(trio)


def test_the_leader_shows_pages_and_rates_and_a_follower_what_its_tables_say(
    trio: Trio, servers: list[ScriptedServer], asker: Asker
) -> None:
    leader = trio.leader()
    names = [row.name for row in look(asker, leader, GetLive()).servers]
    assert names == ["cs1", "cs2", "cs3", "cs4"]

    page = look(asker, leader, GetLive(reverse=True, offset=1, limit=2))
    assert [row.name for row in page.servers] == ["cs3", "cs2"] and page.matching == 4
    assert not look(asker, leader, GetLive(limit=0)).servers
    found = look(asker, leader, GetLive(sort="rack", wanted="R2 live"))
    assert [row.name for row in found.servers] == ["cs3", "cs4"] and found.matching == 2
    assert found.overview.servers.count == 4 and found.leads and found.answered_by == leader

    # A leader that is new says so of servers which have not told it how full they are.
    wait_until(
        lambda: look(asker, trio.leader(), GetLive()).overview.servers.unheard == 0, "all told"
    )
    busy = servers[2]
    counted = 0

    def with_load(answers: list[object], plain: object = busy._beat) -> object:
        nonlocal counted
        counted += 1
        load = LoadFacts(
            read=Served(7 * counted, 7_000_000 * counted, (0,) * 20 + (7 * counted,)),
            queue=counted,
        )
        return replace(plain(answers), load=load)  # type: ignore[operator]

    busy._beat = with_load  # type: ignore[method-assign,assignment]

    def measured() -> LiveReport | None:
        report = look(asker, trio.leader(), GetLive(sort="read"))
        return report if report.servers[0].rates is not None else None

    report = wait_until(measured, "rates of the server that tells them")
    assert report.servers[0].name == "cs3" and report.servers[0].rates.read.bytes_per_s > 0
    assert all(row.rates is None for row in report.servers[1:]), "older servers tell nothing"
    wait_until(
        lambda: look(asker, trio.leader(), GetLive(sort="latency")).servers[0].name == "cs3",
        "the slowest one first",
    )
    wait_until(
        lambda: look(asker, trio.leader(), GetLive()).overview.measured == 1, "the kept totals"
    )

    for name in followers(trio):
        told = look(asker, name, GetLive(), LOCAL)
        if told.leads:
            continue  # It was elected meanwhile.
        assert [row.name for row in told.servers] == ["cs1", "cs2", "cs3", "cs4"]
        assert {row.state for row in told.servers} == {UNHEARD}
        assert told.answered_by == name and told.status.cluster_name
        assert told.overview.servers.count == 4 and told.age_ms >= 0


@pytest.mark.parametrize(
    "asked",
    [
        GetLive(sort="colour"),
        GetLive(limit=251),
        GetLive(limit=-1),
        GetLive(offset=-1),
        GetLive(wanted="x" * 201),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(shared: Trio, asked: GetLive) -> None:
    asker = Asker(shared)
    reply = asker.ask(shared.leader(), ReadTerms(LED), asked).replies[0]
    assert isinstance(reply, Failure) and isinstance(reply.raised(), InvalidArgument)

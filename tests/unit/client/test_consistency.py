"""Whom a client asks under which terms, and what it makes of the moments that it is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from little_cluster import config

from gfs_ha.client.cluster import ClusterCalls
from gfs_ha.client.consistency import Consistency, Sightings, consistency_of
from gfs_ha.errors import GfsError, NoLeader, ProtocolError, Unreachable, UsageError
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.leader import LeaderLink
from gfs_ha.net.masters import read_answer
from gfs_ha.net.network import Address, Hello
from gfs_ha.protocol.calls import (
    BOUNDED,
    LED,
    LINEARIZABLE,
    LOCAL,
    Asked,
    AsOf,
    CallBody,
    CallContext,
    ReadTerms,
)
from gfs_ha.protocol.codec import Failure, HelloReply, decode, encode
from gfs_ha.protocol.codec import Hello as HelloWord
from gfs_ha.protocol.metadata import Done, Renew, Stat
from gfs_ha.protocol.reports import GetMasterFacts, MasterFacts, MemberPlace
from gfs_ha.runtime import Future, ThreadedRuntime

RUNTIME = ThreadedRuntime()
Script = Callable[[str, ReadTerms | None], list[object]]


class ScriptedMasters:
    """A Network of masters that answer as a test says, and note what they were asked."""

    def __init__(self, script: Script, leader: str = "m1") -> None:
        self.script = script
        self.leader = leader
        self.members: tuple[str, ...] = ()
        self.asked: list[tuple[str, ReadTerms | None]] = []

    def listen(self, address: Address, hello: object, handler: object) -> object:
        raise AssertionError("clients do not listen")

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> ScriptedCaller:
        name = f"m{address[1]}"
        hello.accept(encode(HelloReply(name, PROTOCOL_VERSION)))
        return ScriptedCaller(self, name)


class ScriptedCaller:
    def __init__(self, masters: ScriptedMasters, name: str) -> None:
        self._masters, self._name = masters, name
        self.closed = False

    def call(self, method: int, context: bytes, body: bytes, timeout_s: float) -> bytes:
        asked = decode(CallBody, body)
        if isinstance(asked[0].request, GetMasterFacts):
            return encode((self._facts(),))
        terms = decode(CallContext, context).terms
        self._masters.asked.append((self._name, terms))
        return encode(self._masters.script(self._name, terms))

    def call_async(
        self, method: int, context: bytes, body: bytes, timeout_s: float
    ) -> Future[bytes]:
        future: Future[bytes] = RUNTIME.future()
        try:
            future.set(self.call(method, context, body, timeout_s))
        except GfsError as error:
            future.fail(error)
        return future

    def close(self) -> None:
        self.closed = True

    def _facts(self) -> MasterFacts:
        role = "leader" if self._name == self._masters.leader else "follower"
        numbers = (1, self._masters.leader, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, "1")
        members = tuple(MemberPlace(name, "h", 1, 2, True) for name in self._masters.members)
        return MasterFacts(self._name, role, *numbers, members=members)


def connected(masters: ScriptedMasters, consistency: str, timeout_s: float = 5.0) -> ClusterCalls:
    hello = HelloWord("little", PROTOCOL_VERSION, "client", "c")
    link = LeaderLink(config().cluster.masters, masters, hello, RUNTIME)
    return ClusterCalls(link, RUNTIME, timeout_s, consistency_of(consistency))


def answers(index: int = 7, age_ms: int = 3, degraded: bool = False) -> Script:
    return lambda name, terms: [Done()] + ([AsOf(name, index, age_ms, degraded)] if terms else [])


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linearizable", Consistency(LINEARIZABLE)),
        ("local", Consistency(LOCAL)),
        ("bounded:0", Consistency(BOUNDED, 0)),
        ("bounded:3600000", Consistency(BOUNDED, 3_600_000)),
    ],
)
def test_what_a_person_may_say(text: str, meant: Consistency) -> None:
    assert consistency_of(text) == meant
    assert str(meant) == text


@pytest.mark.parametrize(
    "text", ["", "strong", "bounded", "bounded:", "bounded:-1", "bounded:1.5", "bounded:3600001"]
)
def test_what_nobody_understands_is_an_error_of_the_caller(text: str) -> None:
    with pytest.raises(UsageError):
        consistency_of(text)


def test_by_default_the_leader_is_asked_without_any_terms() -> None:
    masters = ScriptedMasters(answers())
    calls = connected(masters, "linearizable")
    calls.read(Stat("/"), Done)
    calls.ask(Stat("/"), Done)
    assert masters.asked == [("m1", None)] * 2
    assert calls.as_of is None and calls.index == 0


def test_each_request_says_what_was_seen_before_it() -> None:
    masters = ScriptedMasters(answers(index=7))
    calls = connected(masters, "local")
    calls.read(Stat("/"), Done)
    masters.script = answers(index=5)
    calls.read(Stat("/"), Done)
    calls.settle([Asked(Renew(), 1)])
    assert [terms for _, terms in masters.asked] == [
        ReadTerms(LOCAL, 0, 0),
        ReadTerms(LOCAL, 0, 7),
        ReadTerms(LED, 0, 7),
    ]


def test_what_was_changed_at_the_leader_counts_as_seen() -> None:
    masters = ScriptedMasters(answers(index=9))
    calls = connected(masters, "bounded:50")
    calls.settle([Asked(Renew(), 1)])
    assert calls.index == 9 and calls.as_of is None
    calls.read(Stat("/"), Done)
    assert masters.asked[-1] == (masters.asked[-1][0], ReadTerms(BOUNDED, 50, 9))
    assert masters.asked[-1][0] != "m1", "the leader is known: others are asked"


def test_one_master_stays_the_favourite_until_it_fails() -> None:
    masters = ScriptedMasters(answers())
    calls = connected(masters, "local")
    for _ in range(5):
        calls.read(Stat("/"), Done)
    (favourite,) = {name for name, _ in masters.asked}
    masters.asked.clear()

    def script(name: str, terms: ReadTerms | None) -> list[object]:
        if name == favourite:
            raise Unreachable(f"{name} is gone", sent=1)
        return [Done(), AsOf(name, 7, 0)]

    masters.script = script
    for _ in range(5):
        calls.read(Stat("/"), Done)
    names = [name for name, _ in masters.asked]
    assert names[0] == favourite and favourite not in names[1:]
    assert len(names) == 6 and len(set(names)) == 2, "each call is one attempt at one master"


def test_who_knows_no_leader_is_left_for_another_one() -> None:
    def script(name: str, terms: ReadTerms | None) -> list[object]:
        if name != "m2":
            return [Failure("NotLeader", "no leader is known", {"leader": ""}), AsOf(name, 7, 0)]
        return [Done(), AsOf(name, 7, 0)]

    masters = ScriptedMasters(script)
    connected(masters, "bounded:0").read(Stat("/"), Done)
    names = [name for name, _ in masters.asked]
    assert names[-1] == "m2" and len(names) == len(set(names))


def test_an_answer_without_a_leader_is_taken_only_if_nobody_has_a_better_one() -> None:
    """A master that was removed while it was away says NotFound of all that was made since."""

    def script(name: str, terms: ReadTerms | None) -> list[object]:
        if name == "m3":
            return [Done(), AsOf(name, 9, 0)]
        return [Failure("NotFound", "/new does not exist"), AsOf(name, 7, 241_000, True)]

    masters = ScriptedMasters(script)
    for _ in range(20):
        calls = connected(masters, "local")
        assert calls.read(Stat("/new"), Done) == Done()
        assert calls.as_of == AsOf("m3", 9, 0), "it is no part of what was told"
        masters.asked.clear()
        calls.read(Stat("/new"), Done)
        assert {name for name, _ in masters.asked} == {"m3"}, "it stays with the one that knows"


def test_when_nobody_has_a_leader_the_answer_is_taken_as_it_is() -> None:
    masters = ScriptedMasters(answers(7, 4_200, degraded=True))
    calls = connected(masters, "local")
    assert calls.read(Stat("/"), Done) == Done()
    assert sorted(name for name, _ in masters.asked) == ["m1", "m2", "m3"]
    assert calls.as_of is not None and calls.as_of.degraded


def test_a_master_that_has_left_is_not_asked_while_there_are_members() -> None:
    masters = ScriptedMasters(answers())
    masters.members = ("m1", "m2")
    for _ in range(10):
        calls = connected(masters, "local")
        calls.facts()
        calls.read(Stat("/"), Done)
    assert {name for name, _ in masters.asked} <= {"m1", "m2"}


def test_without_an_answer_it_ends_like_any_request_and_after_a_few_attempts() -> None:
    def script(name: str, terms: ReadTerms | None) -> list[object]:
        return [Failure("NotLeader", "no leader is known", {"leader": ""}), AsOf(name, 7, 0)]

    masters = ScriptedMasters(script)
    with pytest.raises(NoLeader, match=r"tried m\d, m\d, m\d"):
        connected(masters, "bounded:0", timeout_s=0.5).read(Stat("/"), Done)
    assert 3 <= len(masters.asked) < 40


def test_who_has_left_is_not_named_among_those_that_were_tried() -> None:
    script: Script = lambda name, terms: [Failure("NotLeader", "none", {"leader": ""})]  # noqa: E731
    masters = ScriptedMasters(script, leader="")
    masters.members = ("m1", "m2")
    calls = connected(masters, "linearizable", timeout_s=0.5)
    calls.facts()
    with pytest.raises(NoLeader, match=r"tried m\d, m\d$") as told:
        calls.read(Stat("/"), Done)
    assert "m3" not in told.value.message


def test_an_older_master_that_dates_nothing_is_understood() -> None:
    masters = ScriptedMasters(lambda name, terms: [Done()])
    calls = connected(masters, "local")
    assert calls.read(Stat("/"), Done) == Done()
    assert calls.as_of is None


def test_a_moment_where_a_reply_belongs_is_refused() -> None:
    moment = AsOf("m1", 1, 0)
    for words in ([moment, Done()], [moment, moment], [Done(), Done(), moment], [moment]):
        with pytest.raises(ProtocolError):
            read_answer(encode(words), 1, dated=True)
    with pytest.raises(ProtocolError):
        read_answer(encode([Done(), moment]), 2)


def test_the_oldest_answer_is_the_one_that_is_told() -> None:
    sightings = Sightings(RUNTIME)
    for as_of in (
        AsOf("m1", 5, 10),
        AsOf("m2", 9, 4),
        None,
        AsOf("m3", 3, -1),
        AsOf("m1", 4, 500),
    ):
        sightings.note(as_of)
    assert sightings.oldest == AsOf("m3", 3, -1) and sightings.index == 9
    sightings.note(AsOf("m1", 4, 1, degraded=True))
    assert sightings.oldest == AsOf("m1", 4, 1, degraded=True)
    sightings.forget_age()
    assert sightings.oldest is None and sightings.index == 9


def test_an_answer_in_which_all_was_refused_shows_no_moment() -> None:
    """Else the one that follows is said to be of the master that refused, at no index."""
    sightings = Sightings(RUNTIME)
    sightings.note(AsOf("m1", 0, 0))
    assert sightings.oldest is None
    sightings.note(AsOf("m2", 7, 0))
    assert sightings.oldest == AsOf("m2", 7, 0)
    sightings.note(AsOf("m3", 0, -1, True))  # A store in which there is nothing yet.
    assert sightings.oldest == AsOf("m3", 0, -1, True)

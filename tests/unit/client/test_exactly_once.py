"""Changes are applied once over retries, or reported as unknown; reads are simply asked again."""

from __future__ import annotations

import pytest
from little_cluster import LittleCluster, lost

from gfs_ha.client import session
from gfs_ha.errors import (
    AlreadyExists,
    GfsError,
    InternalError,
    NoLeader,
    NoSpace,
    NotFound,
    ProtocolError,
    SessionExpired,
    UnknownOutcome,
    Unreachable,
    WrongCluster,
)
from gfs_ha.ids import SessionId
from gfs_ha.protocol.calls import Asked, Reply
from gfs_ha.protocol.codec import Failure
from gfs_ha.protocol.metadata import CloseSession, Mkdir, OpenSession, Renew, Stat


def test_a_change_whose_answer_is_lost_is_asked_again_under_its_number(
    little: LittleCluster,
) -> None:
    little.client.mkdir("/first")
    little.masters.after.append(lost)
    little.client.mkdir("/a")  # Without its number the second attempt would be AlreadyExists.
    asked = [one for one in little.masters.requests(Mkdir) if one.request.path == "/a"]
    assert len(asked) == 2
    assert asked[0].sequence == asked[1].sequence
    assert asked[0].session_id == asked[1].session_id


def test_a_refusal_is_final(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    with pytest.raises(AlreadyExists):
        little.client.mkdir("/a")
    with pytest.raises(NotFound):
        little.client.stat("/b")
    assert len(little.masters.requests(Stat)) == 1


def test_the_leader_is_followed_where_it_goes(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    little.masters.down.add("m1")
    little.masters.leader = "m3"
    little.masters.term = 2
    little.client.mkdir("/b")
    assert little.client.leader == "m3"
    little.masters.down.clear()
    little.masters.leader = "m2"  # m3 lives and says so.
    little.masters.term = 3
    little.client.mkdir("/c")
    assert little.client.leader == "m2"
    assert [e.name for e in little.client.listdir("/")] == ["a", "b", "c"]


def test_without_a_leader_the_error_says_since_when_and_who_was_tried() -> None:
    little = LittleCluster(timeout_s=0.5)
    little.masters.leader = ""
    with pytest.raises(NoLeader, match=r"no leader for \d+\.\d s; tried m1, m2, m3"):
        little.client.stat("/")
    little.masters.down.update(("m1", "m2", "m3"))
    with pytest.raises(NoLeader, match=r"tried m1, m2, m3; none answers: .*m1") as raised:
        little.client.mkdir("/a")
    assert raised.value.message.count("none answers") == 1
    little.masters.down.remove("m2")  # One that answers knows no leader: the others are no reason.
    with pytest.raises(NoLeader, match=r"tried m1, m2, m3$"):
        little.client.mkdir("/a")
    little.close()


def test_an_outcome_that_cannot_be_known_is_said_to_be_unknown() -> None:
    little = LittleCluster(timeout_s=0.4)
    little.client.mkdir("/a")

    def lost_for_good(name: str, asked: object) -> Exception:
        little.masters.down.update(("m1", "m2", "m3"))
        return lost(name, asked)

    little.masters.after.append(lost_for_good)
    with pytest.raises(UnknownOutcome, match="Mkdir /b may or may not have been applied"):
        little.client.mkdir("/b")
    little.close()


def test_a_session_that_expired_between_attempts_leaves_the_outcome_unknown(
    little: LittleCluster,
) -> None:
    little.client.mkdir("/a")
    session_id = little.masters.requests(Mkdir)[0].session_id

    def lost_and_forgotten(name: str, asked: object) -> Exception:
        _end_session(little, session_id)
        return lost(name, asked)

    little.masters.after.append(lost_and_forgotten)
    with pytest.raises(UnknownOutcome):
        little.client.mkdir("/b")
    asked = [one for one in little.masters.requests(Mkdir) if one.request.path == "/b"]
    assert {one.session_id for one in asked} == {session_id}, "sent under another session"
    little.client.mkdir("/c")  # Under a session of its own.
    assert len(little.masters.requests(OpenSession)) == 2


def test_no_space_is_no_certain_answer_while_a_copy_of_the_request_may_be_on_its_way(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what the state machine refuses is recorded, and the same for every copy."""
    little.client.mkdir("/a")
    answer = little.masters.answer
    full = Failure("NoSpace", "the disk of a master is almost full", {})

    def refuse(name: str, asked: Asked) -> Reply:
        return full if isinstance(asked.request, Mkdir) else answer(name, asked)

    monkeypatch.setattr(little.masters, "answer", refuse)
    with pytest.raises(NoSpace):
        little.client.mkdir("/b")
    little.masters.before.append(lost)
    with pytest.raises(UnknownOutcome, match="Mkdir /c may or may not have been applied"):
        little.client.mkdir("/c")


def test_a_session_that_expired_before_is_certain_and_replaced(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    _end_session(little, little.masters.requests(Mkdir)[0].session_id)
    with pytest.raises(SessionExpired):
        little.client.mkdir("/b")
    little.client.mkdir("/b")


def test_reading_needs_no_session_and_closing_ends_it(little: LittleCluster) -> None:
    little.client.stat("/")
    assert not little.masters.requests(OpenSession)
    little.client.mkdir("/a")
    little.client.close()
    assert len(little.masters.requests(CloseSession)) == 1
    session_id = little.masters.requests(Mkdir)[0].session_id
    assert little.masters.view().session(session_id) is None


def test_a_claim_is_renewed_and_no_proposal_made_without_one(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    little.connection.session._send_renew(little.masters.requests(Mkdir)[0].session_id)
    assert len(little.masters.requests(Renew)) == 1
    assert little.masters.requests(Renew)[0].sequence == 0


def _end_session(little: LittleCluster, session_id: SessionId) -> None:
    sequence = 900
    reply = little.masters.answer(
        little.masters.leader, _asked(CloseSession(), session_id, sequence)
    )
    assert type(reply).__name__ == "Done", reply


def _asked(request: CloseSession, session_id: SessionId, sequence: int) -> Asked:
    return Asked(request, session_id, sequence, 1)


def test_after_long_silence_the_session_is_tried_before_it_is_used(
    little: LittleCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    little.client.mkdir("/a")
    session_id = little.masters.requests(Mkdir)[0].session_id
    _end_session(little, session_id)
    answer = little.masters._serve

    def expired(asked: Asked) -> Reply:
        if isinstance(asked.request, Renew) and asked.session_id == session_id:
            raise SessionExpired("it is gone")
        return answer(asked)

    little.masters._serve = expired
    monkeypatch.setattr(session, "IDLE_CHECK_S", -1.0)
    little.client.mkdir("/b")
    assert little.masters.requests(Mkdir)[-1].session_id != session_id


def test_a_client_that_was_closed_does_nothing_more(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    little.client.close()
    little.client.close()
    with pytest.raises(Unreachable, match="closed"):
        little.client.mkdir("/b")
    with pytest.raises(Unreachable, match="closed"):
        little.client.stat("/a")


@pytest.mark.parametrize("kind", [ProtocolError, InternalError])
def test_a_call_that_breaks_after_it_arrived_leaves_the_outcome_unknown(
    little: LittleCluster, kind: type[GfsError]
) -> None:
    little.client.mkdir("/a")
    little.masters.after.append(lambda name, asked: kind("no sense in the answer", sent=1))
    with pytest.raises(UnknownOutcome, match="Mkdir /b may or may not have been applied"):
        little.client.mkdir("/b")
    assert little.client.exists("/b")


def test_a_denial_after_a_lost_answer_leaves_the_outcome_unknown(little: LittleCluster) -> None:
    little.client.mkdir("/a")
    little.masters.after.append(lost)
    little.masters.before.append(lambda name, asked: None)
    little.masters.before.append(lambda name, asked: WrongCluster("not one of ours", sent=0))
    with pytest.raises(UnknownOutcome, match="Mkdir /b may or may not have been applied"):
        little.client.mkdir("/b")
    assert little.client.exists("/b")

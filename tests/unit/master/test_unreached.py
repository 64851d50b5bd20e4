"""Whom others cannot reach: believed on the word of two, for a while, and of nobody cut off."""

from __future__ import annotations

import pytest

from gfs_ha.master import unreached
from gfs_ha.master.unreached import (
    BELIEVED_MAX_S,
    BELIEVED_MIN_S,
    DEAF_S,
    SAID_S,
    SERVER,
    SESSION,
    Unreached,
)

SERVERS = 8


def test_two_witnesses_are_believed_and_one_is_not_however_often_it_says_it() -> None:
    heard = Unreached()
    for at_s in (0.0, 1.0, 2.0):
        assert heard.said((3,), (SESSION, 1), SERVERS, at_s) == []
    assert heard.said((3, 4), (SESSION, 2), SERVERS, 3.0) == [3]
    assert heard.believed(3, 4.0) and not heard.believed(4, 4.0)
    assert heard.all_believed(4.0) == {3}
    assert heard.said((3,), (SESSION, 5), SERVERS, 5.0) == [], "it is news once"


def test_what_was_said_long_ago_counts_no_more() -> None:
    heard = Unreached()
    heard.said((3,), (SESSION, 1), SERVERS, 0.0)
    assert heard.said((3,), (SESSION, 2), SERVERS, SAID_S) == []
    assert heard.said((3,), (SESSION, 1), SERVERS, 2 * SAID_S - 0.1) == [3]


def test_what_was_said_long_ago_is_forgotten_also_behind_what_is_said_again_and_again() -> None:
    heard = Unreached()
    heard.said((4,), (SESSION, 1), SERVERS, 0.0)
    heard.said((3,), (SESSION, 2), SERVERS, 1.0)
    heard.said((4,), (SESSION, 1), SERVERS, SAID_S - 1.0)
    assert heard.said((3,), (SESSION, 3), SERVERS, SAID_S + 2.0) == []


def test_what_is_said_of_a_server_counts_also_when_another_one_comes_back() -> None:
    heard = Unreached()
    heard.said((4,), (SESSION, 1), SERVERS, 0.0)
    heard.returned(3, 1.0)
    assert heard.said((4,), (SESSION, 2), SERVERS, 2.0) == [4]
    assert heard.left_s(4, 2.0) == BELIEVED_MIN_S and heard.left_s(3, 2.0) == 0.0


def test_no_more_is_remembered_than_a_number_of_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreached, "_SAID_MAX", 3)
    for between, believed in ((2, [3]), (3, [])):
        heard = Unreached()
        heard.said((3,), (SESSION, 1), SERVERS, 0.0)
        for number in range(between - 1):
            heard.said((number + 10,), (SESSION, number + 10), SERVERS, 0.0)
        assert heard.said((3,), (SESSION, 2), SERVERS, 0.0) == believed


def test_who_misses_half_of_the_servers_is_believed() -> None:
    for missed, believed in (((1, 2, 3, 4), [3]), ((1, 2, 3, 4, 5), [])):
        heard = Unreached()
        heard.said((3,), (SESSION, 1), SERVERS, 0.0)
        assert heard.said(missed, (SESSION, 2), SERVERS, 0.0) == believed


def test_who_misses_most_of_the_servers_is_cut_off_himself() -> None:
    heard = Unreached()
    heard.said((3,), (SESSION, 1), SERVERS, 0.0)
    assert heard.said((1, 2, 3, 4, 5), (SESSION, 2), SERVERS, 1.0) == []
    # So a server that reaches none of its sources: each of them is a witness against it.
    heard = Unreached()
    for peer in (1, 2, 3, 4, 5):
        heard.said((peer,), (SERVER, 8), SERVERS, 0.0)
        heard.said((8,), (SERVER, peer), SERVERS, 0.0)
    assert heard.all_believed(1.0) == {8}


def test_it_is_tried_again_and_one_word_then_doubles_the_pause_up_to_a_limit() -> None:
    heard = Unreached()
    heard.said((3,), (SESSION, 1), SERVERS, 0.0)
    heard.said((3,), (SESSION, 2), SERVERS, 0.0)
    now_s, pause_s = 0.0, BELIEVED_MIN_S
    for session in range(3, 10):
        assert heard.believed(3, now_s + pause_s - 0.1)
        now_s += pause_s
        assert not heard.believed(3, now_s) and not heard.left_s(3, now_s)
        assert heard.said((3,), (SESSION, session), SERVERS, now_s) == [3]
        pause_s = min(2 * pause_s, BELIEVED_MAX_S)
        assert heard.left_s(3, now_s) == pause_s
    # Nobody complained for as long again: it takes two as in the beginning.
    now_s += 2 * pause_s
    assert heard.said((3,), (SESSION, 11), SERVERS, now_s) == []
    assert heard.said((3,), (SESSION, 12), SERVERS, now_s) == [3]
    assert heard.left_s(3, now_s) == BELIEVED_MIN_S


def test_a_server_that_is_back_is_judged_anew_by_what_is_met_from_then_on() -> None:
    heard = Unreached()
    for session in (1, 2):
        heard.said((3,), (SESSION, session), SERVERS, 0.0)
    heard.returned(3, 1.0)
    assert not heard.believed(3, 1.0)
    for session in (1, 2, 4):
        assert heard.said((3,), (SESSION, session), SERVERS, DEAF_S) == [], "of before"
    heard.said((3,), (SESSION, 1), SERVERS, 1.0 + DEAF_S)
    assert heard.said((3,), (SESSION, 2), SERVERS, 1.0 + DEAF_S) == [3]

"""Records are appended exactly once and in order, whatever the primary or the leader does."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest
from little_cluster import config
from little_tails import RUNTIME, Babble, HangUp, Primary, Tail, TailMasters

from gfs_ha.client import append_rights
from gfs_ha.client.append_grants import AppendTarget
from gfs_ha.client.connection import ClusterConnection
from gfs_ha.client.data_plane import RecordStream
from gfs_ha.client.filesystem import Cluster
from gfs_ha.client.passes import NOT_GIVEN
from gfs_ha.errors import (
    Busy,
    DeadlineExceeded,
    Fenced,
    InvalidArgument,
    IsADirectory,
    LimitExceeded,
    NoLeader,
    NotFound,
    Overloaded,
    PreconditionFailed,
    SessionExpired,
    TailFull,
    TicketRefused,
    UnknownOutcome,
    Unreachable,
    UsageError,
)
from gfs_ha.ids import SessionId
from gfs_ha.protocol.append import AppendGrant
from gfs_ha.protocol.frames import FrameKind, encode_frame
from gfs_ha.protocol.metadata import CloseSession, OpenSession
from gfs_ha.protocol.records import RecordAck, encode_record_acks

WAIT_S = 20.0


class House:
    """A client, a leader and three primaries."""

    def __init__(self) -> None:
        self.primaries = [Primary(number) for number in (1, 2, 3)]
        self.masters = TailMasters(self.primaries)
        self.connections: list[ClusterConnection] = []
        self.connection = self.connect()

    @property
    def first(self) -> Primary:
        """Return the primary of the first tail."""
        return self.primaries[100 % 3]

    def connect(self, timeout_s: float = 5.0) -> ClusterConnection:
        connection = ClusterConnection(config(), timeout_s, network=self.masters)
        self.connections.append(connection)
        return connection

    def appender(self, path: str = "/log", key: str = "", timeout_s: float | None = None):
        connection = self.connection if timeout_s is None else self.connect(timeout_s)
        return connection.appenders.make(AppendTarget(path, key=key))

    def fault(self, act: Callable[[str, Tail], None]) -> None:
        """Have the next record of every primary meet this."""
        for one in self.primaries:
            one.faults.append(act)

    def fault_open(self, act: Callable[[str, Tail], None]) -> None:
        """Have the next record of the open tail meet this."""
        (tail,) = self.masters.open.values()
        tail.server.faults.append(act)

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
        for primary in self.primaries:
            primary.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    try:
        yield made
    finally:
        made.close()


def test_records_come_back_with_the_places_where_they_lie(house: House) -> None:
    with house.appender() as appender:
        futures = [*appender.append_all([b"one\n", b"three\n"]), appender.append(b"x")]
        assert [one.result(WAIT_S).offset for one in futures] == [0, 4, 10]
        assert [one.result(WAIT_S).sequence for one in futures] == [1, 2, 3]
    assert house.masters.content("/log") == b"one\nthree\nx"


def test_a_missing_file_is_made_and_a_missing_directory_is_not(house: House) -> None:
    with house.appender("/new") as appender:
        assert appender.append(b"a").result(WAIT_S).offset == 0
    lost = house.appender("/no/such").append(b"a")
    with pytest.raises(NotFound):
        lost.result(WAIT_S)
    with pytest.raises(IsADirectory):
        house.masters.grant_errors.append(IsADirectory("/log is a directory"))
        house.appender("/dir").append(b"a").result(WAIT_S)


def test_records_that_cannot_be_are_refused_before_anything_is_sent(house: House) -> None:
    appender = house.appender()
    with pytest.raises(InvalidArgument):
        appender.append(b"")
    with pytest.raises(LimitExceeded):
        appender.append(bytes(9 << 20))
    with pytest.raises(LimitExceeded):
        appender.append(bytes(300 * 1024))
    assert appender.append(bytes(256 * 1024)).result(WAIT_S).offset == 0
    appender.close()
    with pytest.raises(UsageError):
        appender.append(b"late")


def test_a_record_whose_answer_is_lost_is_found_and_not_sent_again(house: House) -> None:
    def lose(when: str, tail: Tail) -> None:
        if when == "after":
            raise HangUp

    house.first.faults.append(lose)
    with house.appender() as appender:
        futures = appender.append_all([b"a", b"b", b"c"])
        assert [one.result(WAIT_S).offset for one in futures] == [0, 1, 2]
    assert house.masters.content("/log") == b"abc"
    asked = house.masters.grants[-1]
    assert asked.refused and 1 in asked.sequences and asked.failed


def test_a_record_that_was_not_taken_is_sent_again_in_its_order(house: House) -> None:
    def refuse(when: str, tail: Tail) -> None:
        raise TailFull("no room")

    house.fault(refuse)
    with house.appender() as appender:
        futures = appender.append_all([bytes([65 + n]) for n in range(20)])
        assert [one.result(WAIT_S).offset for one in futures] == list(range(20))
    assert house.masters.content("/log") == bytes(range(65, 85))


def test_a_silent_primary_is_left_after_a_second(house: House) -> None:
    silence = threading.Event()

    def be_silent(when: str, tail: Tail) -> None:
        silence.wait(WAIT_S)
        raise HangUp

    house.first.faults.append(be_silent)
    try:
        with house.appender() as appender:
            assert appender.append(b"a").result(WAIT_S).offset == 0
    finally:
        silence.set()
    assert house.masters.content("/log") == b"a"


def test_a_busy_primary_is_asked_again_and_its_tail_is_not_sealed(house: House) -> None:
    def busy(when: str, tail: Tail) -> None:
        raise Overloaded("too many streams")

    house.fault(busy)
    with house.appender() as appender:
        appender.append(b"a").result(WAIT_S)
    assert not any(one.refused for one in house.masters.grants)


def test_a_server_that_refuses_in_clear_again_and_again_is_avoided(house: House) -> None:
    def refuse(when: str, tail: Tail) -> None:
        raise TicketRefused("of another key", reason="unknown_key", in_clear=1)

    for one in house.primaries:
        one.faults.append(refuse)
    with house.appender() as appender:
        appender.append(b"a").result(WAIT_S)
    told = [set(one.failed) for one in house.masters.grants if one.refused]
    assert len(told) == 3 and not told[0] and not told[1] and len(told[2]) == 1
    assert house.masters.content("/log") == b"a"


def test_a_server_that_is_full_for_long_in_clear_is_left_for_another(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is on the way to one server may say so in its name, and for ever."""
    monkeypatch.setattr(append_rights, "FULL_MAX", 4)

    def full(when: str, tail: Tail) -> None:
        raise Overloaded("it serves 512 streams already", in_clear=1)

    house.first.faults.extend([full] * 1000)
    with house.appender() as appender:
        appender.append(b"a").result(WAIT_S)
    assert 1000 - len(house.first.faults) == 5, "it was asked again for a while"
    assert any(house.first.server_id in one.failed for one in house.masters.grants)
    assert house.masters.content("/log") == b"a"


def test_a_stream_whose_ticket_ended_goes_on_in_the_same_tail_under_the_same_grant(
    house: House,
) -> None:
    def ended(when: str, tail: Tail) -> None:
        raise TicketRefused("the ticket of this stream ended", reason="expired", unwritten=1)

    with house.appender() as appender:
        appender.append(b"0").result(WAIT_S)
        grant_count = len(house.masters.grants)
        for number in range(1, 8):
            if number % 3 == 1:
                house.fault_open(ended)
            appender.append(b"%d" % number).result(WAIT_S)
    assert len(house.masters.grants) == grant_count
    assert house.masters.content("/log") == b"01234567"


def test_who_is_given_no_ticket_asks_for_a_grant_and_has_no_tail_sealed(house: House) -> None:
    """The leader knows whether it has an end, or who is not heard yet; nobody is avoided."""
    plane = house.connection.appenders._parts.plane
    append = plane.append
    withheld = [TicketRefused("the leader gives no new ticket", reason=NOT_GIVEN)]

    def append_or_not(grant: AppendGrant) -> RecordStream:
        if withheld:
            raise withheld.pop()
        return append(grant)

    plane.append = append_or_not
    with house.appender() as appender:
        appender.append(b"a").result(WAIT_S)
    assert len(house.masters.grants) >= 2
    assert not any(one.refused or one.failed for one in house.masters.grants)
    assert house.masters.content("/log") == b"a"


def test_who_cannot_append_hears_which_servers_the_end_of_the_file_waits_for(house: House) -> None:
    why = "no replica is proof, and no answer from cs1"
    blocked = Busy(f"chunk 0x7 is not sealed yet: {why}", retry_ms=10, blocked=why)
    late = Busy("there is no time left for it; ask again", retry_ms=10)
    house.masters.grant_errors.extend([blocked, *[late] * 1_000])
    with pytest.raises(Busy, match=r"/log: .*no answer from cs1; bring these servers back"):
        house.appender(timeout_s=0.5).append(b"a").result(WAIT_S)


def test_a_primary_that_answers_nonsense_is_left(house: House) -> None:
    strange = RecordAck(SessionId(99), 1, 7, 1), RecordAck(SessionId(1), 77, 7, 1)
    for words in (
        bytes(64),
        encode_frame(FrameKind.DATA, 0),
        encode_frame(FrameKind.RECORDED, 12345, encode_record_acks(())),
        encode_frame(FrameKind.RECORDED, 0, b"no acks"),
    ):
        house.fault(_babbling(words))
        appender = house.appender(timeout_s=WAIT_S)
        assert appender.append(b"a").result(WAIT_S).length == 1
        appender.close()
        for one in house.primaries:
            one.faults.clear()
    with house.appender(timeout_s=WAIT_S) as appender:
        appender.append(b"b").result(WAIT_S)
        # Acknowledgements of records that nobody sent here are passed over.
        house.fault_open(
            _babbling(encode_frame(FrameKind.RECORDED, 0, encode_record_acks(strange)))
        )
        assert appender.append(b"c").result(WAIT_S).length == 1
    assert house.masters.content("/log") == b"aaaabc"


def _babbling(words: bytes) -> Callable[[str, Tail], None]:
    def babble(when: str, tail: Tail) -> None:
        if when == "before":
            raise Babble(words)

    return babble


def test_the_patience_of_a_client_ends_with_what_is_known(house: House) -> None:
    def hang_up(when: str, tail: Tail) -> None:
        raise HangUp

    for _ in range(1000):
        house.fault(hang_up)
    appender = house.appender(timeout_s=1.5)
    with pytest.raises(UnknownOutcome, match="may or may not"):
        appender.append(b"a").result(WAIT_S)
    house.masters.grant_errors.extend(Unreachable("no leader") for _ in range(10_000))
    with pytest.raises((DeadlineExceeded, NoLeader)):
        appender.append(b"b").result(WAIT_S)
    with pytest.raises(UnknownOutcome):
        appender.flush()
    for one in house.primaries:
        one.faults.clear()
    house.masters.grant_errors.clear()
    assert appender.append(b"c").result(WAIT_S).sequence == 3
    appender.close()


def rotate(house: House, at: str, error: Exception) -> None:
    """Have the log renamed when a record arrives, or when it is about to be acknowledged."""

    def act(when: str, tail: Tail) -> None:
        if when == at:
            house.connection.namespace.rename("/log", "/old")
            raise error

    house.fault_open(act)


@pytest.mark.parametrize("key", ["", "job"])
@pytest.mark.parametrize("written", [True, False])
def test_a_record_in_doubt_when_its_log_is_rotated_is_told_where_it_lies_or_follows_the_path(
    house: House, written: bool, key: str
) -> None:
    """Log rotation: mv, and the writers go on with the path; nothing is unknown, lost or double."""
    appender = house.appender(key=key)
    appender.append(b"a").result(WAIT_S)
    rotate(house, "after" if written else "before", HangUp())
    results = [one.result(WAIT_S) for one in appender.append_all([b"b", b"c"])]
    assert [one.offset for one in results] == ([1, 0] if written else [0, 1])
    assert not any(one.before for one in results)
    appender.close()
    assert house.masters.content("/old") == (b"ab" if written else b"a")
    assert house.masters.content("/log") == (b"c" if written else b"bc")


def test_what_another_run_of_the_same_writer_has_done_is_not_sent_to_the_next_log(
    house: House,
) -> None:
    """Two runs under one key: what one of them is told of, the file forgets for the other."""
    lines = [b"a", b"b", b"c"]
    appender = house.appender(key="job")

    def other_run(when: str, tail: Tail) -> None:
        if when == "after":
            for one in house.primaries:
                one.faults.clear()
            with house.connect().appenders.make(AppendTarget("/log", key="job")) as second:
                for line in lines:
                    second.append(line).result(WAIT_S)
            house.connection.namespace.rename("/log", "/old")
            raise HangUp

    house.fault(other_run)
    assert appender.append(b"a").result(WAIT_S).before
    appender.close()
    assert house.masters.content("/old") == b"abc"
    with pytest.raises(NotFound):
        house.connection.namespace.stat("/log")


def test_records_in_doubt_of_a_file_that_is_gone_for_too_long_are_unknown(house: House) -> None:
    appender = house.appender()
    appender.append(b"a").result(WAIT_S)
    house.masters.forgotten.add(house.connection.namespace.stat("/log").inode_id)
    rotate(house, "after", HangUp())
    with pytest.raises(UnknownOutcome, match="removed or replaced"):
        appender.append(b"b").result(WAIT_S)
    assert appender.append(b"c").result(WAIT_S).offset == 0
    appender.abandon()
    assert house.masters.content("/log") == b"c"
    assert house.masters.content("/old") == b"ab"


def test_what_was_certainly_not_written_goes_to_the_file_that_has_the_name_now(
    house: House,
) -> None:
    appender = house.appender()
    appender.append(b"a").result(WAIT_S)

    def replace(when: str, tail: Tail) -> None:
        house.connection.namespace.rename("/log", "/old")
        raise Fenced("it is being sealed", unwritten=1)

    house.fault_open(replace)
    assert appender.append(b"b").result(WAIT_S).offset == 0
    appender.close()
    assert house.masters.content("/log") == b"b"
    assert house.masters.content("/old") == b"a"


def test_an_expired_writer_goes_on_under_another_id(house: House) -> None:
    appender = house.appender()
    appender.append(b"a").result(WAIT_S)
    first = appender.appender_id
    house.masters.expired.add(first)

    def lose(when: str, tail: Tail) -> None:
        if when == "after":
            raise HangUp

    house.fault_open(lose)
    with pytest.raises(UnknownOutcome):
        appender.append(b"b").result(WAIT_S)
    appender.append(b"-").result(WAIT_S)
    house.fault_open(lose)
    house.masters.grant_errors.append(SessionExpired("gone"))
    with pytest.raises(UnknownOutcome):
        appender.append(b"c").result(WAIT_S)
    assert appender.append(b"d").result(WAIT_S).offset == 4
    assert appender.appender_id != first
    appender.abandon()


def test_a_writer_with_a_key_appends_only_what_is_missing(house: House) -> None:
    lines = [f"line {n}\n".encode() for n in range(3000)]
    with house.appender(key="job") as appender:
        appender.append_all(lines[:1500])
    inode_id = house.connection.namespace.stat("/log").inode_id
    house.masters.seal(inode_id)
    with house.appender(key="job") as appender:
        appender.append_all(lines[:2000])
    # What is in the open tail is told by the primary, what was sealed by the leader.
    with house.appender(key="job") as appender:
        results = [one.result(WAIT_S) for one in appender.append_all(lines)]
    assert house.masters.content("/log") == b"".join(lines)
    assert [one.before for one in results] == [True] * 2000 + [False] * 1000


def test_other_input_under_the_same_key_is_refused(house: House) -> None:
    with house.appender(key="job") as appender:
        appender.append_all([b"one\n", b"two\n"])
    other = house.appender(key="job")
    with pytest.raises(PreconditionFailed, match="not the same input"):
        other.append(b"three\n").result(WAIT_S)
    other.abandon()
    assert house.masters.content("/log") == b"one\ntwo\n"


@pytest.mark.parametrize("seed", range(3))
def test_many_appenders_lose_and_double_nothing_under_random_faults(
    house: House, seed: int
) -> None:
    chance = random.Random(seed)

    def trouble(when: str, tail: Tail) -> None:
        if chance.random() < 0.5:
            return
        if when == "before" and chance.random() < 0.5:
            raise TailFull("full")
        raise HangUp

    for one in house.primaries:
        one.faults.extend(trouble if chance.random() < 0.05 else _fine for _ in range(4000))
    writers, count = 4, 400
    appenders = [house.appender(timeout_s=60.0) for _ in range(writers)]

    def write(number: int) -> None:
        futures = []
        for at in range(0, count, 10):
            some = [f"{number} {at + n:04}\n".encode() for n in range(10)]
            futures += appenders[number].append_all(some)
        places[number] = [one.result(60.0).offset for one in futures]

    places: list[list[int]] = [[] for _ in range(writers)]
    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    content = house.masters.content("/log")
    lines = content.decode().splitlines()
    assert len(lines) == writers * count
    for number in range(writers):
        own = [line for line in lines if line.startswith(f"{number} ")]
        assert own == [f"{number} {n:04}" for n in range(count)]
        for n, offset in enumerate(places[number]):
            assert content[offset:].startswith(f"{number} {n:04}\n".encode())


def _fine(when: str, tail: Tail) -> None:
    pass


def test_once_a_record_of_an_ordered_appender_fails_none_behind_it_is_appended(
    house: House,
) -> None:
    appender = house.connection.appenders.make(AppendTarget("/log", ordered=True))
    appender.append(b"a").result(WAIT_S)

    def remove(when: str, tail: Tail) -> None:
        if when == "after":
            house.masters.forgotten.add(tail.inode_id)
            house.connection.namespace.remove("/log")
            raise HangUp

    house.fault_open(remove)
    failed = appender.append(b"b")
    with pytest.raises(UnknownOutcome):
        failed.result(WAIT_S)
    with pytest.raises(UnknownOutcome):
        appender.append(b"c")
    assert house.connection.namespace.find("/log") is None
    appender.abandon()


def test_a_length_that_the_leader_does_not_confirm_is_asked_anew(house: House) -> None:
    appender = house.appender()
    appender.append(b"0123456789").result(WAIT_S)
    openings = house.connection.openings
    assert openings.exact("/log").size == 10

    # The primary that answers does not know yet that its tail was sealed, and another one opened.
    (tail,) = house.masters.open.values()

    def go_on_elsewhere() -> None:
        house.masters.seal(tail.inode_id)
        fresh = house.masters.reopen(tail.inode_id)
        with fresh.server.lock:
            fresh.data += b"more"

    house.masters.confirming.append(go_on_elsewhere)
    assert openings.exact("/log").size == 14
    appender.abandon()


def test_small_writes_of_a_file_object_share_records(house: House) -> None:
    with Cluster(config(), connection=house.connection) as cluster:
        with cluster.open("/log", "ab") as file:
            for _ in range(100):
                file.write(b"0123456789")
            file.flush()
            assert file.tell() == 1000
            file.write(bytes(40_000))
            file.write(b"end")
        (tail,) = house.masters.open.values()
        assert len(tail.entries) < 50
        lengths = [length for _, length in tail.entries.values()]
        assert lengths[-2:] == [40_000, 3], "a long write is a record of its own"
        assert cluster.append("/log", b"x") == 41_003
    assert house.masters.content("/log") == b"0123456789" * 100 + bytes(40_000) + b"endx"


def test_what_is_written_leaves_without_a_flush(house: House) -> None:
    with (
        Cluster(config(), connection=house.connection) as cluster,
        cluster.open("/log", "ab") as file,
    ):
        file.write(b"soon")
        deadline_s = RUNTIME.monotonic_s() + WAIT_S
        while not any(tail.data == b"soon" for tail in house.masters.open.values()):
            assert RUNTIME.monotonic_s() < deadline_s
            RUNTIME.sleep(0.002)


def test_an_error_of_an_earlier_write_shows_at_the_next_one(house: House) -> None:
    with Cluster(config(), connection=house.connection) as cluster:
        file = cluster.open("/no/such", "ab")
        file.write(b"a")
        with pytest.raises(NotFound):
            file.flush()
        with pytest.raises(NotFound):
            file.write(b"b")
        with pytest.raises(NotFound):
            file.close()
        assert file.closed


def test_ids_go_from_one_appender_to_the_next_and_end_with_their_client(house: House) -> None:
    connection = house.connect()
    with Cluster(config(), connection=connection) as cluster:
        for number in range(20):
            with cluster.appender(f"/file{number}") as appender:
                appender.append(b"x").result(WAIT_S)
            deadline_s = RUNTIME.monotonic_s() + WAIT_S
            while not appender.ended:
                assert RUNTIME.monotonic_s() < deadline_s
        with cluster.appender("/keyed", key="kept") as appender:
            appender.append(b"x").result(WAIT_S)
        assert cluster.append("/file3", b"y") == 1
    opened = house.masters.requests(OpenSession)
    assert len([one for one in opened if "appends" in one.request.client]) == 2
    closed = {one.session_id for one in house.masters.requests(CloseSession)}
    assert appender.appender_id not in closed and len(closed) == 2
    assert house.masters.content("/file3") == b"xy"

"""Jobs in the tables: one after the other, an end that is final, moves that are counted."""

from __future__ import annotations

import pytest
from state_driver import Driver, server, small_file

from gfs_ha.ids import ChunkId
from gfs_ha.limits import (
    DISKS_PER_SERVER_MAX,
    JOB_EVENTS_MAX,
    JOB_TEXT_BYTES_MAX,
    JOBS_KEPT,
    JOBS_RUNNING_MAX,
)
from gfs_ha.master.state.commands import (
    ConfirmCopy,
    DropReplica,
    EndCopy,
    EnrolledDisk,
    FitGoals,
    LoseHolder,
    PlaceCopy,
    ReplicasDeleted,
)
from gfs_ha.master.state.job_commands import NoteJob, SetJobPhase, StartJob
from gfs_ha.master.state.job_records import Job
from gfs_ha.master.state.jobs import get_job, job_events, running_jobs
from gfs_ha.master.state.records import Chunk
from gfs_ha.protocol.jobs import (
    CANCELLED,
    DECOMMISSION,
    DISK_DRAIN,
    DONE,
    DRAIN,
    FAILED,
    PAUSED,
    REBALANCE,
    RUNNING,
    JobOptions,
    job_id,
    job_number,
)
from gfs_ha.protocol.metadata import FinishChunk, Publish, ReleaseChunks
from gfs_ha.protocol.policy import SetReplication

LENGTH = 1000


@pytest.fixture
def driver() -> Driver:
    return Driver(server_count=6)


def rebalance(driver: Driver, **options: object) -> int:
    return driver.ok(StartJob(REBALANCE, JobOptions(**options), asked_by="ann@host")).number


def job(driver: Driver, number: int) -> Job:
    with driver.view() as view:
        found = get_job(view, number)
    assert found is not None
    return found


def phase(driver: Driver, number: int, seen: str, to: str) -> str:
    reply = driver.do(SetJobPhase(number, seen, to))
    return getattr(reply, "error", "")


def sealed(driver: Driver) -> ChunkId:
    """Make a chunk with copies on servers 1, 2 and 3, and a file that needs it."""
    session = driver.open_session()
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(FinishChunk(chunk_id, LENGTH, 1, (1, 2, 3)), session)
    file = small_file("/f", chunk_id, 0, LENGTH)
    driver.ok(Publish((file,), (chunk_id,)), session)
    return chunk_id


def row(driver: Driver, chunk_id: ChunkId) -> Chunk:
    with driver.view() as view:
        chunk = view.chunk(chunk_id)
    assert chunk is not None
    return chunk


def move(driver: Driver, chunk_id: ChunkId, number: int, target: int, leaves: int) -> PlaceCopy:
    chunk = row(driver, chunk_id)
    seen = len(chunk.holders) + len(chunk.copying)
    place = (target, 100 + target, seen)
    return PlaceCopy(chunk_id, chunk.sealed_index, *place, job=number, leaves=leaves)


def confirm(driver: Driver, chunk_id: ChunkId, target: int) -> ConfirmCopy:
    chunk = row(driver, chunk_id)
    orders = chunk.copying + chunk.deleting
    (order,) = [one for one in orders if one.server_id == target]
    end = (chunk.length, chunk.digest, order.order_index)
    return ConfirmCopy(chunk_id, chunk.sealed_index, target, 100 + target, *end)


def drop(driver: Driver, chunk_id: ChunkId, server_id: int) -> DropReplica:
    chunk = row(driver, chunk_id)
    evidence = tuple(one for one in chunk.holders if one != server_id)
    return DropReplica(chunk_id, chunk.sealed_index, server_id, 100 + server_id, evidence)


# The life of a job --------------------------------------------------------------------------------


def test_a_job_is_numbered_and_says_what_was_foreseen(driver: Driver) -> None:
    started = driver.ok(
        StartJob(REBALANCE, JobOptions(0.05, 7), planned_bytes=9, planned_moves=2, asked_by="ann")
    )
    assert (started.number, started.id) == (1, "r-1")
    found = job(driver, 1)
    assert (found.phase, found.planned_bytes, found.planned_moves) == (RUNNING, 9, 2)
    assert found.options == JobOptions(0.05, 7)
    driver.check()


def test_a_job_keeps_what_it_began_with_and_the_name_of_its_server(driver: Driver) -> None:
    driver.ok(StartJob(REBALANCE, JobOptions(), began_disks=8, began_bytes=700))
    driver.ok(StartJob(DRAIN, JobOptions(), 1))
    assert (job(driver, 1).began_disks, job(driver, 1).began_bytes) == (8, 700)
    with driver.view() as view:
        named = view.server(1)
    assert named is not None and job(driver, 2).server_name == named.name
    assert driver.error(StartJob(REBALANCE, JobOptions(), began_bytes=-1)) == "InvalidArgument"


def test_a_second_rebalance_is_refused_and_told_which_one_runs(driver: Driver) -> None:
    rebalance(driver)
    reply = driver.do(StartJob(REBALANCE, JobOptions()))
    assert reply.error == "WrongState" and "r-1" in reply.message
    phase(driver, 1, RUNNING, PAUSED)
    assert driver.error(StartJob(REBALANCE, JobOptions())) == "WrongState"
    phase(driver, 1, PAUSED, CANCELLED)
    assert rebalance(driver) == 2


def test_two_jobs_do_not_empty_the_same_server(driver: Driver) -> None:
    driver.ok(StartJob(DRAIN, JobOptions(), 1))
    assert driver.error(StartJob(DECOMMISSION, JobOptions(), 1)) == "WrongState"
    assert driver.error(StartJob(DISK_DRAIN, JobOptions(), 1, 101)) == "WrongState"
    driver.ok(StartJob(DRAIN, JobOptions(), 2))
    driver.ok(server(3, disks=(EnrolledDisk(103, 1), EnrolledDisk(203, 1))))
    driver.ok(StartJob(DISK_DRAIN, JobOptions(), 3, 103))
    driver.ok(StartJob(DISK_DRAIN, JobOptions(), 3, 203))
    assert driver.error(StartJob(DISK_DRAIN, JobOptions(), 3, 203)) == "WrongState"
    rebalance(driver)
    driver.check()


@pytest.mark.parametrize(
    "command",
    [
        StartJob("juggle", JobOptions()),
        StartJob(REBALANCE, JobOptions(), 1),
        StartJob(DRAIN, JobOptions()),
        StartJob(DRAIN, JobOptions(), 1, 101),
        StartJob(DISK_DRAIN, JobOptions(), 1),
        StartJob(REBALANCE, JobOptions(threshold=1.5)),
        StartJob(REBALANCE, JobOptions(bytes_per_s=-1)),
        StartJob(REBALANCE, JobOptions(moves_max=-1)),
        StartJob(REBALANCE, JobOptions(window="from dusk till dawn")),
        StartJob(REBALANCE, JobOptions(), planned_bytes=-1),
        StartJob(REBALANCE, JobOptions(), asked_by="x" * 300),
        StartJob(REBALANCE, JobOptions(), asked_by="a\nb"),
    ],
    ids=range(12),
)
def test_what_makes_no_sense_is_refused(driver: Driver, command: StartJob) -> None:
    assert driver.error(command) == "InvalidArgument"


@pytest.mark.parametrize("end", [DONE, FAILED, CANCELLED])
def test_an_end_is_final(driver: Driver, end: str) -> None:
    number = rebalance(driver)
    assert phase(driver, number, RUNNING, end) == ""
    for other in (RUNNING, PAUSED, DONE, FAILED, CANCELLED):
        assert phase(driver, number, end, other) == "StaleCommand"
    assert driver.error(NoteJob(number, "late")) == "StaleCommand"
    assert job(driver, number).ended_wall_ns > 0
    driver.check()


def test_what_was_proposed_on_older_news_changes_nothing(driver: Driver) -> None:
    number = rebalance(driver)
    phase(driver, number, RUNNING, PAUSED)
    assert phase(driver, number, RUNNING, DONE) == "StaleCommand"
    assert phase(driver, number, PAUSED, DONE) == "StaleCommand"  # What pauses is not done.
    assert phase(driver, number, PAUSED, RUNNING) == ""
    # What could be done now was decided of a job that paused then.
    assert phase(driver, number, PAUSED, CANCELLED) == "StaleCommand"
    assert phase(driver, number, RUNNING, "tired") == "InvalidArgument"
    assert phase(driver, 99, RUNNING, DONE) == "NotFound"


def test_errors_and_what_is_foreseen_now_are_written_down(driver: Driver) -> None:
    number = rebalance(driver)
    driver.ok(NoteJob(number, "cs2 is full", error=True))
    driver.ok(NoteJob(number, "less to do", planned=(5, 1)))
    found = job(driver, number)
    assert (found.last_error, found.planned_bytes, found.planned_moves) == ("cs2 is full", 5, 1)
    assert driver.error(NoteJob(number, "x" * (JOB_TEXT_BYTES_MAX + 1))) == "InvalidArgument"
    assert driver.error(NoteJob(number, "")) == "InvalidArgument"


def test_the_newest_events_of_a_job_are_kept(driver: Driver) -> None:
    number = rebalance(driver)
    for turn in range(JOB_EVENTS_MAX + 5):
        driver.ok(NoteJob(number, f"turn {turn}"))
    with driver.view() as view:
        events = job_events(view, number, 0, 1000)
        later = job_events(view, number, events[-3][0], 1000)
    assert len(events) == JOB_EVENTS_MAX and events[-1][1].text == f"turn {JOB_EVENTS_MAX + 4}"
    assert [text for _, text in later] == [text for _, text in events[-2:]]
    driver.check()


def test_the_newest_of_the_jobs_that_ended_are_kept(driver: Driver) -> None:
    driver.ok(StartJob(DRAIN, JobOptions(), 1))  # It goes on for ever, and stays.
    for _ in range(JOBS_KEPT + 3):
        number = rebalance(driver)
        phase(driver, number, RUNNING, DONE)
    with driver.view() as view:
        assert [one for one, _ in running_jobs(view)] == [1]
        assert get_job(view, 4) is None and get_job(view, 5) is not None
    driver.check()


def test_there_is_a_bound_of_jobs_that_run(driver: Driver) -> None:
    places = []
    for number in range(1, 7):
        disks = tuple(EnrolledDisk(1000 * number + one, 1) for one in range(DISKS_PER_SERVER_MAX))
        driver.ok(server(number, disks=disks))
        places += [(number, disk.disk_id) for disk in disks]
    for place in places[:JOBS_RUNNING_MAX]:
        driver.ok(StartJob(DISK_DRAIN, JobOptions(), *place))
    one_more = StartJob(DISK_DRAIN, JobOptions(), *places[JOBS_RUNNING_MAX])
    assert driver.error(one_more) == "LimitExceeded"


def test_people_name_a_job_by_its_kind_and_number() -> None:
    assert job_number(job_id(REBALANCE, 19)) == 19
    for text in ("r-0", "r19", "q-3", "r-", "r--1", "R-1", "r-1 ", "r-9999999999999999999"):
        assert job_number(text) is None


# Moves --------------------------------------------------------------------------------------------


def test_a_move_counts_where_it_begins_to_count_and_lets_its_holder_go(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    assert job(driver, number).moved_bytes == 0 and row(driver, chunk_id).leaving == ()
    driver.ok(confirm(driver, chunk_id, 4))
    found = job(driver, number)
    assert (found.moved_bytes, found.moves) == (LENGTH, 1)
    assert row(driver, chunk_id).leaving == (2,)
    driver.ok(confirm_again(driver, chunk_id, 4))
    assert job(driver, number).moves == 1
    driver.ok(drop(driver, chunk_id, 2))
    assert row(driver, chunk_id).leaving == ()
    assert row(driver, chunk_id).holders == (1, 3, 4)
    driver.check()


def confirm_again(driver: Driver, chunk_id: ChunkId, target: int) -> ConfirmCopy:
    chunk = row(driver, chunk_id)
    end = (chunk.length, chunk.digest)
    return ConfirmCopy(chunk_id, chunk.sealed_index, target, 100 + target, *end)


def test_a_deletion_that_is_taken_back_still_lets_the_holder_go(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    driver.ok(confirm(driver, chunk_id, 4))
    driver.ok(drop(driver, chunk_id, 2))
    driver.ok(confirm(driver, chunk_id, 2))  # Its leader said `keep`.
    assert row(driver, chunk_id).leaving == (2,)
    assert job(driver, number).moves == 1
    driver.check()


def test_nobody_goes_of_whom_there_is_no_copy_too_many(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    chunk = row(driver, chunk_id)
    driver.ok(LoseHolder(chunk_id, chunk.sealed_index, 1, "rot"))
    driver.ok(confirm(driver, chunk_id, 4))
    assert row(driver, chunk_id).leaving == ()
    assert driver.error(drop(driver, chunk_id, 2)) == "StaleCommand"
    driver.check()


def test_a_holder_that_is_lost_meanwhile_need_not_go(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    driver.ok(confirm(driver, chunk_id, 4))
    driver.ok(LoseHolder(chunk_id, row(driver, chunk_id).sealed_index, 2, "its disk is lost"))
    assert row(driver, chunk_id).leaving == ()
    driver.check()


def test_a_higher_goal_keeps_who_was_to_go(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    driver.ok(confirm(driver, chunk_id, 4))
    driver.ok(SetReplication("/f", 4), driver.open_session())
    driver.ok(FitGoals(10))
    assert row(driver, chunk_id).goal == 4 and row(driver, chunk_id).leaving == ()
    driver.check()


def test_a_chunk_that_dies_lets_nobody_go(driver: Driver) -> None:
    session, number = driver.open_session(), rebalance(driver)
    chunk_id = driver.chunk(session).chunk_id
    driver.ok(FinishChunk(chunk_id, LENGTH, 1, (1, 2, 3)), session)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    driver.ok(confirm(driver, chunk_id, 4))
    driver.ok(ReleaseChunks((chunk_id,)), session)
    assert row(driver, chunk_id).state == "dead" and row(driver, chunk_id).leaving == ()
    driver.check()


@pytest.mark.parametrize("ends", [PAUSED, CANCELLED, DONE, FAILED])
def test_a_job_that_does_not_run_begins_no_move(driver: Driver, ends: str) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    phase(driver, number, RUNNING, ends)
    assert driver.error(move(driver, chunk_id, number, target=4, leaves=2)) == "StaleCommand"
    assert driver.error(move(driver, chunk_id, 99, target=4, leaves=2)) == "StaleCommand"
    assert driver.error(move(driver, chunk_id, 0, target=4, leaves=2)) == "StaleCommand"


def test_only_a_holder_is_moved(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    assert driver.error(move(driver, chunk_id, number, target=4, leaves=5)) == "StaleCommand"
    assert driver.error(move(driver, chunk_id, number, target=4, leaves=0)) == "StaleCommand"


def test_what_a_cancelled_job_copied_counts_all_the_same(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    phase(driver, number, RUNNING, CANCELLED)
    driver.ok(confirm(driver, chunk_id, 4))
    assert job(driver, number).moves == 1 and job(driver, number).phase == CANCELLED
    driver.ok(drop(driver, chunk_id, 2))
    index = row(driver, chunk_id).deleting[0].order_index
    driver.ok(ReplicasDeleted((), ((chunk_id, 2, index),)))
    assert [one.server_id for one in row(driver, chunk_id).replicas] == [1, 3, 4]
    driver.check()


def test_a_copy_that_is_given_up_moves_nothing(driver: Driver) -> None:
    chunk_id, number = sealed(driver), rebalance(driver)
    driver.ok(move(driver, chunk_id, number, target=4, leaves=2))
    order = row(driver, chunk_id).copying[0]
    driver.ok(EndCopy(chunk_id, 4, order.order_index, "cs4 is full"))
    assert job(driver, number).moves == 0 and row(driver, chunk_id).leaving == ()
    driver.check()

"""What `make heal` and `make demo-heal` judge by: files that name themselves, copies that lack."""

from __future__ import annotations

from pathlib import Path

from demo_heal import STORY
from heal_clients import Clients
from heal_copies import Copied, Spot, Stand, lacking, sort_copies, stand_of
from heal_faults import FAULTS
from heal_figures import Healed, table
from heal_files import Contents
from heal_watch import Moment, Watch

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.reports import ChunkRow, ReplicaRow


def row(*health: str, state: str = "sealed", goal: int = 3, copies: int = 0) -> ChunkRow:
    replicas = tuple(
        ReplicaRow(ServerId(at), f"cs{at}", "r1", one) for at, one in enumerate(health, 1)
    )
    return ChunkRow(ChunkId(7), state, 100, goal, copies, "disk", "put", 0, replicas)


def test_a_name_tells_every_byte_and_whatever_is_wrong_is_seen() -> None:
    contents = Contents()
    for number, size in ((1, 1), (2, 300), (3, 9_000_000)):
        name = contents.name(number, size)
        data = contents.data(name)
        assert len(data) == size and not contents.wrong(name, data)
        assert contents.wrong(name, data + b"x") and contents.wrong(name, data[:-1])
        assert contents.wrong(name, bytes([data[0] ^ 1]) + data[1:])
    assert contents.wrong("strange", b"")


def test_a_copy_lacks_when_its_server_is_dead_or_it_is_damaged_not_when_one_is_silent() -> None:
    assert lacking(row("live", "live", "suspect")) == 0
    assert lacking(row("live", "dead", "damaged")) == 2
    assert lacking(row("live", "live", "copying")) == 1
    assert lacking(row("live", state="open")) == 0
    assert lacking(row("live", "live", "short", copies=3)) == 0, "as its server knew it before"
    assert Moment(0.0, rows=[row("live", "live", "live")]).rested
    assert not Moment(0.0, rows=[row("live", "live", "live", "deleting")]).rested


def test_copies_are_read_from_the_logs_of_the_servers(tmp_path: Path) -> None:
    (tmp_path / "cs1").mkdir()
    (tmp_path / "cs1" / "cs1.log").write_text(
        "2026-01-01T00:00:01.500Z INFO cs1 chunk.copies: copied chunk=0x1f order_index=9 bytes=70\n"
        "2026-01-01T00:00:01.900Z INFO cs1 chunk.copies: copied chunk=0x1f order_index=9 bytes=70\n"
        "2026-01-01T00:00:02.500Z WARNING cs1 chunk.copies: a copy failed chunk=0x1f order_index=8"
        " error=Unreachable reason=nobody\n"
        "a line of something else\n"
    )
    watch = Watch(_client_config(tmp_path), tmp_path)
    [copy] = watch.copies(0.0 - 1e12)
    assert (copy.server, copy.chunk_id, copy.length) == ("cs1", 0x1F, 70)
    assert len(watch.failures(-1e12)) == 1
    watch.cluster.close()


def stand(at_s: float, *places: str, rule: str = "seed") -> Stand:
    return Stand(at_s, 3, rule, tuple(Spot(*place.split("/")) for place in places))


def test_every_copy_is_needed_or_for_the_rule_or_named() -> None:
    """A rack was lost and is back: one copy for what was missing, one for the rule, no more."""
    history = {
        1: [
            stand(0.0, "cs1/r1", "cs2/r2", "cs3/r2"),
            stand(5.0, "cs1/r1"),
            stand(7.0, "cs1/r1", "cs5/r1", "cs9/r1"),
        ],
        2: [stand(0.0, "cs1/r1", "cs2/r2", "cs3/r3")],
    }
    copies = [
        Copied(6.0, "cs5", 1, 10),
        Copied(6.5, "cs9", 1, 10),
        Copied(8.0, "cs2", 1, 10),
        Copied(30.0, "cs4", 2, 20),
        Copied(9.0, "cs7", 3, 30),  # Sealed and copied between two looks.
    ]
    found = sort_copies(copies, {1: 2}, history)
    assert [one.server for one in found.needed] == ["cs5", "cs9", "cs7"]
    assert [one.server for one in found.for_rule] == ["cs2"]
    [(unplanned, lay)] = found.unexplained
    assert unplanned.server == "cs4" and "cs3/r3" in lay

    healed = Healed("rack")
    healed.take(found)
    assert (healed.copies, healed.copied_bytes, healed.least_bytes) == (5, 80, 50)
    assert healed.rule_bytes == 10 and len(healed.for_rule) == len(healed.unplanned) == 1
    assert len(healed.wrong) == 1 and "0x2 to cs4, 20 bytes" in healed.wrong[0]
    assert healed.document()["ratio"] == 80 / 50 and "rack" in table([healed])


def test_answers_are_counted_by_when_they_came_and_errors_are_kept(tmp_path: Path) -> None:
    clients = Clients(tmp_path, tmp_path / "none", {"put": 1.0}, {})
    (tmp_path / "put.log").write_text(
        "10.0 500.0 put a\n11.0 20.0 put b\n11.5 30.0 ERROR put c: NoLeader: nobody\n12.0 half"
    )
    found = clients.answers(10.2, 11.6)
    assert found.latencies_ms == {"put": [20.0, 500.0]} and len(found.errors) == 1
    assert found.percentile_ms("put", 1.0) == 500.0
    assert clients.acknowledged("put") == ["a", "b"]


def test_the_good_copies_of_a_row_are_those_that_are_there() -> None:
    found = stand_of(row("live", "damaged", "suspect"), 5.0)
    assert [one.server for one in found.spots] == ["cs1", "cs3"] and found.rule == "seed"


def test_every_act_of_the_demo_is_a_fault_that_there_is() -> None:
    assert STORY.keys() <= FAULTS.keys()
    assert len(Healed("server").cells()) == len(Healed("rack").cells())


def _client_config(directory: Path) -> Path:
    path = directory / "gfs.toml"
    path.write_text(
        '[cluster]\nid = "c"\nname = "c"\n[[cluster.masters]]\nname = "m1"\nhost = "127.0.0.1"\n'
        "port = 7100\nraft_port = 7200\n"
    )
    return path

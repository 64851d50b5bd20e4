"""What `make heal` and `make demo-heal` judge by: files that name themselves, copies that lack."""

from __future__ import annotations

from pathlib import Path

from demo_heal import STORY
from heal_clients import Clients
from heal_faults import FAULTS
from heal_files import Contents
from heal_ward import Healed
from heal_watch import Moment, Watch, lacking

from gfs_ha.ids import ChunkId, ServerId
from gfs_ha.protocol.reports import ChunkRow, ReplicaRow


def row(*health: str, state: str = "sealed", goal: int = 3) -> ChunkRow:
    replicas = tuple(
        ReplicaRow(ServerId(at), f"cs{at}", "r1", one) for at, one in enumerate(health, 1)
    )
    return ChunkRow(ChunkId(7), state, 100, goal, 0, "disk", "put", 0, replicas)


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
    assert Moment(0.0, rows=[row("live", "live", "live")]).rested
    assert not Moment(0.0, rows=[row("live", "live", "live", "deleting")]).rested


def test_copies_are_read_from_the_logs_of_the_servers(tmp_path: Path) -> None:
    (tmp_path / "cs1").mkdir()
    (tmp_path / "cs1" / "cs1.log").write_text(
        "2026-01-01T00:00:01.500Z INFO cs1 chunk.copies: copied chunk=0x1f order_index=9 bytes=70\n"
        "2026-01-01T00:00:02.500Z WARNING cs1 chunk.copies: a copy failed chunk=0x1f order_index=8"
        " error=Unreachable reason=nobody\n"
        "a line of something else\n"
    )
    watch = Watch(_client_config(tmp_path), tmp_path)
    [copy] = watch.copies(0.0 - 1e12)
    assert (copy.server, copy.chunk_id, copy.length) == ("cs1", 0x1F, 70)
    assert len(watch.failures(-1e12)) == 1
    watch.cluster.close()


def test_answers_are_counted_by_when_they_came_and_errors_are_kept(tmp_path: Path) -> None:
    clients = Clients(tmp_path, tmp_path / "none", {"put": 1.0}, {})
    (tmp_path / "put.log").write_text(
        "10.0 500.0 put a\n11.0 20.0 put b\n11.5 30.0 ERROR put c: NoLeader: nobody\n12.0 half"
    )
    found = clients.answers(10.2, 11.6)
    assert found.latencies_ms == {"put": [20.0, 500.0]} and len(found.errors) == 1
    assert found.percentile_ms("put", 1.0) == 500.0
    assert clients.acknowledged("put") == ["a", "b"]


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

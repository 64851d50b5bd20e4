"""A closed cluster whose chunks travel encrypted, and whose tickets and keys live for seconds."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.error import HTTPError

import pytest
from killing import (
    MIB,
    RUNTIME,
    Feed,
    await_applied,
    bury_early,
    check_files,
    chunks,
    content,
    leader_of,
    wait_until,
)
from stage import START_S

import gfs_ha
from gfs_ha.config import load
from gfs_ha.ids import Birth, format_id
from gfs_ha.local import launcher
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.local.home import Home
from gfs_ha.local.processes import Process
from gfs_ha.protocol.data import DataRequest, Op, cluster_hash, encode_request

pytestmark = pytest.mark.processes

HOST = "127.0.0.1"
GFSCTL = str(Path(sys.executable).with_name("gfsctl"))
HURRIED = Path(__file__).with_name("hurried")
KEY_S = 6.0  # As sitecustomize.py there says.
SHORT = 'security = "tls"\n'
LONG = '\n[security]\nmode = "tls"\ndata = "encrypt"\n'


class Ticketed:
    """A local cluster on loopback that encrypts all the same."""

    def __init__(self, directory: Path) -> None:
        self.cluster = LocalCluster(directory / "cluster", timeout_s=START_S, launch=self._launch)

    def _launch(self, home: Home, role: str, options: Sequence[str] = ()) -> Process:
        for path in (home.config_path, self.cluster.config_path):
            text = path.read_text()
            if text.startswith(SHORT):
                path.write_text(text.removeprefix(SHORT) + LONG)
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = str(HURRIED)
        try:
            return launcher.launch(home, role, options)
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before

    def connect(self, consistency: str = "linearizable") -> gfs_ha.Cluster:
        return gfs_ha.connect(self.cluster.config_path, consistency=consistency)

    def gfsctl(self, *words: str) -> str:
        """Return what a command prints; fails when it does."""
        done = subprocess.run(
            [GFSCTL, "--config", str(self.cluster.config_path), *words],
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()


@pytest.fixture(scope="module")
def ticketed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ticketed]:
    made = Ticketed(tmp_path_factory.mktemp("ticketed"))
    try:
        made.cluster.up(masters=3, chunkservers=4, chunk_bytes=MIB, closed=True)
        bury_early(made.cluster)
        yield made
    finally:
        made.cluster.down(wipe=True)


@pytest.fixture
def fs(ticketed: Ticketed) -> Iterator[gfs_ha.Cluster]:
    with ticketed.connect() as cluster:
        yield cluster


def test_files_go_in_and_out_while_keys_turn_and_servers_start_again(
    ticketed: Ticketed, fs: gfs_ha.Cluster
) -> None:
    data = content(6 * MIB + 12_345)
    fs.write_bytes("/big", data)
    check_files(fs, {"/big": data})
    with fs.open("/big") as file:
        assert file.read(1000) == data[:1000]
        RUNTIME.sleep(KEY_S + 3.0)  # What it was told when it opened is worth nothing any more.
        assert file.read(2 * MIB) == data[1000 : 1000 + 2 * MIB]
        for name in ("cs1", "cs2"):
            ticketed.cluster.kill(name, signal.SIGKILL)
            ticketed.cluster.start(name)
        assert file.read() == data[1000 + 2 * MIB :]


def test_a_put_outlives_its_tickets_and_the_leader(ticketed: Ticketed, fs: gfs_ha.Cluster) -> None:
    data = content(5 * MIB, seed=1)
    leader = leader_of(fs)
    events = {
        MIB // 2: lambda: RUNTIME.sleep(KEY_S),
        2 * MIB: lambda: ticketed.cluster.kill(leader, signal.SIGKILL),
        4 * MIB: lambda: RUNTIME.sleep(KEY_S / 2),
    }
    fs.put(Feed(data, events), "/slow")
    ticketed.cluster.start(leader)
    check_files(fs, {"/slow": data})


def test_records_of_several_are_each_there_once_while_keys_turn(
    ticketed: Ticketed, fs: gfs_ha.Cluster
) -> None:
    for turn in range(3):
        if append_while_keys_turn(ticketed, fs, f"/log{turn}") <= 2:
            return
        # A silent server ends a tail as well, but not each time.
    pytest.fail("streams end with their tickets, not the tail")


def append_while_keys_turn(ticketed: Ticketed, fs: gfs_ha.Cluster, path: str) -> int:
    """Have three write records to a file, which are each there once; return how many chunks."""
    fs.write_bytes(path, b"")
    before = set(chunks(fs))
    began_s = RUNTIME.monotonic_s()
    sent: list[bytes] = []
    failed: list[BaseException] = []

    def goes_on() -> bool:
        for_s = RUNTIME.monotonic_s() - began_s
        return for_s < 1.5 * KEY_S or (len(sent) <= 30 and for_s < 60.0)

    def write(number: int) -> None:
        try:
            with ticketed.connect() as own, own.open(path, "ab") as file:
                count = 0
                while goes_on():
                    record = b"%d.%d\n" % (number, count)
                    file.write(record)
                    file.flush()
                    sent.append(record)
                    count += 1
                    RUNTIME.sleep(0.05)
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(120)
    assert not failed and len(sent) > 30
    assert sorted(fs.read_bytes(path).splitlines(keepends=True)) == sorted(sent)
    return len(set(chunks(fs)) - before)


def test_a_lost_server_is_made_up_for_and_every_copy_verifies(
    ticketed: Ticketed, fs: gfs_ha.Cluster
) -> None:
    data = {f"/files/{number}": content(300_000, seed=number) for number in range(8)}
    fs.mkdir("/files")
    for path, one in data.items():
        fs.write_bytes(path, one)
    ticketed.cluster.kill("cs3", signal.SIGKILL)
    home = ticketed.cluster.member("cs3").home

    def whole() -> bool:
        return all(
            len([one for one in row.replicas if one.health == "live" and one.name != "cs3"]) == 3
            for row in chunks(fs).values()
            if row.state == "sealed"
        )

    wait_until(whole, "three copies of all elsewhere")
    shutil.rmtree(home.data)
    ticketed.cluster.start("cs3")
    check_files(fs, data)
    ticketed.gfsctl("admin", "fsck", "--deep")


def test_a_chunk_of_which_little_lives_is_compacted(fs: gfs_ha.Cluster, tmp_path: Path) -> None:
    source = tmp_path / "small"
    source.mkdir()
    data = {f"/small/{number:02}": content(15_000, seed=100 + number) for number in range(60)}
    for path, one in data.items():
        (source / Path(path).name).write_bytes(one)
    before = set(chunks(fs))
    fs.put_tree(source, "/small")
    packed = set(chunks(fs)) - before  # Several, if a chain lost a server meanwhile.
    assert packed
    kept = {path: one for index, (path, one) in enumerate(data.items()) if index % 5 == 0}
    for path in data.keys() - kept.keys():
        fs.remove(path)

    def compacted() -> bool:
        fs.operations.run_garbage()
        return not packed & chunks(fs).keys()

    wait_until(compacted, "what lives is in another chunk")
    check_files(fs, kept)


def test_who_has_no_ticket_is_refused_and_counted(ticketed: Ticketed, fs: gfs_ha.Cluster) -> None:
    row = next(one for one in chunks(fs).values() if one.state == "sealed")
    place = row.replicas[0]
    member = ticketed.cluster.member(place.name)
    request = DataRequest(
        op=Op.FETCH,
        cluster=cluster_hash(load(ticketed.cluster.config_path).cluster.id),
        target=place.server_id,
        chunk_id=row.chunk_id,
        birth=Birth(1, 1),
        offset=0,
        length=100,
        deadline_ms=10_000,
        op_id=1,
    )
    with socket.create_connection((HOST, member.port), 60.0) as stranger:
        stranger.settimeout(60.0)
        assert stranger.recv(4096)[:4] == b"GFSH"
        stranger.sendall(encode_request(request))
        heard = b""
        while part := stranger.recv(4096):
            heard += part
    assert b"TicketRefused" in heard and len(heard) < 500
    with urllib.request.urlopen(f"http://{HOST}:{member.metrics_port}/metrics", timeout=60) as page:
        told = page.read().decode()
    assert "gfs_chunkserver_tickets_refused_total{" in told
    (line,) = (one for one in told.splitlines() if 'reason="missing"' in one)
    assert float(line.split()[-1]) >= 1, line
    assert ticketed.gfsctl("admin", "logs", place.name, "-n", "5").strip()


def test_what_is_told_in_clear_names_no_file_no_client_and_no_chunk(
    ticketed: Ticketed, fs: gfs_ha.Cluster
) -> None:
    cluster, config = ticketed.cluster, ticketed.cluster.config_path
    own, ca = config.parent / "telltale", config.parent / "ca"
    words = ("admin", "tls", "issue", "telltale-ann", "--role", "client")
    ticketed.gfsctl(*words, "--ca", str(ca), "--out", str(own))
    hers = config.parent / "telltale.toml"
    hers.write_text(config.read_text().replace(LONG, LONG + f'directory = "{own}"\n', 1))
    with gfs_ha.connect(hers) as ann:
        ann.mkdir("/telltale-plans")
        ann.write_bytes("/telltale-plans/telltale-file", b"telltale-bytes" * 100_000)
        ann.write_bytes("/telltale-plans/telltale-log", b"")
        with ann.open("/telltale-plans/telltale-log", "ab") as file:
            file.write(b"telltale-record")
        assert ann.read_bytes("/telltale-plans/telltale-file").startswith(b"telltale")
        assert "ann" in ticketed.gfsctl("admin", "logs", "--grep", "telltale-ann"), "it was she"
        told = "".join(
            page_of(cluster.member(name).metrics_port, path)
            for name in ("m1", "m2", "m3", "cs1", "cs2", "cs3", "cs4")
            for path in ("", "metrics", "livez", "readyz")
        )
    assert told.count("gfs_build_info{") == 7 and "gfs_chunkserver_operation_bytes_total" in told
    assert "telltale" not in told
    ids = [word for one in chunks(fs) for word in (format_id(one), str(one))]
    assert ids and not [one for one in ids if one in told]


def page_of(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/{path}", timeout=60) as page:
            return str(page.read().decode())
    except HTTPError as page:  # What is not ready for a moment tells why.
        return str(page.read().decode())


def test_with_one_master_left_what_is_there_is_read_still(
    ticketed: Ticketed, fs: gfs_ha.Cluster
) -> None:
    data = content(400_000, seed=7)
    fs.write_bytes("/last", data)
    leader = leader_of(fs)
    alive = next(name for name in ("m1", "m2", "m3") if name != leader)
    await_applied(ticketed.cluster, alive)
    others = [name for name in ("m1", "m2", "m3") if name != alive]
    for name in others:
        ticketed.cluster.kill(name, signal.SIGKILL)
    try:
        RUNTIME.sleep(KEY_S)  # Only what it is told now is good.
        with ticketed.connect("local") as local:
            assert local.read_bytes("/last") == data
    finally:
        for name in others:
            ticketed.cluster.start(name)
        ticketed.cluster.wait_serving()

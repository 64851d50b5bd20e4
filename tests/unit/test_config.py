"""The configuration: read whole, strictly, and every refusal names file, line and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from gfs_ha import config, limits, strict_toml
from gfs_ha.errors import ConfigError

GOOD = """\
[cluster]
id = "c-1"
name = "local"

[[cluster.masters]]
name = "m1"
host = "127.0.0.1"
port = 7101
raft_port = 7201

[[cluster.masters]]
name = "m2"
host = "127.0.0.1"
port = 7102
raft_port = 7202

[chunkserver]
name = "cs1"
directory = "data"
listen = "127.0.0.1:7301"
rack = "r1"
machine = "host-a"

[client]
machine = "host-b"
rack = "r2"

[settings]
chunk_size = "1MiB"
goal = 3
min_copies = 2
"""


def line_of(text: str, fragment: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if fragment in line)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, Path("/etc/x.toml"))
    assert caught.value.exit_status == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gfs.toml"
    path.write_text(GOOD)
    loaded = config.load(path)
    assert loaded.cluster.id == "c-1"
    assert loaded.cluster.masters[1] == config.MasterAddress("m2", "127.0.0.1", 7102, 7202)
    assert loaded.chunkserver == config.ChunkserverConfig(
        "cs1", (config.DiskConfig(tmp_path / "data"),), "127.0.0.1", 7301, "r1", "host-a"
    )
    assert loaded.client == config.ClientConfig("host-b", "r2", limits.OPERATION_TIMEOUT_S)
    assert loaded.settings == config.SettingsConfig(1 << 20, 3, 2)
    assert loaded.master is None
    assert loaded.security == config.LOOPBACK


def test_a_master_must_be_one_of_the_masters() -> None:
    text = GOOD + '[master]\nname = "m9"\ndirectory = "m"\n'
    message = refused(text)
    assert f"/etc/x.toml:{line_of(text, 'm9')}: master.name" in message
    assert "m1, m2" in message


@pytest.mark.parametrize(
    ("old", "new", "key", "fragment", "says"),
    [
        ('id = "c-1"', 'di = "c-1"', "cluster.di", "di =", "did you mean 'id'"),
        ('rack = "r1"', 'rak = "r1"', "chunkserver.rak", "rak =", "did you mean 'rack'"),
        ("goal = 3", 'goal = "three"', "settings.goal", "goal =", "whole number"),
        ("goal = 3", "goal = true", "settings.goal", "goal =", "whole number"),
        ("goal = 3", "goal = 99", "settings.goal", "goal =", "between 1 and 8"),
        ("min_copies = 2", "min_copies = 4", "settings.min_copies", "min_copies", "goal of 3"),
        ('"1MiB"', '"1MB"', "settings.chunk_size", "chunk_size", "64MiB"),
        ('"1MiB"', '"65MiB"', "settings.chunk_size", "chunk_size", "1 to 64 MiB"),
        ('"1MiB"', "1048577", "settings.chunk_size", "chunk_size", "whole blocks"),
        ("port = 7102", "port = 70000", "cluster.masters[1].port", "70000", "65535"),
        ("port = 7102", "port = 7101", "cluster.masters[1].port", "", "given twice"),
        ('"m2"', '"m1"', "cluster.masters[1].name", "", "given twice"),
        (
            "raft_port = 7202",
            "raft_prt = 7202",
            "cluster.masters[1].raft_prt",
            "prt =",
            "raft_port",
        ),
        ('"127.0.0.1:7301"', '"7301"', "chunkserver.listen", "listen", "127.0.0.1:7301"),
        ('"cs1"', '"c s 1"', "chunkserver.name", "c s 1", "is no name"),
        ("[settings]", "[setings]", "setings", "[setings]", "did you mean 'settings'"),
        ("[client]", "[security]\nmode='x'\n[client]", "security.mode", "mode=", "loopback, none"),
    ],
)
def test_a_refusal_names_file_line_and_key(
    old: str, new: str, key: str, fragment: str, says: str
) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    message = refused(text)
    assert message.startswith("/etc/x.toml:")
    assert f": {key}: " in message
    assert says in message
    if fragment:
        assert message.startswith(f"/etc/x.toml:{line_of(text, fragment)}:")


def test_broken_toml_names_the_line() -> None:
    assert refused('[cluster]\nid = "a\n').startswith("/etc/x.toml:2: broken TOML: ")
    assert refused("[cluster]\nid =").startswith("/etc/x.toml:2: broken TOML: ")


def test_a_file_without_cluster_or_masters_is_refused() -> None:
    assert "cluster: is missing" in refused("")
    assert "cluster.masters: must be given as [[cluster.masters]]" in refused('[cluster]\nid="a"')


def test_a_missing_file_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: cannot read .* No such file"):
        config.load(tmp_path / "gone.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        config.load(tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_bytes(b"[cluster]\nid = '\xff'\n")
    with pytest.raises(ConfigError, match=r"bad\.toml:2: not UTF-8"):
        config.load(bad)


def test_a_goal_of_one_needs_one_copy() -> None:
    text = GOOD.replace("goal = 3\nmin_copies = 2", "goal = 1")
    assert config.parse(text, Path("x")).settings == config.SettingsConfig(1 << 20, 1, 1)


def test_a_daemon_answers_who_watches_it_where_its_file_says() -> None:
    assert config.parse(GOOD, Path("x")).metrics is None
    read = config.parse(GOOD + '[metrics]\nlisten = "[::1]:9701"\n', Path("x"))
    assert read.metrics == config.MetricsConfig("::1", 9701)
    assert "metrics.listen: '9701' is no address" in refused(GOOD + '[metrics]\nlisten = "9701"\n')
    assert "metrics.listen" in refused(GOOD + "[metrics]\n")
    assert "metrics.port: unknown" in refused(GOOD + "[metrics]\nport = 1\n")


def test_who_watches_from_the_network_needs_it_to_be_open() -> None:
    watched = GOOD + '[metrics]\nlisten = "0.0.0.0:9701"\n'
    read = config.parse(watched, Path("x"))
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is reachable"):
        config.check_exposure(read, "127.0.0.1", insecure=True)
    opened = config.parse('security = "none"\n' + watched, Path("x"))
    config.check_exposure(opened, "127.0.0.1", insecure=True)
    config.check_exposure(config.parse('security = "tls"\n' + watched, Path("x")), "::1", False)


def test_the_open_network_is_said_in_either_form() -> None:
    assert config.parse('security = "none"\n' + GOOD, Path("x")).security == config.NONE
    table = GOOD + '[security]\nmode = "none"\n'
    assert config.parse(table, Path("x")).security == config.NONE


def test_tls_names_the_directory_of_key_and_certificates() -> None:
    for text in ('security = "tls"\n' + GOOD, GOOD + '[security]\nmode = "tls"\n'):
        read = config.parse(text, Path("/etc/gfs/m1.toml"))
        assert (read.security, read.tls_directory) == (config.TLS, Path("/etc/gfs/tls"))
    table = GOOD + '[security]\nmode = "tls"\ndirectory = "keys/m1"\n'
    assert config.parse(table, Path("/etc/gfs/m1.toml")).tls_directory == Path("/etc/gfs/keys/m1")
    assert config.parse(GOOD, Path("x")).tls_directory is None
    with pytest.raises(ConfigError, match=r"security\.directory: is for mode 'tls'"):
        config.parse(GOOD + '[security]\nmode = "none"\ndirectory = "x"\n', Path("x"))


def test_how_the_bytes_of_chunks_travel_is_said_with_tls_alone() -> None:
    assert config.parse('security = "tls"\n' + GOOD, Path("x")).data == config.AUTO
    for level in config.DATA_LEVELS:
        table = GOOD + f'[security]\nmode = "tls"\ndata = "{level}"\n'
        read = config.parse(table, Path("/etc/gfs/m1.toml"))
        assert (read.data, read.tls_directory) == (level, Path("/etc/gfs/tls"))
    for text, said in (
        ('mode = "tls"\ndata = "some"\n', r"security\.data: 'some' is none of auto, encrypt"),
        ('mode = "none"\ndata = "encrypt"\n', r"security\.data: is for mode 'tls'"),
    ):
        with pytest.raises(ConfigError, match=said):
            config.parse(GOOD + "[security]\n" + text, Path("x"))


def test_with_tls_the_network_is_open() -> None:
    read = config.parse('security = "tls"\n' + GOOD, Path("x"))
    for host in ("0.0.0.0", "127.0.0.1", "cs1.example"):
        for insecure in (False, True):
            config.check_exposure(read, host, insecure)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_a_server_may_always_listen_on_loopback(host: str) -> None:
    config.check_exposure(config.parse(GOOD, Path("x")), host, insecure=False)


def test_the_network_needs_the_word_of_the_file_and_of_the_command_line() -> None:
    closed = config.parse(GOOD, Path("x"))
    opened = config.parse('security = "none"\n' + GOOD, Path("x"))
    for read, insecure in ((closed, False), (closed, True), (opened, False)):
        for host in ("0.0.0.0", "10.0.0.1", "::", "host-a"):
            with pytest.raises(ConfigError, match=f"{host} is reachable .* --insecure"):
                config.check_exposure(read, host, insecure)
    config.check_exposure(opened, "0.0.0.0", insecure=True)


def test_the_file_is_found_in_the_usual_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    work = tmp_path / "work"
    (home / ".config/gfs-ha").mkdir(parents=True)
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(ConfigError, match="--config or set GFS_CONFIG"):
        config.find(None, {"HOME": str(tmp_path / "nowhere")})
    (home / ".config/gfs-ha/gfs.toml").write_text(GOOD)
    assert config.find(None, {"HOME": str(home)}) == home / ".config/gfs-ha/gfs.toml"
    (work / "gfs.toml").write_text(GOOD)
    assert config.find(None, {"HOME": str(home)}) == Path("gfs.toml")
    assert config.find(None, {"HOME": str(home), "GFS_CONFIG": "/a.toml"}) == Path("/a.toml")
    assert config.find("/b.toml", {"GFS_CONFIG": "/a.toml"}) == Path("/b.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64MiB", 64 << 20),
        ("1 GiB", 1 << 30),
        ("4096", 4096),
        ("8kib", 8192),
        ("3B", 3),
        ("8388607TiB", 8388607 << 40),
    ],
)
def test_sizes_are_read(text: str, expected: int) -> None:
    assert strict_toml.parse_size(text) == expected


@pytest.mark.parametrize(
    "text", ["", "MiB", "1.5GiB", "-1", "1MB", "9" * 30, "9" * 19 + "TiB", "8388608TiB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        strict_toml.parse_size(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("h:65535", ("h", 65535)), ("[::1]:7", ("::1", 7))],
)
def test_addresses_are_read(text: str, expected: tuple[str, int]) -> None:
    assert strict_toml.parse_address(text) == expected


@pytest.mark.parametrize("text", ["h", ":1", "h:0", "h:65536", "::1:7", "h:x", "h:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        strict_toml.parse_address(text)


def test_a_server_may_be_given_a_part_of_its_disk() -> None:
    text = GOOD.replace('rack = "r1"', 'rack = "r1"\ncapacity = "2GiB"', 1)
    loaded = config.parse(text, Path("/etc/x.toml"))
    assert loaded.chunkserver is not None and loaded.chunkserver.disks[0].capacity == 2 << 30
    for little in ("0", '"1MiB"'):
        text = GOOD.replace('rack = "r1"', f'rack = "r1"\ncapacity = {little}', 1)
        assert "chunkserver.capacity" in refused(text)


def test_a_server_may_have_several_disks(tmp_path: Path) -> None:
    def read(*lines: str) -> tuple[config.DiskConfig, ...]:
        text = GOOD.replace('directory = "data"\n', "\n".join(lines) + "\n", 1)
        loaded = config.parse(text, tmp_path / "x.toml").chunkserver
        assert loaded is not None
        return loaded.disks

    one, other = read(
        'disks = [{directory = "d1", capacity = "2GiB"}, {directory = "/d2", mounted = true}]'
    )
    assert one == config.DiskConfig(tmp_path / "d1", 2 << 30)
    assert other == config.DiskConfig(Path("/d2"), mounted=True)
    for wrong, what in (
        ('disks = [{directory = "d1"}, {directory = "d1"}]', "is given twice"),
        ('disks = [{directory = "d1"}]\ndirectory = "d2"', "goes into each of `disks`"),
        ('disks = [{directory = "d1", mounted = 1}]', "must be true or false"),
        ('disks = [{capacity = "2GiB"}]', "directory"),
        ('disks = [{directory = "d1", path = "x"}]', "unknown key"),
        ("disks = []", "0 disks; a server has 1 to 32"),
    ):
        with pytest.raises(ConfigError, match=what):
            read(*wrong.split("\n"))


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("d1", "./d1/../d1", "are the same directory"),
        ("d1", "link", "are the same directory"),
        ("link/x", "d1/x", "are the same directory"),
        ("d1", "d1/y", "d1/y lies in .*d1:"),
        ("d1/y", "d1", "d1/y lies in .*d1:"),
        ("link", "d1/y/z", "d1/y/z lies in .*link:"),
        (".", "d1", "d1 lies in "),
    ],
)
def test_directories_that_are_no_two_disks_are_both_named_and_none_is_made(
    tmp_path: Path, one: str, other: str, what: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "d1")
    disks = f'disks = [{{directory = "{one}"}}, {{directory = "{other}"}}]\n'
    with pytest.raises(ConfigError, match=what) as caught:
        config.parse(GOOD.replace('directory = "data"\n', disks, 1), tmp_path / "x.toml")
    # As they are written, with the place of the second one.
    named = [str(tmp_path / one), str(tmp_path / other), "chunkserver.disks[1].directory"]
    assert all(text in str(caught.value) for text in named)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
    sound = disks.replace(f'"{other}"', '"d10"').replace('"."', '"d1"')
    config.parse(GOOD.replace('directory = "data"\n', sound, 1), tmp_path / "x.toml")


def test_the_log_for_masters_that_are_away_has_bounds() -> None:
    def read(*keys: str) -> config.MasterConfig:
        own = "\n".join(["[master]", 'name = "m1"', 'directory = "m1"', *keys])
        found = config.parse(f"{GOOD}\n{own}\n", Path("/etc/x.toml")).master
        assert found is not None
        return found

    assert read().log_bytes == limits.RAFT_LOG_BYTES_MAX
    assert read('map_bytes = "256MiB"').log_bytes == 64 * limits.MIB
    assert read('log_bytes = "256KiB"').log_bytes == 256 * limits.KIB
    for wrong in ('log_bytes = "255KiB"', 'log_bytes = "2GiB"', "log_bytes = -1"):
        with pytest.raises(ConfigError, match="log_bytes"):
            read(wrong)
    with pytest.raises(ConfigError, match="a quarter of map_bytes"):
        read('map_bytes = "64MiB"', 'log_bytes = "17MiB"')

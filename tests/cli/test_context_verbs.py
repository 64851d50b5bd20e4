"""Several clusters: names for their files, and no path that ends up in the wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gfsctl_program import Gfsctl

from gfs_ha.cli.addressed import Addressed
from gfs_ha.cli.options import Options
from gfs_ha.errors import GfsError, WrongCluster


def config_file(path: Path, cluster_id: str, name: str) -> Path:
    path.write_text(
        f'[cluster]\nid = "{cluster_id}"\nname = "{name}"\n'
        '[[cluster.masters]]\nname = "m1"\nhost = "127.0.0.1"\nport = 1\nraft_port = 2\n'
    )
    return path


@pytest.fixture
def other(gfsctl: Gfsctl) -> Path:
    """The file of another cluster, which is not there."""
    return config_file(gfsctl.directory / "other.toml", "other-1", "otto")


def test_names_are_kept_listed_used_and_forgotten(gfsctl: Gfsctl, other: Path) -> None:
    assert "gfsctl context add" in gfsctl.ok("context", "ls").err
    gfsctl.ok("context", "add", "here", gfsctl.config)
    gfsctl.ok("context", "add", "there", "other.toml", "--use")
    gfsctl.ok("context", "add", "there", str(other))  # The same again is no error.
    assert gfsctl.ok("context", "ls", "-o", "name").lines == ["here", "there"]
    rows = gfsctl.ok("context", "ls", "-o", "json").json["items"]
    assert [(row["current"], row["cluster_id"]) for row in rows][1] == (True, "other-1")
    assert Path(rows[1]["config"]) == other, "a relative file is kept as an absolute one"
    told = gfsctl.ok("context", "use", "there").err
    assert "GFS_CONFIG=" in told and "comes before there" in told
    gfsctl.ok("context", "rm", "there")
    assert gfsctl.ok("context", "ls", "-o", "name").lines == ["here"]


def test_what_cannot_be_a_context_is_refused(gfsctl: Gfsctl, other: Path) -> None:
    gfsctl.ok("context", "add", "there", other)
    assert "no name" in gfsctl.refused(2, "context", "add", "a b", other)
    assert "cannot read" in gfsctl.refused(2, "context", "add", "x", "/nowhere.toml")
    (gfsctl.directory / "broken.toml").write_text("[cluster]\nidd = 1\n")
    assert "broken.toml:2" in gfsctl.refused(2, "context", "add", "x", "broken.toml")
    assert "--replace" in gfsctl.refused(4, "context", "add", "there", gfsctl.config)
    gfsctl.ok("context", "add", "there", gfsctl.config, "--replace")
    assert "there are there" in gfsctl.refused(3, "context", "use", "nix")
    gfsctl.refused(3, "context", "rm", "there", "nix")
    gfsctl.refused(2, "context", "use")
    assert gfsctl.ok("context", "ls", "-o", "name").lines == ["there"]
    other.unlink()
    gfsctl.ok("context", "add", "broken", config_file(other, "x", "x"))
    other.unlink()
    assert "other.toml" in gfsctl.ok("context", "ls").out.decode(), "one that is gone is shown"
    assert "other.toml" in gfsctl.refused(2, "--context", "broken", "ls", "/")


def test_show_says_which_cluster_is_meant_and_why(gfsctl: Gfsctl, other: Path) -> None:
    gfsctl.ok("context", "add", "there", other)
    (shown,) = gfsctl.ok("context", "show", "-o", "json").json["items"]
    assert (shown["config"], shown["why"]) == (str(gfsctl.config), "GFS_CONFIG")
    (shown,) = gfsctl.ok("--context", "there", "context", "show", "-o", "json").json["items"]
    assert (shown["name"], shown["cluster_id"], shown["why"]) == ("there", "other-1", "--context")
    assert "otto (other-1)" in gfsctl.ok("context", "show", "there").out.decode()
    gfsctl.refused(3, "context", "show", "nix")


def test_a_path_says_which_cluster_it_is_in(gfsctl: Gfsctl, home: str, other: Path) -> None:
    gfsctl.ok("context", "add", "there", other)
    gfsctl.ok("context", "add", "mine", gfsctl.config)
    gfsctl.library.write_bytes(f"{home}/f", b"1")
    cluster = gfsctl.library.config.cluster
    for name in (cluster.id, cluster.name, "mine"):
        assert gfsctl.ok("cat", f"gfs://{name}{home}/f").out == b"1"
    gfsctl.ok("--context", "mine", "cp", f"gfs://mine{home}/f", f"{home}/g")
    assert gfsctl.names(home) == ["f", "g"]


@pytest.mark.parametrize(
    "words",
    [
        ("cp", "gfs://there{0}/f", "{0}/g"),
        ("cp", "{0}/f", "gfs://otto{0}/g"),
        ("mv", "{0}/f", "gfs://other-1{0}/g"),
        ("cat", "{0}/f", "gfs://there{0}/f"),
        ("put", "local", "gfs://nix{0}/g"),
        ("--config", "CONFIG", "put", "local", "gfs://there{0}/g"),
        ("--context", "mine", "rm", "gfs://there{0}/f"),
    ],
)
def test_no_command_works_on_two_clusters_or_on_the_wrong_one(
    gfsctl: Gfsctl, home: str, other: Path, words: tuple[str, ...]
) -> None:
    gfsctl.ok("context", "add", "there", other)
    gfsctl.ok("context", "add", "mine", gfsctl.config)
    (gfsctl.directory / "local").write_bytes(b"2")
    gfsctl.library.write_bytes(f"{home}/f", b"1")
    full = [word.format(home).replace("CONFIG", str(gfsctl.config)) for word in words]
    ended = gfsctl(*full, "-o", "json")
    assert ended.status == 6 and json.loads(ended.err)["error"]["code"] == "WrongCluster"
    assert gfsctl.names(home) == ["f"] and gfsctl.library.read_bytes(f"{home}/f") == b"1"


def test_a_name_of_two_clusters_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path)}
    config_file(tmp_path / "gfs.toml", "id-1", "prod")
    other = config_file(tmp_path / "prod.toml", "id-2", "test")
    (tmp_path / ".config/gfs-ha").mkdir(parents=True)
    contexts = tmp_path / ".config/gfs-ha/contexts.toml"
    contexts.write_text(f'[contexts.prod]\nconfig = "{other}"\n')
    with pytest.raises(WrongCluster, match=r"two clusters, 'id-1'.*'id-2'"):
        Addressed(Options(), environ).remote_path("gfs://prod/x")
    for by_id, path in (("id-1", "gfs.toml"), ("id-2", str(other)), ("test", str(other))):
        addressed = Addressed(Options(), environ)
        assert addressed.remote_path(f"gfs://{by_id}/x") == "/x"
        assert str(addressed.config.path) == path
    contexts.write_text("broken")
    with pytest.raises(GfsError, match=r"contexts\.toml:1"):
        Addressed(Options(), environ).remote_path("gfs://id-2/x")
    assert Addressed(Options(), environ).remote_path("/x") == "/x"


def test_a_scheme_without_a_cluster_is_no_path(gfsctl: Gfsctl) -> None:
    for word in ("gfs://", "gfs:///x"):
        assert "names no cluster" in gfsctl.refused(2, "ls", word)
    assert "bash, zsh, fish" in gfsctl.refused(2, "completion")


def test_two_paths_of_one_other_cluster_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config_file(tmp_path / "gfs.toml", "id-1", "prod")
    other = config_file(tmp_path / "other.toml", "id-2", "test")
    (tmp_path / ".config/gfs-ha").mkdir(parents=True)
    (tmp_path / ".config/gfs-ha/contexts.toml").write_text(f'[contexts.t]\nconfig = "{other}"\n')
    addressed = Addressed(Options(), {"HOME": str(tmp_path)})
    assert addressed.remote_path("gfs://t/a/") == "/a/"
    assert addressed.remote_path("gfs://id-2/b") == addressed.remote_path("gfs://test/b") == "/b"
    with pytest.raises(WrongCluster, match="gfs://id-2/c if you mean that one"):
        addressed.remote_path("/c")
    with pytest.raises(WrongCluster, match="one command works on one cluster"):
        addressed.remote_path("gfs://prod/c")
    assert addressed.config.cluster.id == "id-2"


@pytest.mark.parametrize(
    "verb",
    [
        *("df", "touch -r", "find --newer", "policy get", "explain", "checksum", "du"),
        *("admin placement show", "admin placement explain", "admin chunks show", "admin fsck"),
    ],
)
def test_a_path_alone_says_the_cluster_whatever_the_verb_looks_at_first(
    gfsctl: Gfsctl, home: str, other: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    gfsctl.library.write_bytes(f"{home}/x", b"1")
    gfsctl.ok("context", "add", "here", gfsctl.config)
    monkeypatch.setattr(gfsctl, "config", other)
    path = f"gfs://here{home}/x"
    gfsctl.ok(*verb.split(), path, *([path] if verb.startswith(("touch", "find")) else []))

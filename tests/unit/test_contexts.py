"""Contexts: which file is meant, changes that are whole, names and files that are checked."""

from __future__ import annotations

import fcntl
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from gfs_ha.contexts import Contexts, change_contexts, choose, home_directory, read_contexts
from gfs_ha.errors import Busy, ConfigError, LocalError, NotFound
from gfs_ha.runtime import ThreadedRuntime


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A home, and a directory of work that has no configuration."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return {"HOME": str(tmp_path / "home")}


def add(environ: dict[str, str], name: str, path: str, use: bool = False) -> None:
    def act(contexts: Contexts) -> Contexts:
        files = {**contexts.files, name: Path(path)}
        return replace(contexts, files=files, current=name if use else contexts.current)

    change_contexts(environ, ThreadedRuntime(), act)


def place(environ: dict[str, str]) -> Path:
    directory = home_directory(environ)
    assert directory is not None
    return directory / "contexts.toml"


def test_what_was_written_is_read_again(environ: dict[str, str]) -> None:
    assert read_contexts(environ).files == {}
    add(environ, "prod", '/a "quoted" päth\\/gfs.toml')
    add(environ, "te.st", "/b.toml", use=True)
    found = read_contexts(environ)
    assert found.files == {"prod": Path('/a "quoted" päth\\/gfs.toml'), "te.st": Path("/b.toml")}
    assert found.current == "te.st"
    assert [one.name for one in place(environ).parent.iterdir()].count("contexts.toml.new") == 0


def test_the_home_is_where_xdg_says(environ: dict[str, str], tmp_path: Path) -> None:
    assert home_directory(environ) == tmp_path / "home/.config/gfs-ha"
    assert home_directory({**environ, "XDG_CONFIG_HOME": "/x"}) == Path("/x/gfs-ha")
    assert home_directory({**environ, "XDG_CONFIG_HOME": "relative"}) == home_directory(environ)
    assert home_directory({}) is None


def test_the_nearer_thing_decides(environ: dict[str, str], tmp_path: Path) -> None:
    add(environ, "one", "/one.toml")
    add(environ, "two", "/two.toml", use=True)
    directory = home_directory(environ)
    assert directory is not None
    (directory / "gfs.toml").touch()
    assert choose(environ).path == Path("/two.toml")
    (tmp_path / "work/gfs.toml").touch()
    assert choose(environ).path == Path("gfs.toml")
    by_name = {**environ, "GFS_CONTEXT": "one"}
    assert (choose(by_name).path, choose(by_name).context) == (Path("/one.toml"), "one")
    by_file = {**environ, "GFS_CONFIG": "/env.toml"}
    assert choose(by_file).path == Path("/env.toml")
    assert choose(by_file, context="one").path == Path("/one.toml")
    assert choose({**by_file, **by_name}, config="/c.toml").path == Path("/c.toml")


def test_two_things_that_mean_two_files_are_an_error(environ: dict[str, str]) -> None:
    add(environ, "one", "/one.toml")
    with pytest.raises(ConfigError, match="--context"):
        choose(environ, "/a.toml", "one")
    both = {**environ, "GFS_CONTEXT": "one", "GFS_CONFIG": "/other.toml"}
    with pytest.raises(ConfigError, match=r"GFS_CONFIG.*GFS_CONTEXT.*/one\.toml"):
        choose(both)
    assert choose({**both, "GFS_CONFIG": "/one.toml"}).context == "one"


def test_a_context_that_is_not_there_names_those_that_are(environ: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="gfsctl context add"):
        choose(environ, context="x")
    add(environ, "one", "/one.toml")
    with pytest.raises(NotFound, match="there are one"):
        choose({**environ, "GFS_CONTEXT": "x"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("current = 'x'", r"toml:1: current: 'x' is none of the contexts"),
        ("[contexts.a]", r"toml:1: contexts\.a\.config: is missing"),
        ("[contexts.a]\nconfig = '/a'\nfile = 1", r"toml:3: contexts\.a\.file: unknown key"),
        ("[contexts.'a b']\nconfig = '/a'", r"is no name"),
        ("contexts = 5", r"toml:1: contexts: must be a table"),
        ("[contexts", r"toml:1: broken TOML"),
    ],
)
def test_a_broken_file_is_an_error_and_is_left_alone(
    environ: dict[str, str], text: str, problem: str
) -> None:
    place(environ).parent.mkdir(parents=True)
    place(environ).write_text(text)
    with pytest.raises(ConfigError, match=problem):
        read_contexts(environ)
    with pytest.raises(ConfigError):
        add(environ, "b", "/b.toml")
    assert place(environ).read_text() == text
    assert choose(environ, "/c.toml").path == Path("/c.toml"), "what needs no contexts reads none"


def test_changes_at_once_are_all_there(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.contexts._LOCK_WAIT_S", 30.0)  # Each waits for a disk.
    names = [f"c{number}" for number in range(8)]
    workers = [threading.Thread(target=add, args=(environ, name, f"/{name}")) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(read_contexts(environ).files) == names


def test_a_change_that_is_refused_changes_nothing(environ: dict[str, str]) -> None:
    add(environ, "one", "/one.toml")
    before = place(environ).read_bytes()

    def refuse(contexts: Contexts) -> Contexts:
        raise NotFound("no")

    with pytest.raises(NotFound):
        change_contexts(environ, ThreadedRuntime(), refuse)
    with pytest.raises(ConfigError):
        add(environ, "line", "/a\nb.toml")
    with pytest.raises(ConfigError):
        add(environ, "bytes", "/a\udcff.toml")
    assert place(environ).read_bytes() == before


def test_a_lock_that_is_held_for_long_is_told(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gfs_ha.contexts._LOCK_WAIT_S", 0.0)
    add(environ, "one", "/one.toml")
    with (place(environ).parent / "contexts.lock").open("a") as held:
        fcntl.flock(held.fileno(), fcntl.LOCK_EX)
        with pytest.raises(Busy, match="another process"):
            add(environ, "two", "/two.toml")


def test_a_link_stays_a_link(environ: dict[str, str], tmp_path: Path) -> None:
    place(environ).parent.mkdir(parents=True)
    (tmp_path / "dotfiles.toml").touch()
    place(environ).symlink_to(tmp_path / "dotfiles.toml")
    add(environ, "one", "/one.toml")
    assert place(environ).is_symlink() and "one" in (tmp_path / "dotfiles.toml").read_text()


def test_a_place_that_cannot_be_written_is_told(environ: dict[str, str]) -> None:
    place(environ).parent.mkdir(parents=True)
    (place(environ).parent / "contexts.toml.new").mkdir()
    with pytest.raises(LocalError, match=r"contexts\.toml: cannot write"):
        add(environ, "one", "/one.toml")

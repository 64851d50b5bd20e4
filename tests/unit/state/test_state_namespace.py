"""Names: made, listed, moved, removed, changed; each case that is taken and each that is not."""

from __future__ import annotations

import pytest
from state_driver import Driver, empty_file

from gfs_ha.errors import GfsError, InvalidPath
from gfs_ha.limits import LIST_PAGE_MAX
from gfs_ha.protocol.metadata import Done, Mkdir, Publish, Remove, Rename, SetAttributes
from gfs_ha.protocol.paths import join_path, split_path


@pytest.fixture
def driver() -> Driver:
    """A tree: /d/e/f.txt, /d/g (empty), /file, /other."""
    driver = Driver()
    session = driver.open_session()
    assert session == 1
    driver.ok(Mkdir("/d/e", parents=True), session)
    driver.ok(Mkdir("/d/g"), session)
    files = tuple(empty_file(path) for path in ("/d/e/f.txt", "/file", "/other"))
    driver.ok(Publish(files), session)
    return driver


def names(driver: Driver, path: str) -> list[str]:
    with driver.view() as view:
        return [entry.name for entry in view.list_page(path, "", LIST_PAGE_MAX).entries]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "a/b",
        "//",
        "/a/",
        "/a//b",
        "/.",
        "/a/..",
        "/a\0b",
        "/" + "x" * 256,
        "/" + "é" * 128,
        "/é" * 2049,
        "/\udc80",
    ],
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(InvalidPath):
        split_path(path)


@pytest.mark.parametrize(
    "path", ["/", "/a", "/a b/-rf/100%", "/" + "x" * 255, "/" + "é" * 127, "/...", "/[red]x/:x:"]
)
def test_a_path_is_kept_as_it_is_typed(path: str) -> None:
    assert join_path(split_path(path)) == path


def test_a_name_too_long_says_the_limit() -> None:
    with pytest.raises(InvalidPath, match="255"):
        split_path("/" + "n" * 256)
    with pytest.raises(InvalidPath, match="4096"):
        split_path("/n" * 3000)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Mkdir("/new"), ""),
        (Mkdir("/d/e/new"), ""),
        (Mkdir("/d"), "AlreadyExists"),
        (Mkdir("/file"), "AlreadyExists"),
        (Mkdir("/"), "AlreadyExists"),
        (Mkdir("/no/new"), "NotFound"),
        (Mkdir("/file/new"), "NotADirectory"),
        (Mkdir("/new/../x"), "InvalidPath"),
        (Mkdir("/new", mode=0o10000), "InvalidArgument"),
        (Mkdir("/new", mode=-1), "InvalidArgument"),
        (Mkdir("/new", owner="a\tb"), "InvalidArgument"),
        (Mkdir("/new", group="g" * 256), "InvalidArgument"),
        (Mkdir("/d/e/x/y/z", parents=True), ""),
        (Mkdir("/d/e", parents=True), ""),
        (Mkdir("/", parents=True), ""),
        (Mkdir("/file", parents=True), "AlreadyExists"),
        (Mkdir("/file/x/y", parents=True), "NotADirectory"),
    ],
)
def test_mkdir(driver: Driver, command: Mkdir, expected: str) -> None:
    if expected:
        assert driver.error(command, 1) == expected
    else:
        status = driver.ok(command, 1)
        with driver.view() as view:
            assert view.status(command.path) == status
    driver.check()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("/file", "/new", ""),
        ("/file", "/d/e/new", ""),
        ("/file", "/other", ""),
        ("/d/e/f.txt", "/file", ""),
        ("/d", "/new", ""),
        ("/d/e", "/d/g", ""),
        ("/d/g", "/up", ""),
        ("/file", "/file", ""),
        ("/d", "/d", ""),
        ("/no", "/new", "NotFound"),
        ("/file", "/no/new", "NotFound"),
        ("/file", "/other/new", "NotADirectory"),
        ("/file/x", "/new", "NotADirectory"),
        ("/file", "/d/g", "IsADirectory"),
        ("/d/g", "/file", "NotADirectory"),
        ("/d/g", "/d/e", "DirectoryNotEmpty"),
        ("/d/e", "/d", "DirectoryNotEmpty"),
        ("/d", "/d/x", "InvalidArgument"),
        ("/d", "/d/e/x", "InvalidArgument"),
        ("/d", "/d/g", "InvalidArgument"),
        ("/", "/new", "InvalidArgument"),
        ("/d", "/", "InvalidArgument"),
        ("/d/", "/new", "InvalidPath"),
    ],
)
def test_rename(driver: Driver, source: str, target: str, expected: str) -> None:
    command = Rename(source, target)
    with driver.view() as view:
        before = None if expected else view.status(source)
    if expected:
        fingerprint = names(driver, "/"), names(driver, "/d"), names(driver, "/d/e")
        assert driver.error(command, 1) == expected
        assert fingerprint == (names(driver, "/"), names(driver, "/d"), names(driver, "/d/e"))
    else:
        assert driver.ok(command, 1) == Done()
        with driver.view() as view:
            assert view.status(target) == before
            if source != target:
                with pytest.raises(GfsError, match="does not exist"):
                    view.status(source)
    driver.check()


def test_rename_without_replacing_refuses_what_is_there(driver: Driver) -> None:
    for target in ("/other", "/d/g", "/file"):
        assert driver.error(Rename("/file", target, replace=False), 1) == "AlreadyExists"
    assert driver.ok(Rename("/file", "/new", replace=False), 1) == Done()
    driver.check()


def test_a_moved_directory_takes_its_tree_along(driver: Driver) -> None:
    driver.ok(Rename("/d", "/moved"), 1)
    assert names(driver, "/moved/e") == ["f.txt"]
    driver.ok(Mkdir("/moved/e/x"), 1)
    driver.ok(Rename("/moved/e", "/e"), 1)
    assert names(driver, "/e") == ["f.txt", "x"]
    assert names(driver, "/moved") == ["g"]
    driver.check()


def test_siblings_that_share_a_prefix_are_left_alone() -> None:
    driver = Driver()
    session = driver.open_session()
    for path in ("/lib", "/lib2", "/library", "/lib/x", "/lib2/y"):
        driver.ok(Mkdir(path), session)
    assert driver.ok(Rename("/lib", "/lib2/lib"), session) == Done()
    driver.ok(Remove("/lib2/lib", recursive=True), session)
    assert driver.error(Remove("/li", recursive=True), session) == "NotFound"
    assert names(driver, "/") == ["lib2", "library"]
    assert names(driver, "/lib2") == ["y"]
    driver.check()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (Remove("/file"), ""),
        (Remove("/file", recursive=True), ""),
        (Remove("/d/g"), ""),
        (Remove("/d", recursive=True), ""),
        (Remove("/d"), "DirectoryNotEmpty"),
        (Remove("/no"), "NotFound"),
        (Remove("/no/x"), "NotFound"),
        (Remove("/file/x"), "NotADirectory"),
        (Remove("/", recursive=True), "InvalidArgument"),
        (Remove("nowhere"), "InvalidPath"),
    ],
)
def test_remove(driver: Driver, command: Remove, expected: str) -> None:
    if expected:
        assert driver.error(command, 1) == expected
    else:
        driver.ok(command, 1)
        with driver.view() as view, pytest.raises(GfsError, match="does not exist"):
            view.status(command.path)
    driver.check()


def test_attributes_change_one_by_one_and_times_before_1970_are_kept(driver: Driver) -> None:
    status = driver.ok(SetAttributes("/file", mode=0o4755), 1)
    assert status.mode == 0o4755
    status = driver.ok(SetAttributes("/file", owner="me", mtime_ns=-123_456_789_000), 1)
    assert (status.mode, status.owner, status.mtime_ns) == (0o4755, "me", -123_456_789_000)
    status = driver.ok(SetAttributes("/file", group="us"), 1)
    assert (status.owner, status.group) == ("me", "us")
    assert driver.ok(SetAttributes("/", mode=0o755), 1).inode_id == 1
    for bad, expected in (
        (SetAttributes("/no", mode=1), "NotFound"),
        (SetAttributes("/file", mode=-1), "InvalidArgument"),
        (SetAttributes("/file", mtime_ns=1 << 63), "InvalidArgument"),
        (SetAttributes("/file", owner="\n"), "InvalidArgument"),
    ):
        assert driver.error(bad, 1) == expected
    with driver.view() as view:
        assert view.status("/file") == status
    driver.check()


def test_the_root_is_for_everyone_and_directories_count_and_date_their_names(
    driver: Driver,
) -> None:
    with driver.view() as view:
        root = view.status("/")
        assert (root.inode_id, root.mode, root.entry_count) == (1, 0o777, 3)
    driver.ok(Remove("/file"), 1)
    with driver.view() as view:
        after = view.status("/")
        assert after.entry_count == 2
        assert after.mtime_ns > root.mtime_ns
        assert view.status("/d").mtime_ns < after.mtime_ns


def test_a_directory_is_listed_in_byte_order_page_by_page() -> None:
    driver = Driver()
    session = driver.open_session()
    wanted = sorted(["é", "z", "a", "a b", "aa", "-x", "Z", "日本", "a\n"], key=str.encode)
    for name in wanted:
        driver.ok(Mkdir(f"/d/{name}", parents=True), session)
    found: list[str] = []
    more = True
    with driver.view() as view:
        while more:
            page = view.list_page("/d", found[-1] if found else "", 2)
            found += [entry.name for entry in page.entries]
            more = page.more
        assert found == wanted
        assert view.list_page("/d", "zzz日", 5).entries[-1].name == "日本"
        for path, limit, error in (
            ("/d", 0, "InvalidArgument"),
            ("/d", LIST_PAGE_MAX + 1, "InvalidArgument"),
            ("/no", 5, "NotFound"),
        ):
            with pytest.raises(GfsError) as caught:
                view.list_page(path, "", limit)
            assert caught.value.code == error


def test_reads_tell_files_and_directories_apart(driver: Driver) -> None:
    with driver.view() as view:
        for read, error in (
            (lambda: view.open_file("/d", 0, 5), "IsADirectory"),
            (lambda: view.open_file("/no", 0, 5), "NotFound"),
            (lambda: view.open_file("/file", -1, 5), "InvalidArgument"),
            (lambda: view.open_file("/file", 0, 0), "InvalidArgument"),
            (lambda: view.list_page("/file", "", 5), "NotADirectory"),
            (lambda: view.status("/file/x"), "NotADirectory"),
        ):
            with pytest.raises(GfsError) as caught:
                read()
            assert caught.value.code == error

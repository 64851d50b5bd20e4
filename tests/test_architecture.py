"""The shape of the code, held by a test: sizes, banned names, one door per library, pure rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "gfs_ha"
FILES = sorted(PACKAGE.rglob("*.py"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 7
BANNED_STEMS = {"utils", "util", "helpers", "common", "misc", "base", "core", "stuff", "tools"}

# Each library enters through a single door.
DOORS = {
    "lmdb": {"kv/lmdb_kv.py"},
    "rpyc": {"net/rpc.py"},
    "pysyncobj": {
        "master/raft/syncobj.py",
    },
    "crc32c": {"checksum.py"},
    "cryptography": {"pki/"},
    "ssl": {"net/tls.py", "net/tls_session.py"},
    "click": {"cli/"},
    "rich": {"cli/"},
    "prometheus_client": {"metrics/exposition.py"},
}

# Who may ask the OS for time, chance, threads and sockets.
SYSTEM_MODULES = {
    "threading",
    "queue",
    "select",
    "selectors",
    "socket",
    "time",
    "random",
    "secrets",
    "concurrent",
    "asyncio",
    "multiprocessing",
}
SYSTEM_ROOMS = ("runtime.py", "net/", "kv/", "chunk/disk.py", "master/raft/transport.py")
# Starting, signalling and finding real processes needs ports; the simulator brings its own chance.
SYSTEM_EXCEPTIONS = {
    "local/ports.py": {"socket"},
    "sim/": {"random"},
    "notify.py": {"socket"},
}

PURE_ROOMS = (
    "errors.py",
    "ids.py",
    "limits.py",
    "checksum.py",
    "latency.py",
    "sketch.py",
    "sketch_windows.py",
    "protocol/",
    "master/state/",
    "master/planners/",
    "master/placement.py",
    "master/rules.py",
    "master/health.py",
    "master/sealing.py",
    "master/observed.py",
    "chunk/slots/format.py",
    "chunk/journal/frames.py",
    "client/retry.py",
)
IMPURE_MODULES = SYSTEM_MODULES | {"os", "subprocess", "logging", "datetime", "tempfile", "shutil"}


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def lies_in(name: str, rooms: tuple[str, ...] | set[str]) -> bool:
    return any(name == room or (room.endswith("/") and name.startswith(room)) for room in rooms)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_is_small_and_its_name_says_what_it_owns(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= LINES_MAX, f"{lines} lines; split it by noun"
    assert path.stem not in BANNED_STEMS
    assert not path.stem[-1].isdigit()


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_module_opens_with_what_it_owns(path: Path) -> None:
    module = tree(path)
    if module.body:
        assert ast.get_docstring(module), "no module docstring"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{node.name}: {lines} lines"
            arguments = node.args
            count = len(arguments.args) + len(arguments.kwonlyargs) + len(arguments.posonlyargs)
            decorated = any(isinstance(mark, ast.Call) for mark in node.decorator_list)
            # Click hands each option over as a parameter of its own.
            if not (decorated and place(path).startswith("cli/")):
                assert count <= PARAMETERS_MAX + 1, f"{node.name}: {count} parameters"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_each_library_enters_through_one_door(path: Path) -> None:
    for module in imported(path):
        top = module.split(".")[0]
        if top in DOORS:
            assert lies_in(place(path), DOORS[top]), f"imports {module}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_only_the_doors_ask_the_system_for_time_chance_threads_or_sockets(path: Path) -> None:
    name = place(path)
    if lies_in(name, SYSTEM_ROOMS):
        return
    allowed = {
        module
        for room, modules in SYSTEM_EXCEPTIONS.items()
        if lies_in(name, {room})
        for module in modules
    }
    for module in imported(path):
        top = module.split(".")[0]
        assert top not in SYSTEM_MODULES or top in allowed, f"imports {module}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_pure_rooms_are_pure(path: Path) -> None:
    if not lies_in(place(path), PURE_ROOMS):
        return
    for module in imported(path):
        assert module.split(".")[0] not in IMPURE_MODULES, f"imports {module}"
        assert not module.startswith(("gfs_ha.runtime", "gfs_ha.logs")), f"imports {module}"


@pytest.mark.parametrize("path", FILES, ids=place)
def test_nothing_unfinished_and_no_swallowed_exception(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("TODO", "FIXME", "XXX", "NotImplementedError"):
        assert word not in text, word
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
            broad = isinstance(node.type, ast.Name) and node.type.id in (
                "Exception",
                "BaseException",
            )
            silent = all(isinstance(statement, ast.Pass) for statement in node.body)
            assert not (broad and silent), f"line {node.lineno}: swallows everything"


def test_each_test_module_has_a_name_of_its_own() -> None:
    # They are imported by their bare names: two of one name do not run together.
    names = [path.name for path in Path(__file__).parent.rglob("*.py") if path.stem != "conftest"]
    assert sorted(names) == sorted(set(names))

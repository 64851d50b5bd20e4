"""gfsctl against a real cluster: as a real process, or, much faster, inside the test's own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gfs_ha
from gfs_ha.cli.shell import run
from gfs_ha.errors import NotFound
from gfs_ha.local.cluster import LocalCluster
from gfs_ha.protocol.reports import ChunkRow

GFSCTL = str(Path(sys.executable).with_name("gfsctl"))
COMMAND_S = 120.0
CHUNK_BYTES = 1 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


class Gfsctl:
    """Runs gfsctl against one cluster.

    Called, it runs the command line in this process: the same code without the start of an
    interpreter. `begin` and `end` run the real program, for signals, pipes and several at once.
    """

    def __init__(self, config: Path, directory: Path, library: gfs_ha.Cluster) -> None:
        self.config = config
        self.directory = directory
        self.library = library  # For looks that need no process of their own.
        self._children: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("GFS_")}
        return {**plain, "GFS_CONFIG": str(self.config), "HOME": str(self.directory)}

    def begin(
        self, *words: str | bytes | Path, before: tuple[str, ...] = (), **more: Any
    ) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        child = subprocess.Popen(
            [*before, GFSCTL, *words],
            env=self.environment(),
            cwd=self.directory,
            **{**pipes, **more},
        )
        self._children.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes], stdin: bytes | None = None) -> Ended:
        out, err = child.communicate(stdin, timeout=COMMAND_S)
        return Ended(child.returncode, out, err.decode("utf-8", "backslashreplace"))

    def __call__(self, *words: str | bytes | Path, stdin: bytes | None = None) -> Ended:
        """Run it to its end in this process, whatever the end is."""
        streams = [_stream(stdin or b""), _stream(b""), _stream(b"")]
        kept = sys.stdin, sys.stdout, sys.stderr
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        environment, own = dict(os.environ), self.environment()
        os.environ.clear()
        os.environ.update(own)
        sys.stdin, sys.stdout, sys.stderr = streams
        try:
            with contextlib.chdir(self.directory):
                status = run([os.fsdecode(word) for word in words])
        finally:
            sys.stdin, sys.stdout, sys.stderr = kept
            root.handlers[:] = handlers  # -v has the log written to a stream that is gone.
            root.setLevel(level)
            os.environ.clear()
            os.environ.update(environment)
        out, err = (_written(stream) for stream in streams[1:])
        return Ended(status, out, err.decode("utf-8", "backslashreplace"))

    def process(self, *words: str | bytes | Path, stdin: bytes | None = None) -> Ended:
        """Run the real program to its end, whatever the end is."""
        more = {} if stdin is None else {"stdin": subprocess.PIPE}
        return self.end(self.begin(*words, **more), stdin)

    def ends_well(self, *words: str | bytes | Path) -> None:
        """Run what may wait for ever as the real program, which has COMMAND_S; it must succeed."""
        ended = self.process(*words)
        assert ended.status == 0, f"gfsctl {words}: {ended.status}: {ended.err}"

    def ok(self, *words: str | bytes | Path, stdin: bytes | None = None) -> Ended:
        """Run it; it must end with status 0."""
        ended = self(*words, stdin=stdin)
        assert ended.status == 0, f"gfsctl {words}: {ended.status}: {ended.err}"
        return ended

    def refused(self, status: int, *words: str | bytes | Path) -> str:
        """Run it; it must end with this status and one clear line."""
        ended = self(*words)
        assert ended.status == status, f"gfsctl {words}: {ended.status}: {ended.err}"
        assert ended.err.startswith("gfsctl: ") and ended.err.count("\n") == 1, ended.err
        assert "Traceback" not in ended.err
        return ended.err

    def names(self, path: str) -> list[str]:
        """Return the names in a directory."""
        return [entry.name for entry in self.library.listdir(path)]

    def tree(self, path: str) -> list[str]:
        """Return the paths of everything below a directory, sorted."""
        return sorted(path for path, _ in self.library.walk(path))

    def chunk_ids(self, path: str) -> list[int]:
        """Return the chunks of a file in their order."""
        return [item.chunk.chunk_id for item in self.library.operations.placement(path).items]

    def wait_whole(self, path: str) -> None:
        """Wait until a file has all its copies: who was slow gets his from repair."""

        def whole() -> bool:
            chunks = [one.chunk for one in self.library.operations.placement(path).items]
            return all(one.copies == one.goal == len(one.replicas) for one in chunks)

        wait_until(whole, f"all copies of {path}")

    def wait_heard(self) -> None:
        """Wait until the leader knows the disks of all servers: one that is new must hear them."""

        def heard() -> bool:
            rows = self.library.operations.servers().items
            return all(row.state == "live" and row.disks for row in rows)

        wait_until(heard, "every server to be heard")

    def live_chunks(self) -> dict[int, ChunkRow]:
        """Return the chunks that are not dead, newest last."""
        rows = self.library.operations.chunks()
        return {row.chunk_id: row for row in rows if row.state != "dead"}

    def left_over(self, before: set[int]) -> set[int]:
        """Return the chunks that came since `before` and of which no file has a byte.

        Not every new chunk is one: what was scattered in old ones may be brought together.
        """
        rows = {key: row for key, row in self.live_chunks().items() if key not in before}
        fresh = set(rows)
        if any(row.claimed_by or row.state != "sealed" for row in rows.values()):
            return fresh
        for path, entry in self.library.walk("/") if fresh else ():
            if entry.status.kind == "file":
                with contextlib.suppress(NotFound):
                    fresh -= set(self.chunk_ids(path))
        return fresh

    def stop_all(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait(10)
            for pipe in (child.stdin, child.stdout, child.stderr):
                if pipe is not None:
                    pipe.close()


def _stream(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8", "surrogateescape")


def _written(stream: io.TextIOWrapper) -> bytes:
    stream.flush()
    raw = stream.detach()
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue()


def wait_until(there: Callable[[], bool], what: str, timeout_s: float = 90.0) -> None:
    """Wait for a state, looking again and again; only the deadline is a matter of time."""
    deadline_s = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.01)


def eventually(look: Callable[[], T], timeout_s: float = 90.0) -> T:
    """Return what a look returns, taken again while one of its own assertions does not hold."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            return look()
        except AssertionError:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(0.1)


def kill_member(cluster: LocalCluster, name: str) -> None:
    """End a process of the cluster as a power cut would."""
    cluster.kill(name, signal.SIGKILL)

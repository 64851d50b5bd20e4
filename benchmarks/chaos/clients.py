"""The client processes of a run: started, killed, ended, their records found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos import kernel
from chaos.masters import search_path
from gfs_ha.local.processes import start_ticks
from gfs_ha.runtime import boot_id

PROGRAM = Path(__file__).with_name("client.py")
FILLER = Path(__file__).with_name("filler.py")
_TAGS_PER_CLIENT = 1_000_000_000
_END_S = 60.0


class Clients:
    """Client processes, each with a record of its own. Use it with `with`."""

    def __init__(self, directory: Path, config: Path, seed: int) -> None:
        self._directory = directory
        self._config = config
        self._seed = seed
        self._count = 0
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.began_s = time.monotonic()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(10)

    @property
    def records(self) -> list[Path]:
        """Return the records of all clients that ever ran."""
        return sorted(self._directory.glob("*.record"))

    def start(
        self,
        host: str,
        enter: Callable[[], None] | None,
        program: Path = PROGRAM,
        **habits: Any,
    ) -> str:
        """Start a client on a host; return its name, which no other run has."""
        self._count += 1
        name = f"{host}-{self._count}"
        wish = {
            "config": str(self._config),
            "record": str(self._directory / f"{name}.record"),
            "name": name,
            "seed": self._seed,
            "began_s": self.began_s,
            "tag_base": self._count * _TAGS_PER_CLIENT,
            **habits,
        }
        parent = os.getpid()

        def prepare() -> None:
            if enter is not None:
                enter()
            kernel.end_with_parent(parent)
            # One that is ended while it still starts ends in peace, as soon as it can.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

        errors = self._directory / f"{name}.errors"
        with errors.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(program), json.dumps(wish)],
                env={**os.environ, "PYTHONPATH": search_path(PROGRAM.parent.parent)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=prepare,
                process_group=0,
            )
        self._running[name] = process
        note = f"{process.pid} {start_ticks(process.pid)} {boot_id()}\n"
        (self._directory / f"{name}.pid").write_text(note, encoding="ascii")
        return name

    def kill(self, name: str) -> None:
        """Kill a client in the middle of what it does."""
        process = self._running.pop(name)
        process.kill()
        process.wait(10)

    def finish(self) -> list[str]:
        """End all clients in peace; return what went wrong with them."""
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        return self.wait(_END_S)

    def wait(self, timeout_s: float) -> list[str]:
        """Wait for the end of all clients; return what went wrong with them."""
        wrong = []
        deadline_s = time.monotonic() + timeout_s
        for name, process in list(self._running.items()):
            try:
                status = process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
                wrong.append(f"client {name} did not end within {timeout_s:.0f} s")
                status = 0
            said = (self._directory / f"{name}.errors").read_text(errors="replace").strip()
            if status != 0 or said:
                last = said.splitlines()[-1:] or ["without a word"]
                wrong.append(f"client {name} ended with status {status}: {last[0]}")
            del self._running[name]
        return wrong

"""An operator who replaces masters by new ones while everything goes wrong, and never gives up."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos.masters import PORT, RAFT_PORT, MasterProcess, Masters, Place

Ask = Callable[..., "subprocess.Popen[str]"]
# No leader, no answer, or a newcomer that was killed: the same command goes on later.
_AGAIN = (1, 4, 5, 10, -signal.SIGKILL)


@dataclass
class _Errand:
    """One replacement under way, and the command that works at it."""

    old: str
    new: Place
    command: subprocess.Popen[str]


class Operator:
    """Gives the commands that `gfsctl` offers. Args: `ask` starts one; `spares` are places of new
    masters, each used once.
    """

    def __init__(self, masters: Masters, ask: Ask, spares: Sequence[Place]) -> None:
        self.done_count = 0
        self.wrong: list[str] = []
        self._masters = masters
        self._ask = ask
        self._spares = list(spares)
        self._errand: _Errand | None = None

    @property
    def busy(self) -> bool:
        return self._errand is not None

    def replace(self, old: MasterProcess, dies: bool) -> bool:
        """Begin to replace a master; return False while another one is being replaced."""
        if self._errand is not None or not self._spares:
            return False
        place = self._spares.pop(0)
        self._masters.add(place)
        if dies:
            old.end(signal.SIGKILL)
        self._errand = _Errand(old.name, place, self._command(old.name, place))
        return True

    def look(self) -> None:
        """See how far the command is; give it again when it ended before it was done."""
        errand = self._errand
        if errand is None or errand.command.poll() is None:
            return
        output, errors = errand.command.communicate()
        if errand.command.returncode == 0:
            self._masters.remove(errand.old)
            self._errand = None
            self.done_count += 1
        elif errand.command.returncode in _AGAIN:
            errand.command = self._command(errand.old, errand.new)
        else:
            status = errand.command.returncode
            self.wrong.append(f"replace ended with {status}: {(output + errors).strip()[-300:]}")
            self._errand = None

    def close(self) -> None:
        """End the command that is under way."""
        if self._errand is not None:
            self._errand.command.kill()
            self._errand.command.communicate()

    def _command(self, old: str, new: Place) -> subprocess.Popen[str]:
        where = f"{new.address}:{PORT}:{RAFT_PORT}"
        words = ("admin", "masters", "replace", "-y", "--timeout", "5", old, new.name, where)
        return self._ask(*words)

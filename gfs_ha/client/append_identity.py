"""The id under which an appender's records are sent: opened once, kept alive while it is used.

The leader forgets a session 24 h after its last use, and with it which of its records are in a
file; reads do not count as use. So each id bears a key, the writer's or one made up, and is opened
again by it from time to time, which changes nothing but when it was used last.
"""

from __future__ import annotations

from gfs_ha.client.append_grants import AppendGrants, AppendTarget
from gfs_ha.ids import NO_SESSION, SessionId
from gfs_ha.runtime import Runtime

ID_RENEW_S = 3600.0
RETRY_S = 60.0  # After a renewal that failed.


class AppenderIdentity:
    """Not thread-safe: the appender that uses it at the time locks."""

    def __init__(self, grants: AppendGrants, target: AppendTarget, runtime: Runtime) -> None:
        self._grants = grants
        self._runtime = runtime
        self._named = bool(target.key)
        self._key = target.key or self._made_up()
        self._value = NO_SESSION
        self._due_s = 0.0

    @property
    def value(self) -> SessionId:
        """Return the id; 0 before it was opened, and when it was forgotten."""
        return self._value

    @property
    def due(self) -> bool:
        """Return whether it is to be opened, or used again, before anything is sent under it."""
        return self._value == NO_SESSION or self._runtime.monotonic_s() > self._due_s

    def ensure(self, in_doubt: bool, timeout_s: float) -> SessionId:
        """Return the id, opened or used again if that is due.

        Args: `in_doubt` says that records under it are in doubt, so that no other one will do.
        Raises: SessionExpired when the leader has forgotten it; NoLeader…
        """
        if self.due:
            now_s = self._runtime.monotonic_s()
            expected = self._value if in_doubt else NO_SESSION
            self._value = self._grants.open_appender(self._key, timeout_s, expected)
            self._due_s = now_s + ID_RENEW_S
        return self._value

    def put_off(self) -> None:
        """Try the renewal again in a while: it is due long before it is late."""
        self._due_s = self._runtime.monotonic_s() + RETRY_S

    def forget(self) -> None:
        """Go on under another id: nothing is known any more of the records of this one."""
        self._value = NO_SESSION
        if not self._named:
            self._key = self._made_up()

    def _made_up(self) -> str:
        return f"appender {self._runtime.random_u64():016x}{self._runtime.random_u64():016x}"

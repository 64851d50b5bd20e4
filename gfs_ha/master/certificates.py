"""Until when the certificates of a cluster are good, as far as a master knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gfs_ha.errors import GfsError
from gfs_ha.master.certificate_health import CertificateEnd, TlsSymptoms
from gfs_ha.net.tls import Credentials
from gfs_ha.protocol.reports import MasterFacts
from gfs_ha.runtime import Runtime, Task

AskMasters = Callable[[], Mapping[str, MasterFacts | GfsError]]


class CertificateWatch:
    """This master's own, and what the others say of theirs when they are asked. Thread-safe."""

    def __init__(self, credentials: Credentials, ask: AskMasters, runtime: Runtime) -> None:
        """Args: `ask` returns what all masters say, within a bounded time."""
        self._credentials = credentials
        self._ask = ask
        self._runtime = runtime
        self._task: Task | None = None
        self._masters: dict[str, int] = {}  # Replaced, never changed.

    @property
    def until_ms(self) -> int:
        """Return until when this master's own certificate is good, in wall time."""
        return self._credentials.until_ms

    def look_around(self) -> None:
        """Begin to ask the other masters, unless that goes on already."""
        if self._task is None or not self._task.running():
            self._task = self._runtime.spawn("certificates", self._look)

    def stop(self, timeout_s: float) -> bool:
        """Return whether nobody is asked any more."""
        return self._task is None or self._task.join(timeout_s)

    def symptoms(self, servers: Iterable[tuple[str, int]]) -> TlsSymptoms:
        """Return what is known. Args: `servers` are chunkservers and what they said; 0: nothing."""
        own = self._credentials.own.name
        ends = [
            CertificateEnd(f"the certificate of master {name}", until_ms, name)
            for name, until_ms in {**self._masters, own: self.until_ms}.items()
        ]
        ends += [
            CertificateEnd(f"the certificate of chunkserver {name}", until_ms, name)
            for name, until_ms in servers
            if until_ms
        ]
        ends += [
            CertificateEnd(f"authority {key_id.hex()[:16]}", int(ends_at.timestamp() * 1000))
            for key_id, ends_at in self._credentials.trusted.items()
        ]
        expires = self._credentials.revocations.expires
        until_ms = 0 if expires is None else int(expires.timestamp() * 1000)
        return TlsSymptoms(tuple(ends), until_ms)

    def _look(self) -> None:
        known = self._masters
        found: dict[str, int] = {}
        for name, facts in self._ask().items():
            if isinstance(facts, MasterFacts):
                found[name] = facts.certificate_until_ms
            elif name in known:
                found[name] = known[name]  # It is away; its certificate ends all the same.
        self._masters = {name: until_ms for name, until_ms in found.items() if until_ms}

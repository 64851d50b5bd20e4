"""Asks one master, and not whoever leads."""

from __future__ import annotations

from trio import CALL_S, CLUSTER, NAMES, WAIT_S, Client, Trio

from gfs_ha.errors import GfsError
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.masters import Answer, MasterConnections, call_context, read_answer
from gfs_ha.protocol.calls import SERVE_METHOD, Asked, ReadTerms, Request
from gfs_ha.protocol.codec import Failure, Hello, encode
from gfs_ha.protocol.metadata import FileStatus, Mkdir


class Asker:
    """Asks the master that it is told to ask."""

    def __init__(self, trio: Trio) -> None:
        self._runtime = trio.runtime
        hello = Hello(CLUSTER, PROTOCOL_VERSION, "client", "asker")
        network = trio.network("client", "asker")
        self._connections = MasterConnections(trio.masters, network, hello, self._runtime)
        trio.at_close(self._connections.close)

    def ask(self, name: str, terms: ReadTerms | None, *requests: Request) -> Answer:
        """Return the answer, once no election is in its way."""
        deadline_s = self._runtime.monotonic_s() + WAIT_S
        while True:
            late = self._runtime.monotonic_s() > deadline_s
            try:
                answer = self.ask_once(name, terms, *requests)
            except GfsError:
                if late:
                    raise
            else:
                failed = [reply for reply in answer.replies if isinstance(reply, Failure)]
                if late or not any(one.raised().retryable for one in failed):
                    return answer
            self._runtime.sleep(0.02)

    def ask_once(self, name: str, terms: ReadTerms | None, *requests: Request) -> Answer:
        context = call_context(self._runtime, self._runtime.monotonic_s() + CALL_S, terms)
        body = encode(tuple(Asked(request) for request in requests))
        data = self._connections.caller(name).call(SERVE_METHOD, context, body, CALL_S)
        return read_answer(data, len(requests), dated=terms is not None)

    def error(self, name: str, terms: ReadTerms | None, request: Request) -> GfsError:
        reply = self.ask_once(name, terms, request).replies[0]
        assert isinstance(reply, Failure), reply
        return reply.raised()


def followers(trio: Trio) -> list[str]:
    """Return who does not lead."""
    leader = trio.leader()
    return [name for name in NAMES if name != leader]


def made(client: Client, path: str) -> None:
    """Make a directory."""
    assert isinstance(client.ask(Mkdir(path, 0o755, "", "", False)), FileStatus)

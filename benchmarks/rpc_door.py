"""How many calls a second one door serves: one at a time, pipelined, and to many clients.

    python benchmarks/rpc_door.py [--seconds 3] [--turns 3] [--clients 8] [-o json]

The door runs in a process of its own and answers 100 bytes with 300, at once or by a Deferred. The
floor is a bare socket loop in two processes that carries the same bytes one frame at a time,
without any of the door's checks: machines differ, the share of the floor does not. Each case runs
in the clear and in TLS by turns; what TLS leaves of the calls is the median over the turns.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from gfs_ha.errors import GfsError
from gfs_ha.net.channel import Channel
from gfs_ha.net.door import Door
from gfs_ha.net.network import Connection, Deferred, Hello
from gfs_ha.net.rpc import FrameReader, encode_reply, encode_request
from gfs_ha.net.tls import Credentials
from gfs_ha.pki import authority as authorities
from gfs_ha.pki.enrolment import enrol
from gfs_ha.pki.names import PeerName, Role
from gfs_ha.runtime import Future, Runtime, ThreadedRuntime

AT_ONCE, LATER = 1, 2
CONTEXT = b"c" * 20
BODY = b"b" * 80
ANSWER = b"a" * 300
WINDOW = 100
TIMEOUT_S = 30.0
CLUSTER = "bench"
HOST = "127.0.0.1"


class _Service:
    """Answers at once, or from another turn of the door as the real one does after a commit."""

    door: Door

    def handle(
        self, connection: Connection, method: int, context: bytes, body: bytes
    ) -> bytes | Deferred:
        if method == AT_ONCE:
            return ANSWER
        deferred = Deferred(TIMEOUT_S)

        def answer() -> None:
            deferred.reply(ANSWER)

        self.door.post(answer)
        return deferred

    def error_reply(self, error: GfsError) -> bytes:
        return error.message.encode()


def _enrol(root: Path) -> None:
    """Make an authority, and a master and a client of its cluster."""
    now = datetime.now(UTC)
    authority = authorities.create(root / "ca", CLUSTER, now)
    for role in (Role.MASTER, Role.CLIENT):
        enrol(authority, PeerName(CLUSTER, role, "bench"), [HOST], root / role, now)


def _credentials(root: Path | None, role: Role, runtime: Runtime) -> Credentials | None:
    return None if root is None else Credentials(root / role, CLUSTER, runtime)


def _serve_door(pipe: Pipe, root: Path | None) -> None:
    service = _Service()
    runtime = ThreadedRuntime()
    credentials = _credentials(root, Role.MASTER, runtime)
    listen = (HOST, 0)
    service.door = Door(runtime, listen, lambda c, b: b"", service, credentials=credentials)
    pipe.send(service.door.port)

    def stop() -> None:
        pipe.recv()
        service.door.stop()

    threading.Thread(target=stop, daemon=True).start()
    start = time.process_time()
    service.door.run()
    pipe.send(time.process_time() - start)


def _serve_floor(pipe: Pipe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        sock, _ = listener.accept()
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = time.process_time()
        reader = FrameReader()
        answer = encode_reply(1, ANSWER)
        while data := sock.recv(65_536):
            reader.feed(data)
            while reader.next_request() is not None:
                sock.sendall(answer)
    pipe.recv()
    pipe.send(time.process_time() - start)


def _floor_calls(port: int, seconds: float) -> tuple[int, float]:
    request = encode_request(1, AT_ONCE, CONTEXT, BODY)
    answer_bytes = len(encode_reply(1, ANSWER))
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = 0
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            sock.sendall(request)
            assert len(sock.recv(answer_bytes, socket.MSG_WAITALL)) == answer_bytes
            count += 1
        return count, time.perf_counter() - start


def _dial(port: int, root: Path | None) -> Channel:
    runtime = ThreadedRuntime()
    credentials = _credentials(root, Role.CLIENT, runtime)
    return Channel((HOST, port), Hello(b""), runtime, credentials=credentials)


def _single_calls(
    port: int, seconds: float, root: Path | None, method: int = AT_ONCE
) -> tuple[int, float]:
    channel = _dial(port, root)
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        channel.call(method, CONTEXT, BODY, TIMEOUT_S)
        count += 1
    spent = time.perf_counter() - start
    channel.close()
    return count, spent


def _pipelined_calls(
    port: int, seconds: float, root: Path | None, method: int = AT_ONCE
) -> tuple[int, float]:
    channel = _dial(port, root)
    flying: deque[Future[bytes]] = deque()
    count = 0
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        flying.append(channel.call_async(method, CONTEXT, BODY, TIMEOUT_S))
        if len(flying) == WINDOW:
            flying.popleft().result(TIMEOUT_S)
            count += 1
    while flying:
        flying.popleft().result(TIMEOUT_S)
        count += 1
    spent = time.perf_counter() - start
    channel.close()
    return count, spent


def _client(pipe: Pipe, port: int, seconds: float, root: Path | None) -> None:
    pipe.recv()
    pipe.send(_single_calls(port, seconds, root))


def _many_clients(port: int, seconds: float, root: Path | None, clients: int) -> tuple[int, float]:
    pipes = []
    processes = []
    for _ in range(clients):
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=_client, args=(theirs, port, seconds, root))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.send(None)
    results = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    return sum(count for count, _ in results), max(spent for _, spent in results)


def _measure(
    serve: Callable[[Pipe], None], run: Callable[[int], tuple[int, float]]
) -> dict[str, float]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(theirs,))
    process.start()
    try:
        count, spent = run(ours.recv())
        ours.send(None)
        server_cpu_s = ours.recv()
    finally:
        process.join(5)
        process.kill()
    return {
        "calls_per_s": round(count / spent),
        "call_us": round(1e6 * spent / count, 1),
        "server_cpu_us": round(1e6 * server_cpu_s / count, 1),
    }


def measure(seconds: float, clients: int, turns: int) -> dict[str, dict[str, float]]:
    """Return the figures of each case by its name, in the clear and in TLS."""
    cases: dict[str, Callable[..., tuple[int, float]]] = {
        "one at a time": _single_calls,
        "one at a time, deferred": partial(_single_calls, method=LATER),
        "100 in flight": _pipelined_calls,
        "100 in flight, deferred": partial(_pipelined_calls, method=LATER),
        f"{clients} clients": partial(_many_clients, clients=clients),
    }
    floor = _measure(_serve_floor, lambda port: _floor_calls(port, seconds))
    rows = {"floor: bare sockets": floor}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        _enrol(root)
        for name, run in cases.items():
            clear, sealed = zip(
                *(_both_ways(run, seconds / turns, root) for _ in range(turns)), strict=True
            )
            rows[name] = _median(clear)
            rows[f"{name}, TLS"] = _median(sealed)
            shares = [
                b["calls_per_s"] / a["calls_per_s"] for a, b in zip(clear, sealed, strict=True)
            ]
            rows[f"{name}, TLS"]["share_of_clear"] = round(statistics.median(shares), 2)
    for row in rows.values():
        row["share_of_floor"] = round(row["calls_per_s"] / floor["calls_per_s"], 2)
    return rows


def _both_ways(
    run: Callable[..., tuple[int, float]], seconds: float, root: Path
) -> tuple[dict[str, float], dict[str, float]]:
    clear, sealed = (
        _measure(partial(_serve_door, root=where), partial(run, seconds=seconds, root=where))
        for where in (None, root)
    )
    return clear, sealed


def _median(rows: tuple[dict[str, float], ...]) -> dict[str, float]:
    found = {key: round(statistics.median(row[key] for row in rows), 1) for key in rows[0]}
    return {**found, "calls_per_s": round(found["calls_per_s"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args()
    rows = measure(arguments.seconds, arguments.clients, arguments.turns)
    if arguments.output == "json":
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    print(f"{'':30}{'calls/s':>10}{'us/call':>10}{'server us':>11}{'of floor':>10}{'of clear':>10}")
    for name, row in rows.items():
        print(
            f"{name:30}{row['calls_per_s']:>10,}{row['call_us']:>10}"
            f"{row['server_cpu_us']:>11}{row['share_of_floor']:>10}"
            f"{row.get('share_of_clear', ''):>10}"
        )


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()

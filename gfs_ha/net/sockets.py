"""TCP sockets as the RPC wants them: tuned, bound, and connected before a deadline."""

from __future__ import annotations

import errno
import os
import select
import socket
from dataclasses import dataclass

from gfs_ha.errors import ConfigError, DeadlineExceeded, PortTaken, Unreachable
from gfs_ha.limits import WRITE_STALL_S
from gfs_ha.net.network import Address
from gfs_ha.runtime import Future, Runtime

BACKLOG = 1024
# Python ignores SIGPIPE, but a command-line tool may have taken it back.
SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)
_KEEPALIVE_IDLE_S = 15
_KEEPALIVE_INTERVAL_S = 5
_KEEPALIVE_COUNT = 3
_USER_TIMEOUT_MS = 10_000
_CONGESTION = (b"cubic", b"reno")

# Else a peer that takes no answers ends as if it had left, neither counted nor told of.
assert WRITE_STALL_S + 1.0 < _USER_TIMEOUT_MS / 1000


@dataclass(frozen=True, slots=True)
class _Resolved:
    family: int
    address: tuple[str, int] | tuple[str, int, int, int]


def format_address(address: Address) -> str:
    """Return `host:port`, with brackets around an IPv6 host."""
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tune(sock: socket.socket) -> None:
    """Make a socket answer at once and notice a dead peer.

    Measured: without NODELAY every frame above 64,000 bytes costs 44 ms; BBR, the default of some
    machines, takes twice the CPU of cubic on a local network.
    """
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Clients run anywhere; what a platform does not have, it does without.
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
        ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
    congestion = getattr(socket, "TCP_CONGESTION", None)
    if congestion is not None:
        for algorithm in _CONGESTION:
            try:
                sock.setsockopt(socket.IPPROTO_TCP, congestion, algorithm)
                break
            except OSError:
                continue


def listen(address: Address) -> socket.socket:
    """Return a listening socket. Raises: PortTaken; ConfigError for an address not of this host."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # A kernel without this kind of addresses.
        raise _listen_error(address, error) from error
    try:
        # Only skips TIME_WAIT: a port with a living listener stays taken.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except (OSError, TypeError) as error:  # The other one: what cannot be a name of a host.
        sock.close()
        raise _listen_error(address, error) from error
    return sock


def listening_host(host: str) -> str:
    """Return in numbers where `listen` would be for a host; empty where it could not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:  # It takes no port from anybody.
            probe.bind((host, 0))
            return str(probe.getsockname()[0])
    except (OSError, TypeError):
        return ""


def _listen_error(address: Address, error: OSError | TypeError) -> PortTaken | ConfigError:
    where = format_address(address)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return PortTaken(f"{where} is taken by another process; stop it or choose another port")
    reason = str(getattr(error, "strerror", None) or error)
    return ConfigError(f"cannot listen on {where}: {reason}; check the listen address")


def connect(address: Address, runtime: Runtime, timeout_s: float) -> socket.socket:
    """Return a tuned, connected, non-blocking socket. Raises: Unreachable (sent=0)."""
    where = format_address(address)
    deadline = runtime.monotonic_s() + timeout_s
    candidates = _resolve(address, runtime, timeout_s)
    reason = "no address"
    for index, candidate in enumerate(candidates):
        left = deadline - runtime.monotonic_s()
        if left <= 0:
            break
        # The last one may use all that is left; a black hole before it may not.
        share = left / (len(candidates) - index)
        try:
            return _connect_one(candidate, share)
        except OSError as error:
            reason = error.strerror or str(error)
    raise Unreachable(f"{where} cannot be reached: {reason}", sent=0)


def _resolve(address: Address, runtime: Runtime, timeout_s: float) -> list[_Resolved]:
    host, port = address
    where = format_address(address)
    try:
        return _look_up(host, port, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    # A resolver has its own time limits, far beyond ours: it gets a thread of its own.
    answer: Future[list[_Resolved]] = runtime.future()

    def ask() -> None:
        try:
            answer.set(_look_up(host, port, 0))
        except OSError as error:
            why = error.strerror or error
            answer.fail(Unreachable(f"{where} cannot be resolved: {why}", sent=0))

    runtime.spawn(f"resolve {host}", ask)
    try:
        return answer.result(timeout_s)
    except DeadlineExceeded:
        raise Unreachable(
            f"{where} cannot be resolved: no answer within {timeout_s:.1f} s", sent=0
        ) from None


def look_up(address: Address, runtime: Runtime, timeout_s: float) -> tuple[str, ...]:
    """Return the numeric addresses of a host, each once. Raises: Unreachable."""
    found = (str(one.address[0]) for one in _resolve(address, runtime, timeout_s))
    return tuple(dict.fromkeys(found))


def _look_up(host: str, port: int, flags: int) -> list[_Resolved]:
    """Raises: OSError, also for what cannot be a name of a host."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, str(error)) from error
    return [_Resolved(family, target) for family, _, _, _, target in found]  # type: ignore[arg-type]


def _connect_one(target: _Resolved, timeout_s: float) -> socket.socket:
    sock = socket.socket(target.family, socket.SOCK_STREAM)
    try:
        tune(sock)
        code = sock.connect_ex(target.address)
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        if code and not wait_for(sock, select.POLLOUT, timeout_s):
            raise TimeoutError(errno.ETIMEDOUT, f"no answer within {timeout_s:.1f} s")
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if sock.getsockname() == sock.getpeername():
            # A port of the ephemeral range that nobody listens on can connect to itself.
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    except BaseException:
        sock.close()
        raise
    return sock


def wait_for(sock: socket.socket, event: int, timeout_s: float) -> bool:
    """Wait until a socket is ready (or broken); return False when `timeout_s` passed first."""
    poller = select.poll()
    poller.register(sock, event)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))

"""A network of namespaces on this machine: hosts with one interface each, joined by our switch.

A namespace and its interface have no name in any table: open descriptors hold them, and they are
gone with the last process that holds one, also after SIGKILL. The switch is a process of our own
(switch.py), because this kernel has neither delay nor loss to offer.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from chaos import kernel

_TUN = "/dev/net/tun"
_SET_INTERFACE = 0x400454CA  # TUNSETIFF
_TAP_NO_INFO = 0x1002
_NETWORK = "10.77.7"
_MTU = 9000  # Fewer, bigger frames: each one costs the switch about 10 us.
_INTERFACE = "eth0"


class NotAllowed(Exception):
    """This machine does not let us make namespaces."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to frames from one host to another; the default is nothing."""

    cut: bool = False
    loss: float = 0.0  # The share of frames that is lost.
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bytes_per_s: float = 0.0  # 0: no limit.


class Host:
    """One namespace: an address, and a door for processes."""

    def __init__(self, name: str, number: int, everyone: Sequence[int]) -> None:
        self.name = name
        self.number = number
        self.address = f"{_NETWORK}.{number}"
        self.namespace, self.tap = _make_namespace(number, everyone)

    def enter(self) -> None:
        """Move this (single-threaded) process into the namespace."""
        kernel.enter(self.namespace, kernel.NEW_NETWORK)

    def close(self) -> None:
        os.close(self.namespace)


class Lan:
    """All hosts and their switch. Use it with `with`, from the main thread.

    Raises: NotAllowed.
    """

    def __init__(self, names: Sequence[str], seed: int) -> None:
        numbers = range(1, len(names) + 1)
        self.hosts: dict[str, Host] = {}
        self._faults: dict[tuple[str, str], list[Fault]] = {}
        try:
            for name, number in zip(names, numbers, strict=True):
                self.hosts[name] = Host(name, number, numbers)
        except (OSError, subprocess.SubprocessError) as error:
            for host in self.hosts.values():
                host.close()
                os.close(host.tap)
            raise NotAllowed(f"network namespaces are not allowed here: {error}") from error
        taps = {str(host.number): host.tap for host in self.hosts.values()}
        self._switch = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("switch.py")), json.dumps(taps)],
            env={**os.environ, "SWITCH_SEED": str(seed)},
            stdin=subprocess.PIPE,
            pass_fds=tuple(taps.values()),
            process_group=0,
            text=True,
        )
        for host in self.hosts.values():
            os.close(host.tap)  # From now on only the switch holds it.

    def __enter__(self) -> Lan:
        return self

    def __exit__(self, *_: object) -> None:
        self._switch.kill()
        self._switch.communicate()
        for host in self.hosts.values():
            host.close()

    def break_way(self, source: str, target: str, fault: Fault) -> Callable[[], None]:
        """Add a fault to one direction; return what takes it away again."""
        return self.break_ways([(source, target)], fault)

    def break_ways(self, ways: Sequence[tuple[str, str]], fault: Fault) -> Callable[[], None]:
        """Add a fault to several directions at once; return what takes it away again."""
        all_faults = [self._faults.setdefault(way, []) for way in ways]
        for faults in all_faults:
            faults.append(fault)
        self._tell()

        def mend() -> None:
            for faults in all_faults:
                faults.remove(fault)
            self._tell()

        return mend

    def _tell(self) -> None:
        rules = [
            [self.hosts[source].number, self.hosts[target].number, asdict(merged(faults))]
            for (source, target), faults in self._faults.items()
            if faults
        ]
        assert self._switch.stdin is not None
        self._switch.stdin.write(json.dumps(rules) + "\n")
        self._switch.stdin.flush()


def merged(faults: Sequence[Fault]) -> Fault:
    """Return what several faults of one direction do together."""
    limits = [fault.bytes_per_s for fault in faults if fault.bytes_per_s]
    return Fault(
        cut=any(fault.cut for fault in faults),
        loss=max(fault.loss for fault in faults),
        delay_ms=sum(fault.delay_ms for fault in faults),
        jitter_ms=sum(fault.jitter_ms for fault in faults),
        bytes_per_s=min(limits, default=0.0),
    )


def _make_namespace(number: int, everyone: Sequence[int]) -> tuple[int, int]:
    """Return a new network namespace and the far end of its only interface."""
    home = kernel.network()
    try:
        kernel.unshare(kernel.NEW_NETWORK)
        try:
            namespace = kernel.network()
            tap = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK)
            wanted = struct.pack("16sH22x", _INTERFACE.encode(), _TAP_NO_INFO)
            fcntl.ioctl(tap, _SET_INTERFACE, wanted)
            lines = [
                f"link set {_INTERFACE} address {mac(number)} mtu {_MTU}",
                f"address add {_NETWORK}.{number}/24 dev {_INTERFACE}",
                "link set lo up",
                f"link set {_INTERFACE} up",
            ]
            # Neighbours that are known for ever: a partition cuts packets, not their resolution.
            lines += [
                f"neighbour add {_NETWORK}.{other} lladdr {mac(other)} dev {_INTERFACE}"
                for other in everyone
                if other != number
            ]
            words = ["ip", "-batch", "-"]
            subprocess.run(words, input="\n".join(lines), check=True, text=True, timeout=30)
        finally:
            kernel.enter(home, kernel.NEW_NETWORK)
    finally:
        os.close(home)
    return namespace, tap


def mac(number: int) -> str:
    """Return the hardware address of a host; the switch reads the number from its last byte."""
    return f"02:00:00:00:00:{number:02x}"

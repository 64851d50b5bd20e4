"""The calls of the kernel that Python 3.11 lacks: namespaces, and dying with one's parent."""

from __future__ import annotations

import ctypes
import os
import signal

NEW_NETWORK = 0x40000000  # CLONE_NEWNET
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(kind: int) -> None:
    """Put this thread into a new namespace. Raises: OSError."""
    _check(_libc.unshare(kind), "unshare")


def network() -> int:
    """Return a descriptor of the network namespace that this thread is in."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def enter(namespace: int, kind: int) -> None:
    """Put this thread into an open namespace. Raises: OSError."""
    _check(_libc.setns(namespace, kind), "setns")


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whatever the parent dies of.

    Holds for the thread that started it: start such children from the main thread only.
    """
    _check(_libc.prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0), "prctl")
    if os.getppid() != parent:
        os._exit(1)


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")

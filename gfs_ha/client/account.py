"""The account that this process runs under: the owner and group of what it makes."""

from __future__ import annotations

import os
from functools import lru_cache

from gfs_ha.limits import OWNER_BYTES_MAX
from gfs_ha.protocol.usage import LABEL_BYTES_MAX, clean_label

_USER_BYTES_MAX = 24


@lru_cache(maxsize=1)
def own_account() -> tuple[str, str]:
    """Return (user, group) by name, else by number; empty where the system has neither."""
    try:
        import grp
        import pwd
    except ImportError:
        return "", ""
    user_id, group_id = os.geteuid(), os.getegid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:
        user = ""
    try:
        group = grp.getgrgid(group_id).gr_name
    except KeyError:
        group = ""
    return _fit(user) or str(user_id), _fit(group) or str(group_id)


def own_name(machine: str, process: bool = True) -> str:
    """Return who this process is to people: user@machine:process, cut where that is too long.

    Without the process all short commands of one person there are one.
    """
    user = clean_label(own_account()[0]).encode()[:_USER_BYTES_MAX].decode(errors="ignore")
    which = f":{os.getpid()}" if process else ""
    room = LABEL_BYTES_MAX - len(f"{user}@{which}".encode())
    return f"{user}@{machine.encode()[:room].decode(errors='ignore')}{which}"


def _fit(name: str) -> str:
    """Return the name if the masters take it, else nothing."""
    fits = name.isprintable() and len(name.encode(errors="replace")) <= OWNER_BYTES_MAX
    return name if fits else ""

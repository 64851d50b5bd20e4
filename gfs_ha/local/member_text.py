"""What the configuration of each process of a local cluster says of that process alone."""

from __future__ import annotations

import re
from collections.abc import Sequence

HOST = "127.0.0.1"
DATA_NAME = "data"


def with_master(text: str, old: str, new: str, ports: Sequence[int]) -> str:
    """Return a configuration with a new master in the place of an old one, if that is there."""
    block = re.compile(
        rf'name = "{old}"\nhost = "{re.escape(HOST)}"\nport = [0-9]+\nraft_port = [0-9]+\n'
    )
    fresh = f'name = "{new}"\nhost = "{HOST}"\nport = {ports[0]}\nraft_port = {ports[1]}\n'
    return block.sub(fresh, text)


def master_text(name: str, watched: int) -> str:
    own = f'\n[master]\nname = "{name}"\ndirectory = "{DATA_NAME}"\n'
    return own + metrics_text(watched)


def metrics_text(port: int) -> str:
    return f'\n[metrics]\nlisten = "{HOST}:{port}"\n'


def server_text(name: str, port: int, rack: str) -> str:
    return f'\n[chunkserver]\nname = "{name}"\nlisten = "{HOST}:{port}"\nrack = "{rack}"\n'


def disks_text(count: int, capacity: int) -> str:
    capped = f"capacity = {capacity}\n" if capacity else ""
    if count == 1:
        return f'directory = "{DATA_NAME}"\n{capped}'
    return "".join(
        f'\n[[chunkserver.disks]]\ndirectory = "{DATA_NAME}{number}"\n{capped}'
        for number in range(1, count + 1)
    )

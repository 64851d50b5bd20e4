"""What masters leave on their disks: tables without a contradiction, equal at an equal index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gfs_ha.errors import GfsError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.master.directory import STORE_NAME
from gfs_ha.master.raft.identity import DATABASES as RAFT_DATABASES
from gfs_ha.master.raft.journal import stored_applied
from gfs_ha.master.state.invariants import check_all, fingerprint
from gfs_ha.master.state.tables import DATABASES as STATE_DATABASES
from gfs_ha.master.state.view import View

_MAP_BYTES = 1 << 30  # At least that of the masters.


@dataclass(frozen=True, slots=True)
class Store:
    """A stopped master's store: up to which index it is applied, a digest of it, what is wrong."""

    applied_index: int
    digest: str
    wrong: tuple[str, ...] = ()


def look(directory: Path) -> Store:
    """Read the store in the data directory of a master that does not run."""
    kv = None
    try:
        kv = LmdbKV(directory / STORE_NAME, (*RAFT_DATABASES, *STATE_DATABASES), _MAP_BYTES)
        with kv.read() as reader:
            wrong = tuple(check_all(View(reader)))
            return Store(stored_applied(reader), fingerprint(reader), wrong)
    except GfsError as error:
        return Store(0, "", (f"{error.code}: {error.message}",))
    finally:
        if kv is not None:
            kv.close()


def compare(stores: Mapping[str, Store]) -> list[str]:
    """Return what contradicts itself or another store."""
    wrong = [f"store of {name}: {one}" for name, store in stores.items() for one in store.wrong]
    first: dict[int, str] = {}
    for name, store in stores.items():
        other = first.setdefault(store.applied_index, name)
        if stores[other].digest != store.digest:
            wrong.append(f"{name} and {other} differ at index {store.applied_index}")
    return wrong

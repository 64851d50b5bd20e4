"""Opens a store as a starting master does and says what is in it; one directory per line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import msgspec

from gfs_ha.errors import GfsError
from gfs_ha.kv.lmdb_kv import LmdbKV
from gfs_ha.master.directory import MasterDirectory
from gfs_ha.master.raft.identity import Identity, bootstrap
from gfs_ha.master.raft.journal import NO_OP, Journal, stored_applied
from gfs_ha.master.raft.members import Configuration
from gfs_ha.master.raft.recovery import stored_incarnation
from gfs_ha.master.recount import ensure_hash
from gfs_ha.master.state import digest
from gfs_ha.master.state.invariants import check_all
from gfs_ha.master.state.view import View
from gfs_ha.runtime import ThreadedRuntime
from power.scripted_master import ALL_DATABASES, CONFIG, MAP_BYTES, digest_of

EMPTY = "empty"


class Look(msgspec.Struct):
    """What a store holds; `error` when it cannot be used, or contradicts itself."""

    digest: str = ""
    term: int = 0
    vote: str | None = None
    applied: int = 0
    last: int = 0
    starts: int = 0
    start: int = 0
    error: str = ""


def look(directory: Path) -> Look:
    """Return what is there; begin to run on it, and commit once more."""
    try:
        place = MasterDirectory(directory)
    except GfsError as error:
        return Look(error=f"{error.code}: {error.message}")
    found = Look()
    try:
        place.check()
        kv = LmdbKV(place.store, ALL_DATABASES, MAP_BYTES)
        try:
            _examine(kv, found)
        finally:
            kv.close()
    except GfsError as error:
        found.error = f"{error.code}: {error.message}"
    except Exception as error:  # Whatever it is, it is the finding.
        found.error = f"{type(error).__name__}: {error}"
    finally:
        place.close()
    return found


def _examine(kv: LmdbKV, found: Look) -> None:
    runtime = ThreadedRuntime()
    with kv.read() as reader:
        found.digest = digest_of(reader)
    if stored_incarnation(kv) is None:
        found.digest = EMPTY
        bootstrap(kv, CONFIG)
    ensure_hash(kv, runtime)
    with kv.read() as reader:
        kept, counted = digest.kept(reader), digest.count_all(reader)
        mistakes = check_all(View(reader))
        applied = stored_applied(reader)
    if kept is None or kept.value != counted:
        found.error = f"the kept hash is {kept}, the rows give {counted.hex()}"
    elif mistakes:
        found.error = f"the tables contradict each other: {mistakes[0]}"
    identity = Identity(kv, CONFIG, runtime)
    found.start, found.starts = identity.start.number, identity.start.number - 1
    journal = Journal(kv, initial=Configuration(CONFIG.initial(identity.initial_members)))
    found.term, found.vote = journal.getCurrentTerm(), journal.getVotedForNodeId()
    found.applied, found.last = journal.applied_index, journal.last_index
    if applied != journal.applied_index or len(journal[0:]) != len(journal):  # type: ignore[arg-type]
        found.error = "the log and what is applied do not fit"
    journal.add(NO_OP, journal.last_index + 1, found.term)
    writer = kv.begin()
    journal.write(writer)
    writer.commit()


def main() -> None:
    """Answer until the input ends."""
    logging.disable(logging.ERROR)
    for line in sys.stdin:
        print(msgspec.json.encode(look(Path(line.strip()))).decode(), flush=True)


if __name__ == "__main__":
    main()

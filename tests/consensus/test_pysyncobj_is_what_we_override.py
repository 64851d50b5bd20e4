"""An upgrade of PySyncObj that changes what the overrides build on fails here, to be read again."""

from __future__ import annotations

import hashlib
import inspect

import pysyncobj.journal
import pysyncobj.syncobj
from pysyncobj import SyncObj
from pysyncobj.version import VERSION

from gfs_ha.master.raft.syncobj import PYSYNCOBJ_VERSION, Replica

# The first 16 digits of SHA-256 over inspect.getsource.
OVERRIDDEN = {
    "_SyncObj__applyLogEntries": "073db677773b5a2d",
    "_SyncObj__connectedToAnyone": "acd40e9e3ac6c4cc",
    "_SyncObj__doApplyCommand": "1ea7aa506e950d0a",
    "_SyncObj__generateRaftTimeout": "92ed37d3620e781a",
    "_SyncObj__loadDumpFile": "ec66e83905de703b",
    "_SyncObj__onBecomeLeader": "5a3fd97bc17dc1cf",
    "_SyncObj__onMessageReceived": "ddfe34b6c0282179",
    "_SyncObj__onNodeConnected": "2655afb481b4c69b",
    "_SyncObj__sendAppendEntries": "9cb9073128c392fa",
    "_SyncObj__setCurrentTerm": "0ad5bf456ac06bd3",
    "_SyncObj__setState": "2c1f239f7bd79b39",
    "_SyncObj__tryLogCompaction": "c2f8a0ec14cc7312",
    "_checkCommandsToApply": "a386a8079361d204",
}
# Not overridden, but what our tick, our journal and our elections rely on step by step.
RELIED_ON = {
    "_SyncObj__getCurrentLogIndex": "e5af22ca246686bd",
    "_SyncObj__getCurrentLogTerm": "1cb8867e6a13d397",
    "_SyncObj__getEntries": "e29c4b33293b2101",
    "_SyncObj__onLeaderChanged": "53b7685e1d897887",
    "_SyncObj__onNodeDisconnected": "a81c0475ba2218cc",
    "_SyncObj__onSetCodeVersion": "17b050edb193c853",
    "__init__": "09df12cd7fd7d727",
    "_getLeader": "90e3b8391a79e851",
    "_isLeader": "56c32c31db26cdc0",
    "_onTick": "cc9eb08232d005ba",
}


def digest(thing: object) -> str:
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]  # type: ignore[arg-type]


def overridden_names() -> set[str]:
    names: set[str] = set()
    for kind in Replica.__mro__[: Replica.__mro__.index(SyncObj)]:
        names |= {name for name in vars(kind) if name in vars(SyncObj)}
    return {name for name in names if not (name.startswith("__") and name.endswith("__"))}


def test_the_version_is_the_pinned_one() -> None:
    assert VERSION == PYSYNCOBJ_VERSION == "0.3.17"


def test_every_overridden_method_is_listed() -> None:
    assert overridden_names() == set(OVERRIDDEN)


def test_no_overridden_method_has_changed() -> None:
    assert {name: digest(getattr(SyncObj, name)) for name in OVERRIDDEN} == OVERRIDDEN


def test_nothing_that_is_relied_on_has_changed() -> None:
    assert {name: digest(getattr(SyncObj, name)) for name in RELIED_ON} == RELIED_ON


def test_the_hooks_are_there() -> None:
    assert digest(pysyncobj.journal.createJournal) == "9ea9e463ae2a0b8b"
    assert "monotonicTime" in vars(pysyncobj.syncobj)
    source = inspect.getsource(SyncObj.__init__)
    assert "self.__raftLog = createJournal(self.__conf.journalFile)" in source

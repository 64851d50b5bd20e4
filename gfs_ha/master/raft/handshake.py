"""The handshake of two members, without I/O: who is there, is it the right cluster, and is neither
a copy.

Each side says Hello (with the newest start of the other that it has seen), then Proof (its own list
of starts holds what the other has seen), then Ready (what it saw of the other is durable here). A
link carries Raft messages once Ready was sent and received.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gfs_ha.errors import (
    Denied,
    GfsError,
    NewerIncarnation,
    OldCopy,
    ProtocolError,
    WrongCluster,
    error_from_wire,
)
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.master.raft.identity import Identity, Start

FRAME_BYTES_MAX = 4096  # Until the link is up.
_NAME_BYTES_MAX = 256
_NAME_SHOWN = 64


class _Hello(msgspec.Struct, array_like=True, tag="gfs-ha hello", frozen=True):
    version: int
    cluster_id: str
    incarnation: int
    member_id: str
    target_id: str
    start: Start
    seen: Start  # The newest start of the target that the sender has admitted.


class _Proof(msgspec.Struct, array_like=True, tag="proof", frozen=True):
    """The sender's own list holds what the receiver has seen of it."""


class _Ready(msgspec.Struct, array_like=True, tag="ready", frozen=True):
    """The receiver's start is durably noted at the sender."""


class _Refusal(msgspec.Struct, array_like=True, tag="refusal", frozen=True):
    code: str
    message: str
    incarnation: int


_Word = _Hello | _Proof | _Ready | _Refusal
_decoder = msgspec.msgpack.Decoder(_Word)


class Condemned(Exception):
    """This member itself must stop for good: `error` says why. Never leaves the raft room."""

    def __init__(self, error: GfsError) -> None:
        super().__init__(error.message)
        self.error = error


class Handshake:
    """One side of one handshake. `target` is the dialled member, "" on the accepting side."""

    def __init__(self, identity: Identity, admits: Callable[[str], bool], target: str = "") -> None:
        self.peer = target
        self.claimed = ""  # Who the peer says it is, be it true or not.
        self.peer_start: Start | None = None
        self.certified: str | None = None  # Who the peer is by its certificate, if it has one.
        self._identity = identity
        self._admits = admits
        self._dialled = bool(target)
        self._proved = False  # The peer proved its start.
        self._ready_sent = False
        self._ready_received = False

    @property
    def proved(self) -> bool:
        """Return whether the peer proved its start, so that it may be noted and Ready be sent."""
        return self._proved

    @property
    def up(self) -> bool:
        """Return whether the link may carry messages."""
        return self._ready_sent and self._ready_received

    def hello(self) -> bytes:
        """Return the first frame of this side; the peer must be known."""
        identity = self._identity
        return msgspec.msgpack.encode(
            _Hello(
                version=PROTOCOL_VERSION,
                cluster_id=identity.cluster_id,
                incarnation=identity.incarnation,
                member_id=identity.member_id,
                target_id=self.peer,
                start=identity.start,
                seen=identity.last_seen(self.peer),
            )
        )

    def ready(self) -> bytes:
        """Return the frame that says that the peer's start is durably noted here."""
        assert self._proved and not self._ready_sent
        self._ready_sent = True
        return msgspec.msgpack.encode(_Ready())

    def refusal(self, error: GfsError) -> bytes:
        """Return the frame that tells the peer why the link is closed."""
        word = _Refusal(error.code, error.message[:1024], self._identity.incarnation)
        return msgspec.msgpack.encode(word)

    def receive(self, frame: bytes) -> list[bytes]:
        """Take a frame of the peer and return the frames to send.

        Raises: Denied or ProtocolError, to close the link for; Condemned, to stop this member for
        good.
        """
        try:
            word = _decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ProtocolError(f"no handshake of a member of ours: {error}") from error
        if isinstance(word, _Hello):
            return self._on_hello(word)
        if isinstance(word, _Refusal):
            if word.code == NewerIncarnation.__name__:  # Else it may speak of another cluster.
                self._check_incarnation(word.incarnation, refused=True)
            refusal = error_from_wire(word.code, word.message, {})
            raise refusal if isinstance(refusal, Denied) else Denied(f"refused: {word.message}")
        if self.peer_start is None:
            raise ProtocolError("a member spoke before its hello")
        if isinstance(word, _Proof):
            self._proved = True
        elif not self._proved:
            raise ProtocolError("a member was ready before it proved its start")
        else:
            self._ready_received = True
        return []

    def _on_hello(self, hello: _Hello) -> list[bytes]:
        if self.peer_start is not None:
            raise ProtocolError("a second hello")
        if hello.member_id.isprintable():
            self.claimed = hello.member_id[:_NAME_SHOWN]
        if hello.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the peer speaks protocol {hello.version}, this release {PROTOCOL_VERSION}"
            )
        if hello.cluster_id != self._identity.cluster_id:
            raise WrongCluster(
                f"the peer belongs to cluster {hello.cluster_id[:_NAME_BYTES_MAX]!r},"
                f" this member to {self._identity.cluster_id!r}"
            )
        self._check_incarnation(hello.incarnation, refused=False)
        if hello.target_id != self._identity.member_id:
            raise ProtocolError(
                f"the peer looks for {hello.target_id[:_NAME_BYTES_MAX]!r} here, this is"
                f" {self._identity.member_id!r}: check the addresses"
            )
        name = hello.member_id
        if name == self._identity.member_id or not 0 < len(name) <= _NAME_BYTES_MAX:
            raise Denied(f"{name[:_NAME_BYTES_MAX]!r} is no other member")
        if self.certified is not None and name != self.certified:
            raise Denied(
                f"the peer says it is {name!r}, its certificate that it is {self.certified!r}"
            )
        if not self._admits(name):
            raise Denied(f"{name!r} is no member, and no more of those are let in")
        if self._dialled and hello.member_id != self.peer:
            raise ProtocolError(f"{hello.member_id!r} answers where {self.peer!r} was dialled")
        self.peer = hello.member_id
        self.peer_start = hello.start
        if not self._identity.holds(hello.seen):
            raise Condemned(
                OldCopy(
                    f"{self._identity.member_id} runs on an old or emptied copy of its store:"
                    f" {hello.member_id} has seen its start {hello.seen.number}, which the store"
                    " does not know; it must not vote again"
                )
            )
        proof = msgspec.msgpack.encode(_Proof())
        return [proof] if self._dialled else [self.hello(), proof]

    def _check_incarnation(self, theirs: int, refused: bool) -> None:
        """Compare with the peer's: who holds something of an older one is over for good.

        A member that only declined would vote for others of its kind, and acknowledge what is lost.
        """
        ours = self._identity.incarnation
        if theirs > ours:
            if self._identity.adopt(theirs):
                return  # The peer refuses us this once; the next hello says the new one.
            raise Condemned(
                NewerIncarnation(
                    f"the cluster lives on in incarnation {theirs}; this member is of {ours}"
                )
            )
        if theirs < ours and not refused:
            raise NewerIncarnation(f"the peer is of incarnation {theirs}, the cluster of {ours}")

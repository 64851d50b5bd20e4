"""How words become bytes: MessagePack Structs, tagged by string, decoded strictly and bounded.

Fields are only ever added at the end, with a default that means "as before"; a tag is never reused.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from gfs_ha.errors import GfsError, InvalidArgument, ProtocolError, error_from_wire

T = TypeVar("T")


class Word(msgspec.Struct, frozen=True, array_like=True):
    """What everything that is sent or stored derives from."""


class Failure(Word, frozen=True, tag="failure"):
    """An error as it travels: its code, its one line for people, its facts."""

    error: str
    message: str
    details: dict[str, str | int] = {}

    def raised(self) -> GfsError:
        """Return the error that this describes, ready to be raised."""
        return error_from_wire(self.error, self.message, dict(self.details))


class Hello(Word, frozen=True):
    """The first words on every port (method 0): who speaks, and which protocol."""

    cluster_id: str
    protocol_version: int
    role: str  # "client", "chunkserver", "master" or "admin".
    name: str


class HelloReply(Word, frozen=True):
    """Which process answered."""

    name: str
    protocol_version: int
    incarnation: int = 0  # Of a master; 0: it does not say.


_encoder = msgspec.msgpack.Encoder()


def encode(word: object) -> bytes:
    """Return the bytes of a word (or of a list of words). Raises: InvalidArgument."""
    try:
        return _encoder.encode(word)
    except OverflowError as error:  # A number of more than 64 bits, which no field has.
        raise InvalidArgument(f"a number cannot be sent: {error}", sent=0) from error


@lru_cache(maxsize=256)
def _decoder(kind: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(cast(Any, kind))


def prepare(*kinds: Hashable) -> None:
    """Make the decoders of these kinds now; modules do it at their end, for what they define.

    Two threads that decode a kind for the first time at the same moment crash the process (msgspec
    0.22: half of all tries; a Struct is shown to others before it is whole). Imports take turns.
    """
    for kind in kinds:
        _decoder(kind)


def decode(kind: type[T], data: bytes | memoryview) -> T:
    """Return the word of type `kind` (a class, or a Union of tagged classes).

    Raises: ProtocolError when the bytes are no such word.
    """
    try:
        return cast(T, _decoder(cast(Hashable, kind)).decode(data))
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        name = getattr(kind, "__name__", "message")
        raise ProtocolError(f"the peer sent no valid {name}: {error}") from error


def failure(error: GfsError) -> Failure:
    """Return an error as it travels."""
    return Failure(error.code, error.message, dict(error.details))


prepare(Failure, Hello, HelloReply)

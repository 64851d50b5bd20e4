"""How a request goes out on a stream: as it is, or with a ticket, a proof, and in records."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gfs_ha.errors import TicketRefused
from gfs_ha.net.operation_keys import down_seal, proof, up_seal
from gfs_ha.net.sealed_stream import SealedStream
from gfs_ha.net.streams import Bytes, Stall, Stream
from gfs_ha.protocol.data import NONCE_BYTES, DataRequest, encode_request
from gfs_ha.protocol.tickets import Level, OperationPass
from gfs_ha.runtime import Runtime


def ask(
    stream: Stream,
    request: DataRequest,
    parts: Sequence[Bytes],
    stall: Stall,
    block: Bytes = b"",
    relays: bool = False,
) -> None:
    """Send a request and what follows it at once; all that comes after goes as it says.

    Args: `block` goes before the parts, and is taken by itself. `relays`: what follows was sealed
    by who asked first, and goes on as it came.
    Raises: as `Stream.send`; TicketRefused when there is no ticket for that server.
    """
    if not isinstance(stream, SealedStream):
        header = encode_request(request)
        stream.send([header, block, *parts] if block else [header, *parts], stall)
        return
    given = request.given
    if given is None or not request.ticket:
        raise TicketRefused(
            f"no ticket for server {request.target}: the leader did not know its key yet",
            reason="missing",
        )
    stream.number += 1
    number, nonce = stream.number, stream.nonce

    def prove(header: bytes) -> bytes:
        return proof(given.secret, nonce, number, header)

    header = encode_request(request, prove)
    # The end before is over, or this stream would not be here.
    stream.begin(
        Level(given.level),
        down_seal(given, request),
        up_seal(given, request, request.target, nonce),
        asks=True,
    )
    if relays:
        stream.relay(header, [block, *parts], stall)
    else:
        stream.send_after(header, ([block], parts), stall)


def showing(
    request: DataRequest, given: OperationPass | None, ticket: bytes, runtime: Runtime
) -> DataRequest:
    """Return a request with a ticket for its target; as it is where none are given."""
    if given is None:
        return request
    nonce = runtime.random_bytes(NONCE_BYTES)
    return msgspec.structs.replace(request, given=given, ticket=ticket, nonce=nonce)


def answered(stream: Stream) -> bool:
    """Have a stream speak in clear again; return whether another request may go out on it."""
    return stream.end() if isinstance(stream, SealedStream) else True

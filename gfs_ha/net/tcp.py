"""The real Network: doors and channels on TCP."""

from __future__ import annotations

from dataclasses import replace

from gfs_ha.net.channel import Channel, ChannelLimits
from gfs_ha.net.connection import DoorLimits
from gfs_ha.net.door import Door
from gfs_ha.net.network import Address, Handler, Hello, HelloCheck
from gfs_ha.net.tls import Credentials
from gfs_ha.runtime import Runtime


class TcpNetwork:
    """Makes both ends with one set of limits, in TLS with `credentials`. Thread-safe."""

    def __init__(
        self,
        runtime: Runtime,
        door_limits: DoorLimits | None = None,
        channel_limits: ChannelLimits | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._runtime = runtime
        self._door_limits = door_limits or DoorLimits()
        self._channel_limits = channel_limits or ChannelLimits()
        self._credentials = credentials

    def listen(self, address: Address, hello: HelloCheck, handler: Handler) -> Door:
        """Take a port (0 = any). Raises: PortTaken, ConfigError."""
        return Door(self._runtime, address, hello, handler, self._door_limits, self._credentials)

    def dial(self, address: Address, hello: Hello, timeout_s: float) -> Channel:
        """Connect and say hello. Raises: Unreachable (sent=0), and what `hello.accept` raises."""
        shorter_s = min(timeout_s, self._channel_limits.connect_timeout_s)
        limits = replace(self._channel_limits, connect_timeout_s=shorter_s)
        return Channel(address, hello, self._runtime, limits, self._credentials)

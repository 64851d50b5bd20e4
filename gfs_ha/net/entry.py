"""How a process gets into its cluster: credentials, the network they secure, its first words."""

from __future__ import annotations

from dataclasses import dataclass

from gfs_ha.config import Config
from gfs_ha.errors import ConfigError
from gfs_ha.limits import PROTOCOL_VERSION
from gfs_ha.net.sealed_streams import SealedStreams
from gfs_ha.net.streams import StreamNetwork, TcpStreams
from gfs_ha.net.tcp import TcpNetwork
from gfs_ha.net.tls import Credentials
from gfs_ha.pki.names import Role
from gfs_ha.protocol.codec import Hello
from gfs_ha.protocol.usage import LABEL_BYTES_MAX
from gfs_ha.runtime import Runtime

_PERSONS = (Role.CLIENT, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Entry:
    """What one process calls others with. `credentials` is None where there is no TLS."""

    network: TcpNetwork
    hello: Hello
    credentials: Credentials | None
    streams: StreamNetwork  # To data ports, on which tickets are shown where there is TLS.


def enter_as_person(config: Config, name: str, runtime: Runtime) -> Entry:
    """Return the entry of a client or an operator; which of them is said by the certificate.

    Args: `name` is who it is to people, `user@machine:process`; the certificate's name takes the
    place of the user. Raises: ConfigError.
    """
    credentials = credentials_of(config, runtime)
    role = Role.CLIENT
    if credentials is not None:
        own = credentials.own
        if own.role not in _PERSONS:
            raise ConfigError(
                f"{config.tls_directory}: holds the certificate of {own}; this command takes one"
                " with the role client or admin: gfsctl --config FILE with another [security]"
            )
        role = own.role
        rest = name.partition("@")[2] or name
        room = LABEL_BYTES_MAX - len(own.name) - 1
        name = f"{own.name}@{rest.encode()[:room].decode(errors='ignore')}"
    hello = Hello(config.cluster.id, PROTOCOL_VERSION, role, name)
    return _entry(hello, credentials, runtime)


def _entry(hello: Hello, credentials: Credentials | None, runtime: Runtime) -> Entry:
    network = TcpNetwork(runtime, credentials=credentials)
    return Entry(network, hello, credentials, data_streams(runtime, credentials is not None))


def data_streams(runtime: Runtime, tickets: bool) -> StreamNetwork:
    """Return the network of data ports, on which tickets are shown or not."""
    streams = TcpStreams(runtime)
    return SealedStreams(streams, runtime) if tickets else streams


def enter_as_server(config: Config, role: Role, name: str, runtime: Runtime) -> Entry:
    """Return the entry of a master or a chunkserver. Raises: ConfigError when it is not its own."""
    credentials = server_credentials(config, role, name, runtime)
    hello = Hello(config.cluster.id, PROTOCOL_VERSION, role, name)
    return _entry(hello, credentials, runtime)


def server_credentials(
    config: Config, role: Role, name: str, runtime: Runtime
) -> Credentials | None:
    """Return the credentials of a daemon. Raises: ConfigError when they are somebody else's."""
    credentials = credentials_of(config, runtime)
    if credentials is not None and (credentials.own.role, credentials.own.name) != (role, name):
        raise ConfigError(
            f"{config.tls_directory}: holds the certificate of {credentials.own}, this is {role}"
            f" {name}"
        )
    return credentials


def credentials_of(config: Config, runtime: Runtime) -> Credentials | None:
    """Return what the configuration's TLS directory holds, None where there is no TLS.

    Raises: ConfigError.
    """
    if config.tls_directory is None:
        return None
    return Credentials(config.tls_directory, config.cluster.id, runtime)

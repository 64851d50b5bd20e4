"""The hosts of `make heal`: one for the masters, one for servers and clients, one for one server.

So that server can be cut from its peers and from the clients, and the masters still hear it. What
runs on one host reaches itself whatever is cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from chaos import kernel
from chaos.lan import Fault, Lan

from gfs_ha.local import launcher
from gfs_ha.local.home import CONFIG_NAME, MASTER, Home
from gfs_ha.local.member_text import HOST
from gfs_ha.local.processes import Process

MASTERS, SERVERS, APART = "masters", "servers", "apart"
_OPEN = 'security = "none"\n'
_SEED = 1


class Hosts:
    """Use it with `with`, from the main thread: that thread is on the host of the servers then.

    Whatever it starts is there, too, unless `launch` starts it. Raises: NotAllowed.
    """

    def __init__(self, apart: str) -> None:
        """Args: `apart` is the server that has a host of its own."""
        self._apart = apart
        self._home = kernel.network()
        self._lan = Lan((MASTERS, SERVERS, APART), _SEED)

    def __enter__(self) -> Hosts:
        self._lan.hosts[SERVERS].enter()
        return self

    def __exit__(self, *arguments: object) -> None:
        kernel.enter(self._home, kernel.NEW_NETWORK)
        os.close(self._home)
        self._lan.__exit__(*arguments)

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return self._lan.hosts[host].address

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Have this thread on a host; what it opens or starts there stays there."""
        self._lan.hosts[host].enter()
        try:
            yield
        finally:
            self._lan.hosts[SERVERS].enter()

    def launch(self, home: Home, role: str, options: Sequence[str] = ()) -> Process:
        """Start a daemon of a local cluster on its host."""
        with self.on(self.settle(home, role)):
            return launcher.launch(home, role, (*options, "--insecure"))

    def settle(self, home: Home, role: str) -> str:
        """Write down where a daemon and the masters are; return the name of its host."""
        host = MASTERS if role == MASTER else APART if home.name == self._apart else SERVERS
        for path in (home.config_path, home.directory.parent / CONFIG_NAME):
            text = path.read_text(encoding="utf-8")
            if not text.startswith(_OPEN):  # It was made for loopback.
                text = text.replace(f'host = "{HOST}"', f'host = "{self.address(MASTERS)}"')
                text = text.replace(f'listen = "{HOST}:', f'listen = "{self.address(host)}:')
                path.write_text(_OPEN + text, encoding="utf-8")
        return host

    def cut(self, both_ways: bool) -> Callable[[], None]:
        """Cut the server that is apart from the others and from clients; return what mends it.

        Args: without `both_ways` only what it sends is lost, and it still receives.
        """
        ways = [(APART, SERVERS), (SERVERS, APART)]
        return self._lan.break_ways(ways if both_ways else ways[:1], Fault(cut=True))

"""What clients do while a cluster is changed: put, get, append; and what came back wrong."""

from __future__ import annotations

import shlex
import time

from lab import Host

_LOOK_S = 1.0
_END_S = 300.0
# Each round a new file, over that of 20 rounds ago, read again at once, and a record of a log.
# What is wrong is counted and told in `err`; of what was acknowledged the client keeps a copy.
_SCRIPT = r"""#!/bin/bash
mkdir -p /root/load/kept && cd /root/load || exit 1
rounds=0; bad=0; : > err; : > expected
fail() { bad=$((bad+1)); echo "$(date +%T) round $rounds: $1" >> err; }
while [ ! -e stop ]; do
  rounds=$((rounds+1)); name=file$((rounds % 20)); head -c 300000 /dev/urandom > new
  if gfsctl put -q new /load/$name 2>> err; then
    mv new kept/$name
    { gfsctl get -q /load/$name got 2>> err && cmp got kept/$name 2>> err; } || fail "get $name"
    rm -f got
  else fail "put $name"; fi
  if echo "record $rounds" | gfsctl append -q --stdin-lines /load/log 2>> err
  then echo "record $rounds" >> expected; else fail append; fi
  echo "$rounds $bad" > now; mv now state
done
for path in kept/*; do
  { gfsctl get -q /load/${path#kept/} got 2>> err && cmp got $path 2>> err; } \
    || fail "$path at the end"
  rm -f got
done
{ gfsctl cat /load/log > got 2>> err && cmp got expected 2>> err; } || fail "the log at the end"
echo "$rounds $bad" > ended
"""


class Load:
    """A client that works on a host, until `end`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        script = shlex.quote(_SCRIPT)
        host.run("sh", "-c", f"mkdir -p /root/load; printf %s {script} > /root/load/run")
        host.run("gfsctl", "mkdir", "/load")
        host.run("systemd-run", "-q", "--unit=load", "bash", "/root/load/run")

    def look(self) -> int:
        """Return how many rounds went by. Raises: AssertionError with what went wrong."""
        rounds, bad = self._counts("state")
        assert not bad, self._host.run("tail", "-n", "40", "/root/load/err")
        return rounds

    def go_on(self) -> None:
        """Return once a whole round went by. Raises: AssertionError."""
        until_s, before = time.monotonic() + _END_S, self.look()
        while self.look() < before + 2:
            assert time.monotonic() < until_s, "the load stands still"
            time.sleep(_LOOK_S)

    def end(self) -> int:
        """Stop it, have it compare all that it wrote, and return how many rounds it did."""
        self._host.run("touch", "/root/load/stop")
        until_s = time.monotonic() + _END_S
        while not self._host.run("sh", "-c", "ls /root/load/ended 2>/dev/null || true"):
            assert time.monotonic() < until_s, "the load does not end"
            time.sleep(_LOOK_S)
        rounds, bad = self._counts("ended")
        assert not bad, self._host.run("tail", "-n", "40", "/root/load/err")
        return rounds

    def _counts(self, name: str) -> tuple[int, int]:
        text = self._host.run("sh", "-c", f"cat /root/load/{name} 2>/dev/null || echo 0 0")
        rounds, bad = text.split()
        return int(rounds), int(bad)

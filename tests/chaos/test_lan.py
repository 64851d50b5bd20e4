"""The network of namespaces: faults of single directions, and their end at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from chaos.lan import Fault, Lan, NotAllowed

pytestmark = pytest.mark.processes
TRIES = 20  # The switch hears of a cut, or of its end, a little later.

_ECHO = """
import socket, sys
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind((sys.argv[1], 9000))
print("ready", flush=True)
while True:
    data, peer = door.recvfrom(2000)
    door.sendto(data, peer)
"""
_ASK = """
import socket, sys, time
asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asker.settimeout(float(sys.argv[2]))
answered = 0
began_s = time.monotonic()
for _ in range(int(sys.argv[3])):
    asker.sendto(b"x", (sys.argv[1], 9000))
    try:
        asker.recv(2000)
        answered += 1
    except TimeoutError:
        pass
print(answered, time.monotonic() - began_s)
"""


@pytest.fixture(scope="module")
def lan() -> Iterator[Lan]:
    try:
        made = Lan(("a", "b", "c"), seed=1)
    except NotAllowed as error:
        pytest.skip(str(error))
    with made:
        echo = subprocess.Popen(
            [sys.executable, "-c", _ECHO, made.hosts["b"].address],
            preexec_fn=made.hosts["b"].enter,
            stdout=subprocess.PIPE,
        )
        try:
            assert echo.stdout is not None and echo.stdout.readline()
            yield made
        finally:
            echo.kill()
            echo.communicate()


def ask(lan: Lan, source: str, timeout_s: float, count: int = 1) -> tuple[int, float]:
    """Return how many of `count` questions to b are answered, and how long that took."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, lan.hosts["b"].address, str(timeout_s), str(count)],
        preexec_fn=lan.hosts[source].enter,
        capture_output=True,
        check=True,
        timeout=60,
    )
    answered, took_s = done.stdout.split()
    return int(answered), float(took_s)


def heard(lan: Lan, source: str) -> bool:
    """Return whether a question is answered before long: the switch may hear of a mend later."""
    return any(ask(lan, source, 1.0)[0] for _ in range(TRIES))


def silent(lan: Lan, source: str) -> bool:
    """Return whether questions stop being answered before long."""
    return any(not ask(lan, source, 0.3)[0] for _ in range(TRIES))


def test_a_cut_is_one_way_and_concerns_one_pair(lan: Lan) -> None:
    assert heard(lan, "a")
    for way in (("a", "b"), ("b", "a")):
        mend = lan.break_way(*way, Fault(cut=True))
        assert silent(lan, "a")
        assert heard(lan, "c")
        mend()
        assert heard(lan, "a")


def test_many_faults_that_end_at_one_moment_all_end(lan: Lan) -> None:
    """The switch hears several lines at once; the last one counts."""
    for _ in range(5):
        names = ("a", "b", "c")
        ways = [(one, other) for one in names for other in names if one != other]
        mends = [lan.break_way(*way, Fault(cut=True)) for way in ways]
        for mend in mends:
            mend()
        assert heard(lan, "a")


def test_a_slow_link_delays_and_a_lossy_one_loses(lan: Lan) -> None:
    mend = lan.break_way("a", "b", Fault(delay_ms=150.0))

    def delayed() -> bool:
        answered, took_s = ask(lan, "a", 10.0)
        assert answered == 1
        return took_s >= 0.15

    assert any(delayed() for _ in range(TRIES))
    mend()
    mend = lan.break_way("a", "b", Fault(loss=0.5))
    answered, _ = ask(lan, "a", 0.02, 60)
    assert 0 < answered < 60
    mend()

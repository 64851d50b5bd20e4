"""What those cost a data port who speak no word that it knows."""

from __future__ import annotations

import logging
import os
from contextlib import closing
from pathlib import Path

import pytest
from sealed_house import RUNTIME, sealed_street

from gfs_ha.errors import Unreachable
from gfs_ha.net.sealed_stream import HELLO_BYTES
from gfs_ha.net.streams import TcpStreams

KNOCKS = 300


def patient(idle_s: float) -> None:
    assert idle_s < 30.0, "it neither answers nor hangs up"


def test_they_do_not_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with sealed_street(tmp_path, 1) as (one,), caplog.at_level(logging.INFO):
        begun_s = RUNTIME.monotonic_s()
        for _ in range(KNOCKS):
            stream = TcpStreams(RUNTIME).connect(("127.0.0.1", one.house.port.port), 10.0)
            with closing(stream):
                stream.receive(memoryview(bytearray(HELLO_BYTES)), patient)
                stream.send([b"GET / HTTP/1.1\r\n\r\n" + os.urandom(20)], patient)
                with pytest.raises(Unreachable):
                    stream.receive(memoryview(bytearray(1 << 16)), patient)
        took_s = RUNTIME.monotonic_s() - begun_s
        lines = [one for one in caplog.messages if "bad request" in one]
        assert 1 <= len(lines) <= 2 + took_s, lines[-3:]

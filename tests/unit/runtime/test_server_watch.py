"""An embedded server that dies ends its watch with an error, and so the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from runtime.server_watch import ServerWatch


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_the_end_of_a_server_is_an_error_that_names_its_log(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    watch = ServerWatch([server.pid], tmp_path)
    server.kill()
    with pytest.raises(StoreUnavailable, match=r"redis/redis\.log"):
        watch.run()
    watch.close()
    server.wait()
    with pytest.raises(StoreUnavailable):
        ServerWatch([server.pid], tmp_path)


def test_a_watch_that_is_stopped_ends_without_one(server: subprocess.Popen[bytes], tmp_path: Path) -> None:
    watch = ServerWatch([server.pid], tmp_path)
    running = threading.Thread(target=watch.run)
    running.start()
    watch.stop()
    running.join(30)
    assert not running.is_alive()
    watch.close()

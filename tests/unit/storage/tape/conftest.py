"""A recorder of messages on the tape of a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.tape import Frame, TapeWriter
from tests.tape_segments import SYMBOL, Recorder


@pytest.fixture
def record(tmp_path: Path) -> Recorder:
    """Opens the tape, appends the messages and closes it; the frames it should hold."""

    def append_all(messages: list[tuple[int, bytes]]) -> list[Frame]:
        with TapeWriter(tmp_path, SYMBOL) as writer:
            return [Frame(writer.append(recv_ns, body), recv_ns, body) for recv_ns, body in messages]

    return append_all

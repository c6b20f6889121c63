"""Checkpoints: read back as written, and None rather than anything that is not what was written."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.checkpoints import Checkpoint, FramePlace, checkpoint_path, read_checkpoint, write_checkpoint

CHECKPOINT = Checkpoint(
    7, 1_772_000_000_000_000_000, "f00d", b"state" * 100, b"memory", FramePlace("2026-02-25/1.log", 99)
)


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "BTCUSDT", Checkpoint(1, 2, "f00d", b"older"))
    write_checkpoint(tmp_path, "BTCUSDT", CHECKPOINT)
    assert read_checkpoint(tmp_path, "BTCUSDT", "f00d") == CHECKPOINT


def test_a_symbol_without_a_checkpoint_has_none(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, "BTCUSDT", "f00d") is None


def test_a_checkpoint_of_another_identity_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_checkpoint(tmp_path, "BTCUSDT", CHECKPOINT)
    assert read_checkpoint(tmp_path, "BTCUSDT", "beef") is None
    assert caplog.text == ""


@pytest.mark.parametrize("at", [0, 5, 25, -1])
def test_a_damaged_checkpoint_is_none_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int) -> None:
    write_checkpoint(tmp_path, "BTCUSDT", CHECKPOINT)
    path = checkpoint_path(tmp_path, "BTCUSDT")
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert read_checkpoint(tmp_path, "BTCUSDT", "f00d") is None
    assert str(path) in caplog.text


@pytest.mark.parametrize("length", [0, 3, 20, 100])
def test_a_checkpoint_that_breaks_off_is_none_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, length: int
) -> None:
    write_checkpoint(tmp_path, "BTCUSDT", CHECKPOINT)
    path = checkpoint_path(tmp_path, "BTCUSDT")
    path.write_bytes(path.read_bytes()[:length])
    assert read_checkpoint(tmp_path, "BTCUSDT", "f00d") is None
    assert str(path) in caplog.text

"""Checkpoints: the state of a symbol's engine at a position of its tape, so that a restart need not replay the tape.

Layout: ``<raw>/checkpoints/<symbol>.checkpoint``, one line of JSON, the bytes of the state, compressed, and the memory
as it is. Most places of a state are empty, and nearly all of them on a coarse row grid; a memory is mostly hashes. A
checkpoint is a shortcut and never the truth: one that is damaged, of other code or of another tape is skipped.
"""

from __future__ import annotations

import hashlib
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from storage.durable_files import replace_file
from storage.instruments import checked_symbol

_log: Final = logging.getLogger(__name__)
LONGEST_HEAD: Final = 4096
"""Bytes; a file whose first line is longer is no checkpoint."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after the frame ``seq`` of the tape, which was received at ``recv_ns``.

    identity: of the feature set, the code and the scale that the state means something to. memory: what ingest knows of
    the frames up to it beside that, in a form of its own.
    """

    seq: int
    recv_ns: int
    identity: str
    state: bytes
    memory: bytes = b""


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    seq: int
    recv_ns: int
    identity: str
    state_bytes: int
    sha256: str


_HEAD: Final = msgspec.json.Decoder(_Head)


def write_checkpoint(root: Path, symbol: str, checkpoint: Checkpoint) -> None:
    """Replace the symbol's checkpoint; on disk before this returns. Raises StoreUnavailable, InvalidRequest."""

    def write(file: BinaryIO) -> None:
        state = zlib.compress(checkpoint.state, level=1)
        file.write(msgspec.json.encode(_head(checkpoint, len(state))) + b"\n")
        file.write(state)
        file.write(checkpoint.memory)

    replace_file(checkpoint_path(root, symbol), write)


def read_checkpoint(root: Path, symbol: str, identity: str) -> Checkpoint | None:
    """The symbol's checkpoint when it is whole and of this identity, else None.

    A damaged one is skipped with a warning that names it. Raises InvalidRequest.
    """
    found = _read(checkpoint_path(root, symbol))
    return None if found is None or found.identity != identity else found


def checkpoint_seq(root: Path, symbol: str) -> int | None:
    """The seq of the symbol's checkpoint, which was on the disk before it; None without one that is whole.

    Raises InvalidRequest.
    """
    found = _read(checkpoint_path(root, symbol))
    return None if found is None else found.seq


def _read(path: Path) -> Checkpoint | None:
    try:
        with path.open("rb") as file:
            head = _HEAD.decode(file.readline(LONGEST_HEAD))
            state = zlib.decompress(file.read(max(head.state_bytes, 0)))
            memory = file.read()
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, zlib.error) as error:
        _log.warning("%s: not a valid checkpoint, skipped: %s", path, error)
        return None
    checkpoint = Checkpoint(head.seq, head.recv_ns, head.identity, state, memory)
    if head != _head(checkpoint, head.state_bytes):
        _log.warning("%s: must have the checksum %s of its content, skipped", path, head.sha256)
        return None
    return checkpoint


def checkpoint_path(root: Path, symbol: str) -> Path:
    """The path of a symbol's checkpoint. Raises InvalidRequest when the symbol cannot name a file."""
    return root / "checkpoints" / f"{checked_symbol(symbol)}.checkpoint"


def _head(checkpoint: Checkpoint, state_bytes: int) -> _Head:
    """state_bytes: how many bytes of the file the state takes."""
    stated = f"{checkpoint.seq} {checkpoint.recv_ns} {checkpoint.identity} {state_bytes}\n"
    digest = hashlib.sha256(stated.encode())
    digest.update(checkpoint.state)
    digest.update(checkpoint.memory)
    return _Head(
        seq=checkpoint.seq,
        recv_ns=checkpoint.recv_ns,
        identity=checkpoint.identity,
        state_bytes=state_bytes,
        sha256=digest.hexdigest(),
    )

"""Checkpoints: the state of a symbol's engine at a position of its tape, so that a restart need not replay the tape.

Layout: ``<raw>/checkpoints/<symbol>.checkpoint``, one line of JSON, the bytes of the state, compressed, and the memory
as it is. Most places of a state are empty, and nearly all of them on a coarse row grid; a memory is mostly hashes. LZ4
takes a fifth of zlib's time. A checkpoint is a shortcut and never the truth: one that is damaged, of other code or of
another tape is skipped.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
import pyarrow as pa

from storage.durable_files import stage_file
from storage.file_group import FileGroup
from storage.instruments import checked_symbol

_log: Final = logging.getLogger(__name__)
LONGEST_HEAD: Final = 4096
"""Bytes; a file whose first line is longer is no checkpoint."""
LARGEST_STATE: Final = 1 << 30
"""Bytes; no state is larger."""
_CODEC: Final = "lz4"


class FramePlace(NamedTuple):
    """Where a frame lies. segment: as the tape's segment log names it. offset: of its first byte in the file."""

    segment: str
    offset: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after the frame ``seq`` of the tape, which was received at ``recv_ns``.

    identity: of the feature set, the code and the scale that the state means something to. memory: what ingest knows of
    the frames up to it beside that, in a form of its own. place: where the frame was written, None where that is not
    known.
    """

    seq: int
    recv_ns: int
    identity: str
    state: bytes
    memory: bytes = b""
    place: FramePlace | None = None


class KnownFrame(NamedTuple):
    """A frame that was on the disk before its checkpoint."""

    seq: int
    recv_ns: int
    place: FramePlace | None


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """full_bytes: of the state. state_bytes: how many of them are left, compressed. sha256: of all that follows."""

    seq: int
    recv_ns: int
    identity: str
    place: FramePlace | None
    full_bytes: int
    state_bytes: int
    sha256: str


_HEAD: Final = msgspec.json.Decoder(_Head)


def write_checkpoint(root: Path, symbol: str, checkpoint: Checkpoint) -> None:
    """Replace the symbol's checkpoint; on disk before this returns. Raises StoreUnavailable, InvalidRequest."""
    with FileGroup() as group:
        stage_checkpoint(root, symbol, checkpoint, group)
        group.publish()


def stage_checkpoint(root: Path, symbol: str, checkpoint: Checkpoint, group: FileGroup) -> None:
    """Stage the symbol's next checkpoint, for ``group`` to publish. Raises StoreUnavailable, InvalidRequest."""

    def write(file: BinaryIO) -> None:
        state: bytes = pa.compress(checkpoint.state, codec=_CODEC, asbytes=True)
        head = _Head(
            seq=checkpoint.seq,
            recv_ns=checkpoint.recv_ns,
            identity=checkpoint.identity,
            place=checkpoint.place,
            full_bytes=len(checkpoint.state),
            state_bytes=len(state),
            sha256="",
        )
        file.write(msgspec.json.encode(_with_checksum(head, state, checkpoint.memory)) + b"\n")
        file.write(state)
        file.write(checkpoint.memory)

    path = checkpoint_path(root, symbol)
    staged = stage_file(path, write, sync=group.sync)
    group.on_leaving(partial(staged.unlink, missing_ok=True))
    group.add(path, staged)


def read_checkpoint(root: Path, symbol: str, identity: str) -> Checkpoint | None:
    """The symbol's checkpoint when it is whole and of this identity, else None.

    A damaged one is skipped with a warning that names it. Raises InvalidRequest.
    """
    path = checkpoint_path(root, symbol)
    found = _read(path)
    if found is None or found[0].identity != identity:
        return None
    head, packed = found
    try:
        state = pa.decompress(packed[: head.state_bytes], head.full_bytes, codec=_CODEC, asbytes=True)
    except OSError as error:
        _log.warning("%s: not a valid checkpoint, skipped: %s", path, error)
        return None
    return Checkpoint(head.seq, head.recv_ns, head.identity, state, bytes(packed[head.state_bytes :]), head.place)


def checkpoint_frame(root: Path, symbol: str) -> KnownFrame | None:
    """The frame of the symbol's checkpoint; None without one that is whole. Raises InvalidRequest."""
    found = _read(checkpoint_path(root, symbol))
    return None if found is None else KnownFrame(found[0].seq, found[0].recv_ns, found[0].place)


def _read(path: Path) -> tuple[_Head, memoryview] | None:
    """The head of a checkpoint and what follows it, as they were written."""
    try:
        with path.open("rb") as file:
            head = _HEAD.decode(file.readline(LONGEST_HEAD))
            packed = memoryview(file.read())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _log.warning("%s: not a valid checkpoint, skipped: %s", path, error)
        return None
    if head != _with_checksum(head, packed) or not 0 <= head.full_bytes <= LARGEST_STATE:
        _log.warning("%s: must have the checksum %s of its content, skipped", path, head.sha256)
        return None
    return head, packed


def checkpoint_path(root: Path, symbol: str) -> Path:
    """The path of a symbol's checkpoint. Raises InvalidRequest when the symbol cannot name a file."""
    return root / "checkpoints" / f"{checked_symbol(symbol)}.checkpoint"


def _with_checksum(head: _Head, *packed: bytes | memoryview) -> _Head:
    """The head with the checksum of what it says and of what follows it."""
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(head, sha256="")))
    for each in packed:
        digest.update(each)
    return msgspec.structs.replace(head, sha256=digest.hexdigest())

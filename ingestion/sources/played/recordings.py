"""Recordings: files of messages with the time each was received, read back line by line in bounded memory."""

from __future__ import annotations

import gzip
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import zstandard
from msgspec import UNSET
from msgspec.json import Decoder as JsonDecoder

from ingestion.decoding.wire import RecordedLine, read_json
from ingestion.messages import RejectedLine, TimedMessage
from ingestion.venues.bybit.wire import ArchivedLine
from market.clock import MILLISECOND_NS
from market.errors import MalformedMessage, UnreadableRecording

LONGEST_LINE: Final = 64 * 2**20
_CHUNK = 2**16
# A zstd block of four bytes may hold 128 KiB, and one piece of input is unpacked at once: 4 KiB make 128 MiB at most.
_ZSTD_CHUNK = 2**12
# What a broken or truncated file raises; zipfile answers an encrypted member with RuntimeError.
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, zstandard.ZstdError, RuntimeError)

# Nineteen digits hold the times of this century, and no more than int64 does.
_STATED_TIME: Final = re.compile(rb'"recv_ns"\s*:\s*([12]\d{18})\b')
_RECORDED = JsonDecoder(RecordedLine)
_ARCHIVED = JsonDecoder(ArchivedLine)


def read_recording(path: Path) -> Iterator[TimedMessage | RejectedLine]:
    """The messages of a recording in its order, the bytes of each exactly as they stand in the file.

    ``.jsonl``, ``.jsonl.gz`` and ``.jsonl.zst`` hold lines of ``{"recv_ns": int, "msg": {...}}`` or
    ``{"recv_ns": int, "envelope": {...}}``. The exchange's ``.data.zip`` archive holds one message a line and no
    receive clock: there ``recv_ns`` is the message's own ``ts``. Blank lines are skipped.

    Raises:
        UnreadableRecording: at the call, when the file is missing or its name has another ending; while reading, when
            the file breaks off or is corrupt, after everything readable before that point was yielded.
    """
    for suffix, (chunks, parse) in _FORMATS.items():
        if path.name.endswith(suffix):
            if not path.is_file():
                raise UnreadableRecording(f"{path}: must be an existing file, was none")
            return _read_messages(path, chunks, parse)
    raise UnreadableRecording(f"{path}: must end in one of {', '.join(_FORMATS)}, was {path.name!r}")


def _read_messages(
    path: Path, chunks: Callable[[Path], Iterator[bytes]], parse: Callable[[bytes], TimedMessage]
) -> Iterator[TimedMessage | RejectedLine]:
    for line_number, line in enumerate(_read_lines(path, chunks(path)), start=1):
        if not line or line.isspace():
            continue
        try:
            yield parse(line)
        except MalformedMessage as error:
            stated = _STATED_TIME.search(line)
            recv_ns = None if stated is None else int(stated[1])
            yield RejectedLine(line_number, str(error), line.removesuffix(b"\r"), recv_ns)


def _read_lines(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    line_number = 1
    pieces: list[bytes] = []
    held = 0
    try:
        for chunk in chunks:
            *ends, tail = chunk.split(b"\n")
            for end in ends:
                if held + len(end) > LONGEST_LINE:
                    raise _too_long(path, line_number)
                yield b"".join((*pieces, end))
                line_number += 1
                pieces.clear()
                held = 0
            pieces.append(tail)
            held += len(tail)
            if held > LONGEST_LINE:
                raise _too_long(path, line_number)
    except _UNREADABLE as error:
        raise UnreadableRecording(
            f"{path} line {line_number}: must be readable to its end, was not: {error}"
        ) from error
    yield b"".join(pieces)


def _too_long(path: Path, line_number: int) -> UnreadableRecording:
    return UnreadableRecording(f"{path} line {line_number}: must be at most {LONGEST_LINE} bytes, was longer")


def _plain_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _gzip_chunks(path: Path) -> Iterator[bytes]:
    with gzip.open(path, "rb") as file:
        # read1 hands over what it has; read would lose it when the next piece turns out to be broken.
        while chunk := file.read1(_CHUNK):
            yield chunk


def _zip_chunks(path: Path) -> Iterator[bytes]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise zipfile.BadZipFile(f"an archive holds one file, this one {len(names)}")
        with archive.open(names[0]) as file:
            while chunk := file.read1(_CHUNK):  # type: ignore[attr-defined]  # typeshed: IO, in truth ZipExtFile
                yield chunk


def _zstd_chunks(path: Path) -> Iterator[bytes]:
    # Frame by frame: zstandard's own stream reader takes a frame that breaks off for the end of the file.
    decompressor = zstandard.ZstdDecompressor()
    frame: zstandard.ZstdDecompressionObj | None = None
    with path.open("rb") as file:
        while chunk := file.read(_ZSTD_CHUNK):
            while chunk:
                if frame is None:
                    frame = decompressor.decompressobj()
                yield frame.decompress(chunk)
                chunk = frame.unused_data
                if frame.eof:
                    frame = None
    if frame is not None:
        raise EOFError("the file ends inside a zstd frame")


def _parse_recorded(line: bytes) -> TimedMessage:
    recorded = read_json(_RECORDED, line, "line")
    if recorded.msg is not UNSET and recorded.envelope is UNSET:
        return TimedMessage(recorded.recv_ns, bytes(recorded.msg))
    if recorded.envelope is not UNSET and recorded.msg is UNSET:
        return TimedMessage(recorded.recv_ns, bytes(recorded.envelope))
    count = "both" if recorded.msg is not UNSET else "neither"
    raise MalformedMessage(f"line: must hold either msg or envelope, was {count}")


def _parse_archived(line: bytes) -> TimedMessage:
    archived = read_json(_ARCHIVED, line, "line")
    return TimedMessage(archived.ts * MILLISECOND_NS, line.strip())


_FORMATS: Final[dict[str, tuple[Callable[[Path], Iterator[bytes]], Callable[[bytes], TimedMessage]]]] = {
    ".jsonl": (_plain_chunks, _parse_recorded),
    ".jsonl.gz": (_gzip_chunks, _parse_recorded),
    ".jsonl.zst": (_zstd_chunks, _parse_recorded),
    ".data.zip": (_zip_chunks, _parse_archived),
}

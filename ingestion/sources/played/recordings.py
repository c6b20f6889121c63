"""Recordings: files of messages with the time each was received, read back line by line in bounded memory."""

from __future__ import annotations

import gzip
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from os import SEEK_CUR
from pathlib import Path
from typing import Final, cast

import zstandard
from isal import isal_zlib
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
# Deflate makes at most 1,032 times as many: 64 MiB.
_DEFLATE_CHUNK = 2**16
_NAME_LENGTH_AT = 26
"""Where a member's own header says how long the name and the extra field are that its content follows."""
# What a broken or truncated file raises; zipfile answers an encrypted member with RuntimeError.
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    cast("type[Exception]", isal_zlib.error),  # its types say that this is an error, not the class of them
    struct.error,
    zipfile.BadZipFile,
    zstandard.ZstdError,
    RuntimeError,
)

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


class Blocks:
    """The content of a recording cut after the last newline of each chunk: many lines at a time.

    The last line of a block ends in its newline unless the file ends first. Raises UnreadableRecording, as
    ``read_recording`` does while reading.
    """

    def __init__(self, path: Path, chunks: Iterator[bytes]) -> None:
        self.line_number = 1
        """Of the line that comes next. Whoever reads the lines of a block adds them: it knows how many they were."""
        self._path = path
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        pieces: list[bytes] = []
        held = 0
        try:
            for chunk in self._chunks:
                end = chunk.rfind(b"\n") + 1
                if end:
                    if held + chunk.find(b"\n") > LONGEST_LINE:
                        raise self._too_long()
                    yield b"".join((*pieces, chunk[:end]))
                    pieces.clear()
                    held = 0
                pieces.append(chunk[end:])
                held += len(chunk) - end
                if held > LONGEST_LINE:
                    raise self._too_long()
        except _UNREADABLE as error:
            raise UnreadableRecording(
                f"{self._path} line {self.line_number}: must be readable to its end, was not: {error}"
            ) from error
        if held:
            yield b"".join(pieces)

    def _too_long(self) -> UnreadableRecording:
        place = f"{self._path} line {self.line_number}"
        return UnreadableRecording(f"{place}: must be at most {LONGEST_LINE} bytes, was longer")


def read_archive(path: Path) -> Blocks:
    """The lines of the exchange's ``.data.zip``."""
    return Blocks(path, _zip_chunks(path))


def archived_message(line: bytes) -> TimedMessage:
    """A line of the exchange's ``.data.zip`` as a message received at its own ``ts``. Raises MalformedMessage."""
    archived = read_json(_ARCHIVED, line, "line")
    return TimedMessage(archived.ts * MILLISECOND_NS, line.strip())


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
    blocks = Blocks(path, chunks)
    for block in blocks:
        lines = block.split(b"\n")
        if not lines[-1]:
            lines.pop()
        blocks.line_number += len(lines)
        yield from lines


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
        members = archive.infolist()
        if len(members) != 1:
            raise zipfile.BadZipFile(f"an archive holds one file, this one {len(members)}")
        with archive.open(members[0]) as file:  # which reads the header before the content, and what is wrong with it
            if members[0].compress_type != zipfile.ZIP_DEFLATED:
                while chunk := file.read1(_CHUNK):  # type: ignore[attr-defined]  # typeshed: IO, in truth ZipExtFile
                    yield chunk
                return
        yield from _inflated(path, members[0])


def _inflated(path: Path, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """A deflated member of a zip archive by ISA-L, which takes a quarter of the time that zlib does."""
    inflater, checksum = isal_zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as file:
        file.seek(member.header_offset + _NAME_LENGTH_AT)
        name_length, extra_length = struct.unpack("<HH", file.read(4))
        file.seek(name_length + extra_length, SEEK_CUR)
        left = member.compress_size
        while left and not inflater.eof:
            packed = file.read(min(_DEFLATE_CHUNK, left))
            if not packed:
                raise EOFError("the file ends inside its content")
            left -= len(packed)
            if chunk := inflater.decompress(packed):
                checksum = isal_zlib.crc32(chunk, checksum)
                yield chunk
    if not inflater.eof:
        raise EOFError("the content ends inside a block")
    if checksum != member.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {member.filename!r}")


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


_FORMATS: Final[dict[str, tuple[Callable[[Path], Iterator[bytes]], Callable[[bytes], TimedMessage]]]] = {
    ".jsonl": (_plain_chunks, _parse_recorded),
    ".jsonl.gz": (_gzip_chunks, _parse_recorded),
    ".jsonl.zst": (_zstd_chunks, _parse_recorded),
    ".data.zip": (_zip_chunks, archived_message),
}

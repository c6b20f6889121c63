"""The dead-letter file: every rejected message with its reason and its bytes, one JSON line each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder as JsonDecoder

from ingestion.recordings import RejectedLine
from ingestion.wire import read_json
from market.errors import MalformedMessage, StoreUnavailable


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """One rejected message; ``error`` is the name of the error's class, ``body`` the bytes as they came."""

    recv_ns: int
    error: str
    reason: str
    body: bytes


class _Line(Struct, kw_only=True, frozen=True):
    """One line of the file; bytes that are no UTF-8 text stand in ``body_base64``."""

    recv_ns: int
    error: str
    reason: str
    body: str | UnsetType = UNSET
    body_base64: bytes | UnsetType = UNSET


_LINE = JsonDecoder(_Line)


class DeadLetter:
    """Appends rejected messages to a file, which is opened on the first one; each is flushed to the system at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self.count = 0
        """Messages appended through this object."""

    def append(self, *, recv_ns: int, reason: str, error: str, body: bytes) -> None:
        """Write one rejected message; ``error`` is its class's name. Raises StoreUnavailable when it cannot."""
        text: str | UnsetType = UNSET
        raw: bytes | UnsetType = UNSET
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raw = body
        line = _Line(recv_ns=recv_ns, error=error, reason=reason, body=text, body_base64=raw)
        try:
            if self._file is None:
                self._file = _open_to_append(self._path)
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
        except OSError as cause:
            raise StoreUnavailable(f"dead letter {self._path}: must be writable, was not: {cause}") from cause
        self.count += 1

    def close(self) -> None:
        """Close the file, if one was opened; a later append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_dead_letter(path: Path) -> Iterator[DeadMessage | RejectedLine]:
    """The rejected messages of a file in their order; none when it was never opened.

    A line torn by a crash comes back as RejectedLine and reading goes on. Raises StoreUnavailable when the file cannot
    be read.
    """
    try:
        with path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                yield _parse(line.rstrip(b"\n"), line_number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreUnavailable(f"dead letter {path}: must be readable, was not: {error}") from error


def _open_to_append(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+b")
    # A crash may have torn the last line; it must not swallow the next one.
    if file.tell() > 0:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def _parse(line: bytes, line_number: int) -> DeadMessage | RejectedLine:
    try:
        dead = read_json(_LINE, line, "line")
        if dead.body is not UNSET:
            return DeadMessage(dead.recv_ns, dead.error, dead.reason, dead.body.encode())
        if dead.body_base64 is not UNSET:
            return DeadMessage(dead.recv_ns, dead.error, dead.reason, dead.body_base64)
        raise MalformedMessage("line: must hold body or body_base64, was neither")
    except MalformedMessage as error:
        return RejectedLine(line_number, str(error), line)

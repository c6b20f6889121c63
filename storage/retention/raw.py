"""Retention: parts that have had their time go to an archive, come back from it, or are deleted.

An archive is a folder of this machine or in an object store.

A part goes as a whole: its segment of the tape, its Parquet files and its entry in the manifest, under the same
relative paths. Copies are on the disk and compared before the first original goes. The entry goes first and comes back
last, so readers never see half a part. The newest segment of a tape always stays: the next seq follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import msgspec

from market.errors import Conflict, NotFound
from storage.durable_files import changing_files, copy_file, remove_files, replace_file, sync_folder
from storage.instruments import checked_symbol
from storage.places import Place, matching
from storage.raw.manifest import RawPart, entry_path, read_entry
from storage.raw.raw_data import RawData
from storage.tape.segment_log import SegmentLine, log_segments, read_segment_log
from storage.tape.segments import segment_name, segments, tape_folder


@dataclass(frozen=True, slots=True)
class _Store:
    """Where parts are: their Parquet and its manifest in ``place``, the segments of their tapes in ``tapes``."""

    place: Place
    tapes: Place

    @classmethod
    def of(cls, raw: RawData) -> Self:
        return cls(raw.place, raw.folder)

    def segment(self, part: RawPart) -> Place | None:
        return None if part.source is None else self.tapes / part.source.path


def expired_parts(raw: RawData, symbol: str, before_ns: int) -> list[RawPart]:
    """The parts whose last message came before ``before_ns``, oldest first. Raises CorruptStore, InvalidRequest."""
    tape = tape_folder(raw.folder, symbol)
    known = segments(tape) if tape.is_dir() else []
    newest = known[-1].path.relative_to(raw.folder).as_posix() if known else None
    return [
        part
        for part in raw.parts(symbol)
        if part.last_ns < before_ns and (part.source is None or part.source.path != newest)
    ]


def archive_parts(raw: RawData, archive: Place, parts: Sequence[RawPart]) -> int:
    """Move parts into the archive; returns the bytes moved. What is there already is compared, not copied again.

    Raises:
        CorruptStore: a file is not what its manifest says; its part stays.
        StoreUnavailable: the archive cannot be written.
    """
    moved = 0
    for part in parts:
        moved += _copy_part(_Store.of(raw), _Store(archive, archive), part)
        _remove_part(raw, part)
    return moved


def restore_parts(raw: RawData, archive: Place, symbol: str) -> int:
    """Copy every archived part of a symbol back; returns how many. The archive keeps them.

    Raises NotFound when the archive has none of the symbol, CorruptStore, StoreUnavailable.
    """
    folder = archive / "manifest" / f"symbol={checked_symbol(symbol)}"
    entries = matching(folder, "*.json")
    if not entries:
        raise NotFound(f"archive {archive}: must hold parts of {symbol}, was without")
    for entry in entries:
        _copy_part(_Store(archive, archive), _Store.of(raw), read_entry(entry, symbol))
    return len(entries)


def delete_parts(raw: RawData, parts: Sequence[RawPart], *, used_by: Sequence[str]) -> int:
    """Delete parts for good; returns the bytes freed.

    used_by: what still refers to them. Raises Conflict naming it when it is not empty, StoreUnavailable.
    """
    if used_by:
        raise Conflict(f"raw data: must not be in use to be deleted, was used by {', '.join(used_by)}")
    freed = 0
    for part in parts:
        freed += sum(path.stat().st_size for path, _ in _files(_Store.of(raw), part) if path.is_file())
        _remove_part(raw, part)
    return freed


def _files(store: _Store, part: RawPart) -> list[tuple[Place, str]]:
    """Path and checksum of each file of a part, its segment last."""
    stated: list[tuple[Place, str]] = [(store.place / file.path, file.sha256) for file in part.files]
    return stated if part.source is None else [*stated, (store.tapes / part.source.path, part.source.sha256)]


def _copy_part(source: _Store, target: _Store, part: RawPart) -> int:
    copied = 0
    for (original, sha256), (copy, _) in zip(_files(source, part), _files(target, part), strict=True):
        if original == source.segment(part) and not original.is_file():
            continue  # the segment went before; its Parquet holds its messages
        copy_file(original, copy, sha256=sha256)
        copied += copy.stat().st_size
    segment = target.segment(part)
    if segment is not None and isinstance(target.tapes, Path) and segment.is_file():
        _log_segment(target.tapes, part, "finished")
    entry = entry_path(source.place, part.symbol, part.name).read_bytes()
    replace_file(entry_path(target.place, part.symbol, part.name), lambda file: file.write(entry))
    return copied


def _remove_part(raw: RawData, part: RawPart) -> None:
    entry = entry_path(raw.place, part.symbol, part.name)
    with changing_files(raw.place):
        entry.unlink()
        sync_folder(entry.parent)
        _log_segment(raw.folder, part, "retired")
        remove_files(path for path, _ in _files(_Store.of(raw), part))


def _log_segment(raw_folder: Path, part: RawPart, event: Literal["finished", "retired"]) -> None:
    """Tell the tape that the segment of a part has gone on purpose, or has come back."""
    if part.source is None:
        return
    with changing_files(raw_folder):
        folder = tape_folder(raw_folder, part.symbol)
        name = segment_name(raw_folder / part.source.path)
        known = read_segment_log(folder).lines.get(name)
        if known is None or known.event == "begun":
            next_seq = part.last_seq + 1
            known = SegmentLine(
                event=event, segment=name, first_seq=part.first_seq, next_seq=next_seq, kept_seq=next_seq
            )
        log_segments(folder, [msgspec.structs.replace(known, event=event)])

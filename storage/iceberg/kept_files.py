"""Files that a published table refers to: the very bytes of a store's file, which stay when the file goes.

On a disk a file is linked once more, below the folder of published tables; in an object store its object is kept. No
byte is copied. Whoever reads a snapshot finds its files as long as the snapshot is there, whatever was merged, replaced
or retired since. A part of the feature log that was written before its times were microseconds is written again
instead.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from market.errors import CorruptStore, StoreUnavailable
from market.written_order import GENERATION
from storage.durable_files import changing_files, known_sha256, make_folder, publish_files, remove_files, sync_folder
from storage.features.merging import ROW_GROUP_ROWS
from storage.features.part_times import AVAILABLE, EVENT, times_in_microseconds
from storage.features.parts import PART_FORMAT, part_schema
from storage.iceberg.stored_tables import PUBLISHED, StoredFile, StoredTable
from storage.objects.files import keep_objects, let_go_object
from storage.objects.names import remembered_names
from storage.objects.path import ObjectPath
from storage.parquet_files import StagedParquet, opened_parquet
from storage.places import Place

_DATA: Final = "data"
_BEGUN: Final = ".begun"
"""There while files are linked that no snapshot may refer to yet."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a table may refer to by its address; ``place`` is where it is opened here."""

    address: str
    place: Place
    sha256: str
    stored: StoredFile


def table_folder(stored: StoredTable) -> Place:
    """Where what is published of a table is, in its own store."""
    return stored.root / PUBLISHED / stored.name


def address_of(place: Place) -> str:
    """A folder as Iceberg's readers take it."""
    return str(place) if isinstance(place, ObjectPath) else f"file://{place.resolve()}"


def keep_files(stored: StoredTable) -> dict[str, KeptFile]:
    """The files that a table has now, by address, each kept from now on. Two readings agree until a file changes.

    Raises FileNotFoundError where one went meanwhile, CorruptStore, StoreUnavailable.
    """
    folder = table_folder(stored) / _DATA
    with remembered_names():
        files = stored.files()
        if not files:
            return {}
        make_folder(folder)
        try:
            kept = _kept_objects(files, folder) if isinstance(folder, ObjectPath) else _linked(files, folder)
            return {file.address: file for file in kept}
        except CorruptStore as error:
            found_gone = error
    for file in files:
        if not file.place.exists():
            raise FileNotFoundError(str(file.place)) from found_gone
    raise found_gone


def remove_unreferenced(stored: StoredTable, addresses: Iterable[str]) -> None:
    """Let go of files that no snapshot refers to; those that are gone already are no error. Raises StoreUnavailable."""
    folder = table_folder(stored) / _DATA
    for address in addresses:
        if not isinstance(folder, ObjectPath):
            with changing_files(folder):
                Path(address.removeprefix("file://")).unlink(missing_ok=True)
            continue
        found = ObjectPath(address)
        if found.parent == folder:
            remove_files([folder / name for name, file in folder.names().files.items() if file.key == found.key])
        else:
            let_go_object(found.parent, found.key)


def was_cut_off(stored: StoredTable) -> bool:
    """Whether a publishing ended between linking files and its end; in an object store nothing is linked."""
    folder = table_folder(stored) / _DATA
    return not isinstance(folder, ObjectPath) and (folder / _BEGUN).is_file()


def end_linking(stored: StoredTable, referenced: Container[str] | None) -> None:
    """What was linked is in a snapshot; the files that are not in ``referenced`` go, None is none.

    Raises StoreUnavailable.
    """
    folder = table_folder(stored) / _DATA
    if isinstance(folder, ObjectPath):
        return
    with changing_files(folder):
        if referenced is not None:
            for path in folder.iterdir():
                if path.name != _BEGUN and address_of(path) not in referenced:
                    path.unlink(missing_ok=True)
        (folder / _BEGUN).unlink(missing_ok=True)


def _linked(files: Iterable[StoredFile], folder: Path) -> Iterator[KeptFile]:
    known = {entry.inode(): entry.name for entry in os.scandir(folder)}
    for file in files:
        assert isinstance(file.place, Path), "a store is on the disk or is not"
        name = known.get(file.place.stat().st_ino)
        if name is None:
            (folder / _BEGUN).touch()
            name = _name(file, file.sha256 or known_sha256(file.place))
            _link(file, folder / name)
        sha256 = name.removesuffix(".parquet").rpartition("-")[2]
        yield KeptFile(address_of(folder / name), folder / name, sha256, file)
    sync_folder(folder)


def _link(file: StoredFile, link: Path) -> None:
    if link.is_file():
        return  # the same bytes, written again or brought back from the archive
    if _is_before(file):
        _write_again(file.place, link)
        return
    assert isinstance(file.place, Path)
    try:
        os.link(file.place, link)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreUnavailable(f"{link}: must be a second link to {file.place}, was refused: {error}") from error


def _kept_objects(files: Iterable[StoredFile], folder: ObjectPath) -> list[KeptFile]:
    copies = folder.names().files
    found, unkept = [], []
    for file in files:
        assert isinstance(file.place, ObjectPath), "a store is in an object store or is not"
        named = file.place.named()
        if named is None:
            raise FileNotFoundError(str(file.place))
        copy = folder / _name(file, named.sha256)
        if not named.is_kept and copy.name not in copies and not _is_before(file):
            unkept.append(file.place)
        elif not named.is_kept:
            if copy.name not in copies:
                _write_again(file.place, copy)
            found.append(KeptFile(_object_address(copy), copy, named.sha256, file))
            continue
        found.append(KeptFile(_object_address(file.place), file.place, named.sha256, file))
    keep_objects(unkept)
    _check_kept(unkept)
    return found


def _check_kept(paths: Iterable[ObjectPath]) -> None:
    for path in paths:
        named = path.named()
        if named is None or not named.is_kept:
            raise FileNotFoundError(str(path))


def _object_address(path: ObjectPath) -> str:
    named = path.named()
    if named is None:
        raise FileNotFoundError(str(path))
    return f"s3://{path.bucket.name}/{named.key}"


def _name(file: StoredFile, sha256: str) -> str:
    symbol, day = file.partition[:2]
    return f"{symbol}-{day}-{sha256}.parquet"


def _is_before(file: StoredFile) -> bool:
    """Whether it is a part of the feature log whose times are nanoseconds."""
    schema = part_schema(file.place)
    return schema.get_field_index(EVENT) >= 0 and schema.get_field_index(AVAILABLE) < 0


def _write_again(part: Place, copy: Place) -> None:
    with opened_parquet(part) as file:
        table, stated = times_in_microseconds(file.read()), file.metadata.metadata or {}
    if "symbol" in table.column_names:  # as of before it was in the folder's name alone
        table = table.drop_columns(["symbol"])
    staged = StagedParquet(copy)
    try:
        staged.open(table.schema, **PART_FORMAT)
        staged.write(table, row_group_rows=ROW_GROUP_ROWS)
        publish_files({copy: staged.finish(_texts(stated))})
    finally:
        staged.discard()


def _texts(stated: Mapping[bytes, bytes]) -> dict[str, str]:
    return {GENERATION: stated[GENERATION.encode()].decode()}

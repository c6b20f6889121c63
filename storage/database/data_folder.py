"""The raw folder that a database belongs to: the folder's id, in a file of it, is kept in the database.

What the database says of datasets, leases and upkeep is of one folder. Two folders on it would each answer for the
other's, so that a writer first states which one it has.
"""

from __future__ import annotations

import os
import uuid
from typing import Final

from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import Insert, insert

from market.errors import Conflict, CorruptStore
from storage.database.connections import open_engine, transaction
from storage.database.schema import DATA_FOLDER
from storage.durable_files import changing_files, publish_first, stage_file
from storage.places import Place

FILE_NAME: Final = "folder_id"


def claim_folder(url: str, raw_folder: Place) -> None:
    """Let the database belong to a folder when it belongs to none yet; the first that asks has it.

    Where the folder goes by another path than before, that is kept. Raises Conflict when the database belongs to
    another folder, CorruptStore when the folder's id cannot be read, StoreUnavailable.
    """
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            owner = connection.execute(select(DATA_FOLDER)).one_or_none()
        known = read_folder_id(raw_folder)  # after the database was asked: the id is on disk before it is kept there
        if owner is None or owner.folder_id == known:
            known = known or _make_folder_id(raw_folder)
            with transaction(engine) as connection:
                connection.execute(_kept(known, raw_folder, where=DATA_FOLDER.c.folder_id == known))
                owner = connection.execute(select(DATA_FOLDER)).one()
    finally:
        engine.dispose()
    if owner.folder_id != known:
        raise Conflict(
            f"raw folder {raw_folder.resolve()}: must be the one that the database belongs to, {owner.path} on "
            f"{owner.host} with id {owner.folder_id}, had {f'id {known}' if known else 'no id'}; give each folder its "
            "own database or, if it is that folder, moved or restored, run `feature-service db adopt-folder`"
        )


def is_known_folder(url: str, raw_folder: Place) -> bool:
    """Whether the database belongs to a folder of this path, whose id cannot be read now. Raises StoreUnavailable."""
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            owner = connection.execute(select(DATA_FOLDER)).one_or_none()
    finally:
        engine.dispose()
    return owner is not None and owner.path == str(raw_folder.resolve())


def adopt_folder(url: str, raw_folder: Place) -> uuid.UUID:
    """Let the database belong to a folder from now on, whichever it belonged to; the folder's id.

    Raises CorruptStore when the folder's id cannot be read, StoreUnavailable.
    """
    folder_id = read_folder_id(raw_folder) or _make_folder_id(raw_folder)
    engine = open_engine(url, pool_size=1)
    try:
        with transaction(engine) as connection:
            connection.execute(_kept(folder_id, raw_folder))
    finally:
        engine.dispose()
    return folder_id


def read_folder_id(raw_folder: Place) -> uuid.UUID | None:
    """The folder's id; None where it has none yet. Raises CorruptStore when it is none, StoreUnavailable."""
    path = raw_folder / FILE_NAME
    with changing_files(path):
        try:
            said = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        return uuid.UUID(said.decode().strip())
    except ValueError as error:
        raise CorruptStore(f"{path}: must hold the id of its folder, was {said[:64]!r}") from error


def _make_folder_id(raw_folder: Place) -> uuid.UUID:
    """Give the folder an id, or find that of another process that was faster."""
    path = raw_folder / FILE_NAME
    made = uuid.uuid4()
    publish_first(path, stage_file(path, lambda file: file.write(f"{made}\n".encode())))
    found = read_folder_id(raw_folder)
    assert found is not None, "it is never deleted"
    return found


def _kept(folder_id: uuid.UUID, raw_folder: Place, *, where: ColumnElement[bool] | None = None) -> Insert:
    """Puts the row in, or in the place of one for which ``where`` holds."""
    row = {"folder_id": folder_id, "path": str(raw_folder.resolve()), "host": os.uname().nodename}
    new = insert(DATA_FOLDER).values(row)
    return new.on_conflict_do_update(index_elements=[DATA_FOLDER.c.is_the_one], set_=row, where=where)

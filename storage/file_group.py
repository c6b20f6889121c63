"""A group of files: staged one by one, then durable and named together, with a sync or two for all of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from storage.durable_files import changing_files, make_folder, publish_files
from storage.group_sync import GroupSync
from storage.objects.path import ObjectPath
from storage.places import Place

FEW: Final = 8
"""Files of a group that are synced one by one: nobody waits for a row in the feature log as for an acknowledgement."""


class FileGroup:
    """Files of one folder tree. Leaving the group removes what was not published.

    sync: what the files are made durable by; None is each by itself when it is staged, as files of an object store are.
    """

    def __init__(self, sync: GroupSync | None = None) -> None:
        self.sync = sync
        self._staged: dict[Place, Path] = {}
        self._published: list[Callable[[], object]] = []
        self._stack = ExitStack()

    def add(self, path: Place, staged: Path) -> None:
        """A file is staged for ``path``."""
        self._staged[path] = staged

    def on_leaving(self, discard: Callable[[], object]) -> None:
        """Call this at the end, published or not."""
        self._stack.callback(discard)

    def on_published(self, then: Callable[[], object]) -> None:
        """Call this once the files have their names."""
        self._published.append(then)

    def publish(self) -> None:
        """Give the files their names, all of them durable before; and wait for the names. Raises StoreUnavailable."""
        if self._staged:
            self._settle()
            publish_files(self._staged, sync=None if self.sync is None else self.sync.folder)
            self._settle()
        for then in self._published:
            then()

    def _settle(self) -> None:
        if self.sync is not None:
            with changing_files(next(iter(self._staged)).parent):
                self.sync.settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()


def group_sync(folder: Place) -> GroupSync | None:
    """What files in a folder, made where it is missing, are made durable by; None for an object store.

    Raises StoreUnavailable.
    """
    if isinstance(folder, ObjectPath):
        return None
    make_folder(folder)
    sync = GroupSync(folder, few=FEW)
    with changing_files(folder):
        sync.open()
    return sync

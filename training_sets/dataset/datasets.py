"""Datasets: the place of finished datasets, and the folder of the attempts at them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from market.errors import StoreUnavailable
from storage.durable_files import remove_files
from storage.objects.files import publish_tree
from storage.objects.path import ObjectPath
from storage.places import Place
from training_sets.dataset.manifest import MANIFEST_NAME

_log = logging.getLogger(__name__)


class Datasets:
    """One place, opened: a finished dataset has its id as name, an attempt at one a dot name on this machine.

    attempts: the folder of these where datasets are in an object store; else they are next to the datasets.
    """

    def __init__(self, place: Place, attempts: Path | None = None) -> None:
        self.place = place.resolve()
        self.attempts = attempts or _here(self.place)

    def path(self, dataset_id: str) -> Place:
        """The folder of a finished dataset."""
        return self.place / dataset_id

    def find(self, dataset_id: str) -> str | None:
        """Where a finished dataset lies, None where it does not. Raises StoreUnavailable."""
        path = self.path(dataset_id)
        return str(path) if (path / MANIFEST_NAME).is_file() else None

    def begin(self, dataset_id: str, attempt: int) -> Path:
        """A new folder for an attempt; what earlier ones left is gone."""
        self.remove(dataset_id)
        folder = self.attempts / f".{dataset_id}-{attempt}"
        folder.mkdir(parents=True)
        return folder

    def finish(self, dataset_id: str, attempt: Path) -> Place:
        """Make the attempt's folder that of its dataset: all of it is seen at once, under the dataset's name.

        Raises Conflict where another attempt came first, CorruptStore and StoreUnavailable of an object store.
        """
        path = self.path(dataset_id)
        if not isinstance(path, ObjectPath):
            return attempt.replace(path)
        publish_tree(path, attempt)
        discard(attempt)
        return path

    def remove(self, dataset_id: str) -> None:
        """Remove what any attempt at a dataset has written. Raises StoreUnavailable when the dataset itself stays."""
        path = self.path(dataset_id)
        for folder in (path, *self.attempts.glob(f".{dataset_id}-*")):
            discard(folder)
        if isinstance(path, Path) and path.exists():
            raise StoreUnavailable(f"{path}: cannot be removed")


def discard(folder: Place) -> None:
    """Remove a folder with its contents, also while another process is removing it.

    What stays on this machine is told in the log: callers have an error of their own to raise. Raises StoreUnavailable
    of an object store.
    """
    if isinstance(folder, ObjectPath):
        remove_files(folder.rglob("*"))  # its own files first: without its manifest it is no dataset
        return
    # A worker that was thought dead may be removing the same files, or writing more.
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        _log.warning("%s: cannot be removed", folder)


def _here(place: Place) -> Path:
    assert isinstance(place, Path), "attempts are made on this machine"
    return place

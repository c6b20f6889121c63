"""Datasets: the folder of finished datasets and of the attempts at them."""

from __future__ import annotations

import shutil
from pathlib import Path


class Datasets:
    """One folder, opened: a finished dataset has its id as name, an attempt at one a dot name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def path(self, dataset_id: str) -> Path:
        """The folder of a finished dataset."""
        return self.folder / dataset_id

    def begin(self, dataset_id: str, attempt: int) -> Path:
        """A new folder for an attempt; what earlier ones left is gone."""
        self.remove(dataset_id)
        folder = self.folder / f".{dataset_id}-{attempt}"
        folder.mkdir(parents=True)
        return folder

    def finish(self, dataset_id: str, attempt: Path) -> Path:
        """Give the attempt's folder the name of its dataset."""
        return attempt.replace(self.path(dataset_id))

    def remove(self, dataset_id: str) -> None:
        """Remove what any attempt at a dataset has written."""
        for folder in (self.path(dataset_id), *self.folder.glob(f".{dataset_id}-*")):
            discard(folder)


def discard(folder: Path) -> None:
    """Remove a folder with its contents, also while another process is removing it."""
    # A worker that was thought dead may be removing the same files.
    shutil.rmtree(folder, ignore_errors=True)

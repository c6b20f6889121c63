"""The location of a feature repository, and the contents of its yaml and views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from feature_repo.freshness import table_group
from storage.places import Place, place_of


def shared_views(views: Iterable[str]) -> set[str]:
    """The views whose rows are the same for every symbol."""
    return {view for view in views if (group := table_group(view)) is not None and group.is_for_all}


def folder_named(config: Mapping[str, Any], setting: str) -> Place | None:
    """The place of datasets or of the feature log of the service that wrote the yaml, if stated."""
    offline = config.get("offline_store")
    ticks = offline.get("ticks") if isinstance(offline, dict) else None
    options = ticks.get("options") if isinstance(ticks, dict) else None
    folder = options.get(setting) if isinstance(options, dict) else None
    return None if folder is None else place_of(folder)


def repository_folder(folder: Path) -> Path:
    """The folder with ``feature_store.yaml``: the given one, or its parent."""
    for each in (folder, folder / ".."):
        if folder.is_dir() and (each / "feature_store.yaml").is_file():
            return each
    return folder

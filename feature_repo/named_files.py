"""Folders that name their files: which objects below one are files, where a listing would show what was never finished.

``_names.json`` in a folder is ``{"sha256": …, "names": {"files": {name: {"key": …}}, "folders": […]}}`` and a newline,
the hash being of the names as they stand there. Our feature log has them in an object store.
"""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow.fs as pafs

from market.errors import CorruptStore

_NAMES: Final = "_names.json"
_SEALED: Final = re.compile(rb'\{"sha256":"([0-9a-f]{64})","names":(.*)\}\n', re.DOTALL)
_AT_ONCE: Final = 16


def named_files(filesystem: pafs.FileSystem, root: str) -> list[str] | None:
    """The path of each file's object, of every folder below; None where there is no folder that names its files.

    Partition folders are those of its path. Raises CorruptStore, OSError.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        return None
    top = _names(filesystem, root)
    if top is None:
        return None
    bucket = root.partition("/")[0]
    found, level = [], [(root, top)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while level:
            found += [f"{bucket}/{file['key']}" for _, names in level for file in names["files"].values()]
            folders = [f"{folder}/{name}" for folder, names in level for name in names["folders"]]
            level = []
            for folder, names in zip(folders, pool.map(lambda each: _names(filesystem, each), folders), strict=True):
                if names is None:
                    raise CorruptStore(f"{folder}: must have its names, as the folder above says, was without")
                level.append((folder, names))
    return found


def _names(filesystem: pafs.FileSystem, folder: str) -> dict[str, Any] | None:
    try:
        with filesystem.open_input_stream(f"{folder}/{_NAMES}") as stream:
            content = stream.read()
    except FileNotFoundError:
        return None
    sealed = _SEALED.fullmatch(content)
    if sealed is None or hashlib.sha256(sealed[2]).hexdigest() != sealed[1].decode():
        raise CorruptStore(f"{folder}/{_NAMES}: must have the checksum of its names, had another")
    names: dict[str, Any] = json.loads(sealed[2])
    return names

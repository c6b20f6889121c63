"""Machine code on disk: loaded only while it has the bytes that were compiled, else compiled again.

numba loads what lies in its cache without a look at it, and a flipped bit of machine code ends the interpreter. Beside
the files of a function lies one with their hashes, written after them: what is not as it says is removed, not loaded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def prove(function: Any, sources: Sequence[Path] = ()) -> None:  # numba's dispatcher, which its stubs leave out
    """Let a function that numba keeps on disk load proven code alone; any other stays as it is.

    sources: files that it was compiled from beside its own, at which numba does not look.
    """
    cache = getattr(function, "_cache", None)
    if cache is not None and cache.cache_path is not None:
        function._cache = _ProvenCache(cache, sources)  # noqa: SLF001  # numba has no door for it; the tests see it stay true


class _ProvenCache:
    """numba's cache of one function, behind the check."""

    def __init__(self, cache: Any, sources: Sequence[Path]) -> None:  # numba's own class
        self._cache = cache
        self._sources = sources

    def __getattr__(self, name: str) -> Any:  # whatever else numba asks of its cache
        return getattr(self._cache, name)

    def load_overload(self, *arguments: Any) -> Any:  # numba's, passed on
        found = self._hashes()
        if found != self._listed():
            for name in self._files():
                try:
                    (Path(self._cache.cache_path) / name).unlink(missing_ok=True)
                except OSError:
                    return None  # it cannot be removed, and is not loaded either
        return self._cache.load_overload(*arguments)

    def save_overload(self, *arguments: Any) -> None:  # numba's, passed on
        self._cache.save_overload(*arguments)
        path = self._list_path()
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps(self._hashes(), indent=1) + "\n")
            unfinished.replace(path)
        except OSError:
            return  # numba could not keep its files either: they are compiled again

    def _listed(self) -> dict[str, str]:
        try:
            listed: dict[str, str] = json.loads(self._list_path().read_text())
        except (OSError, ValueError):
            return {}
        return listed

    def _hashes(self) -> dict[str, str]:
        """SHA-256 of each of the function's files, and of the other sources while there are any, by name."""
        paths = [*files.values(), *self._sources] if (files := self._files()) else []
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def _files(self) -> dict[str, Path]:
        folder, base = Path(self._cache.cache_path), f"{self._base}."
        return {path.name: path for path in sorted(folder.glob("*.nb[ci]")) if path.name.startswith(base)}

    def _list_path(self) -> Path:
        return Path(self._cache.cache_path) / f"{self._base}.sha256"

    @property
    def _base(self) -> str:
        base: str = self._cache._impl.filename_base  # noqa: SLF001  # as above
        return base

"""The files of the registry versions: one folder, ``<version>.yaml`` each; what a version is, its file says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from feature_repo.registry_versions import (
    RegistryVersion,
    check_registry,
    config_text,
    is_version,
    load_registry_file,
    load_registry_version,
    read_config,
    registry_versions,
)
from market.errors import Conflict, InvalidRegistry, InvalidRequest, NotFound
from registry.definition import define
from storage.database.registry_records import Checked
from storage.durable_files import changing_files, stage_file, sync_folder


class VersionFolder:
    """The folder at ``path``; methods raise StoreUnavailable when the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def file(self, version: str) -> Path:
        """Where a version's file is, or would be."""
        return self.path / f"{version}.yaml"

    def versions(self) -> list[str]:
        """Those that have a file."""
        return list(registry_versions(self.path))

    def load(self, version: str) -> RegistryVersion:
        """A version by its file. Raises InvalidRegistry, NotFound."""
        return load_registry_version(version, self.path)

    def problems(self, version: str) -> tuple[RegistryVersion | None, tuple[str, ...]]:
        """The version by its file, or else what keeps it from being one."""
        try:
            return self.load(version), ()
        except InvalidRegistry as error:
            return None, tuple(error.problems)
        except NotFound:
            return None, (f"file: must be there, {version}.yaml was not",)

    def config(self, version: str) -> dict[str, Any]:
        """What a version's file holds, as JSON would. Raises InvalidRegistry when that is no mapping."""
        found = read_config(self.file(version))
        if not isinstance(found, dict):
            raise InvalidRegistry(f"{version}.yaml", ["file: must be a mapping"])
        try:
            return _as_json(found)
        except (ValueError, RecursionError) as error:
            raise InvalidRegistry(f"{version}.yaml", [f"file: must contain only JSON values, {error}"]) from error

    def checked_text(self, version: str, config: Mapping[str, Any]) -> tuple[RegistryVersion, bytes]:
        """A version that is to be written, and the bytes of its file. Raises InvalidRequest with every problem."""
        if not is_version(version):
            raise InvalidRequest(f"version: must be <major>.<minor>.<patch>, was {version!r}")
        if config.get("version", version) != version:
            raise InvalidRequest(f"config.version: must be {version} or left out, was {config['version']!r}")
        whole = {"version": version, **config}
        try:
            loaded = check_registry(whole, self.file(version))
        except InvalidRegistry as error:
            raise InvalidRequest(f"config: must be a valid registry version: {'; '.join(error.problems)}") from error
        try:
            return loaded, config_text(_as_json(whole)).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"config: must contain only values of JSON and YAML, {error}") from error

    def look(self, version: str) -> Checked:
        """What the version's file is now."""
        path = self.file(version)
        try:
            loaded = self.load(version)
            return checked(loaded, path.read_bytes())
        except InvalidRegistry as error:
            problems: Sequence[str] = error.problems
        except (NotFound, OSError):
            problems = [f"file: must be there, {path.name} was not"]
        return Checked(version=version, file_path=path.name, content_sha256=None, problems=tuple(problems))

    def write_new(self, version: str, content: bytes) -> None:
        """Write a file that must not be there yet, whole or not at all. Raises Conflict when it is."""
        path = self.file(version)
        staged = stage_file(path, lambda file: file.write(content))
        try:
            with changing_files(path):
                try:
                    os.link(staged, path)  # unlike a rename it refuses to replace what another has written meanwhile
                except FileExistsError as error:
                    raise Conflict(f"registry version {path.stem}: must be new, its file already exists") from error
                sync_folder(path.parent)
        finally:
            staged.unlink(missing_ok=True)

    def take_over(self, path: Path) -> str:
        """Have a registry file from elsewhere as the version that it states, and tell which.

        Raises InvalidRegistry when it breaks the rules, Conflict when that version has another file here.
        """
        loaded = load_registry_file(path)
        here = self.file(loaded.version)
        if not here.exists():
            self.write_new(loaded.version, path.read_bytes())
        elif self.load(loaded.version).feature_set != loaded.feature_set:
            raise Conflict(f"registry version {loaded.version}: must be as in {path}, {here} holds another")
        return loaded.version

    def remove(self, version: str) -> None:
        """Remove a version's file; one that is gone already is no error."""
        path = self.file(version)
        with changing_files(path):
            path.unlink(missing_ok=True)


def checked(loaded: RegistryVersion, content: bytes) -> Checked:
    """What is recorded of a sound file."""
    return Checked(
        version=loaded.version,
        file_path=f"{loaded.version}.yaml",
        content_sha256=hashlib.sha256(content).hexdigest(),
        definition=define(loaded).document(),
        schema_version=loaded.schema_version,
        migration_script=None if loaded.migration is None else loaded.migration.text(),
    )


def _as_json(config: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can say of a registry file: YAML has dates, NaN and keys that are no texts besides.

    Raises ValueError for what refers to itself, and for half a surrogate pair.
    """
    text = json.dumps(config, default=str, skipkeys=True, ensure_ascii=False)
    found: dict[str, Any] = json.loads(text.encode(), parse_constant=str)
    return found

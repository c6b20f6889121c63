"""The life cycle of registry versions: files hold what they are, PostgreSQL which is active and who changed what.

1. A file that appears in the versions' folder is a candidate. Nothing makes it active but an activation.
2. Where nothing was activated, the version that is shipped as the default counts as active.
3. An activation holds the version against the one that is active, as it was when it was recorded: what breaks readers
   must be acknowledged.
4. Workers that run agree on it before it is active, and change behind one row; see ``agreement``. Where one cannot
   serve the version, the one before goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from feature_repo.registry_versions import (
    DEFAULT_VERSION,
    SHIPPED_VERSIONS,
    RegistryVersion,
    check_registry,
    config_text,
    is_version,
    load_registry_file,
    load_registry_version,
    read_config,
    registry_versions,
    service_name,
    version_key,
)
from market.clock import format_iso, to_ns
from market.errors import Conflict, InvalidRegistry, InvalidRequest, NotFound
from registry.agreement import Agreement, Refused, WorkerSays, served_version
from registry.compatibility import Difference, compare
from registry.definition import Definition, define, read_definition
from storage.database.activations import Activation
from storage.database.ingest_workers import IngestWorker
from storage.database.registry_versions import Action, Change, Checked, RegistryStore, VersionRecord
from storage.durable_files import changing_files, stage_file, sync_folder
from storage.features.parts import rows_with_columns
from transforms.rows import FeatureGroup

TAKES_EFFECT: Final = "behind one row of every worker, and in other processes within seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for a change, as they say, why, and from where."""

    origin: str
    made_by: str | None = None
    reason: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionState:
    """One version: what its file is now, and what is recorded of it. record: None for a candidate never looked at.

    problems: of its file; loaded: None where it has any. usage_count: its datasets.
    """

    version: str
    is_active: bool
    problems: tuple[str, ...]
    loaded: RegistryVersion | None
    record: VersionRecord | None
    usage_count: int

    @property
    def is_shipped(self) -> bool:
        return self.version in SHIPPED_VERSIONS

    def document(self) -> dict[str, Any]:
        """As a JSON object; times are ISO 8601."""
        record, loaded = self.record, self.loaded
        recorded = {
            name: None if record is None else getattr(record, name)
            for name in (
                *("created_by", "activated_by", "activation_reason", "previous_version", "rollback_from"),
                *("schema_version", "migration_script"),
            )
        }
        times = {
            name: None if record is None or (at := getattr(record, name)) is None else format_iso(to_ns(at))
            for name in ("validated_at", "loaded_at", "created_at")
        }
        words = {
            name: [] if record is None else list(getattr(record, name) or ())
            for name in ("compatibility_warnings", "breaking_changes")
        }
        return {
            "version": self.version,
            "file_path": f"{self.version}.yaml",
            "is_active": self.is_active,
            "is_shipped": self.is_shipped,
            "is_recorded": record is not None,
            "is_valid": not self.problems,
            "validation_errors": list(self.problems),
            "warnings": [] if loaded is None else list(loaded.warnings),
            "feature_set": None if loaded is None else loaded.feature_set.fingerprint,
            "features_count": None if loaded is None else len(loaded.feature_set.columns),
            "usage_count": self.usage_count,
            **times,
            **recorded,
            **words,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What uses a version. rows: of the feature log that have its columns; why_not: what keeps it from being deleted.

    workers: that serve it now. service: its feature service in Feast, None while its file is broken.
    """

    datasets_count: int
    datasets: tuple[str, ...]
    rows: int
    workers: tuple[str, ...]
    service: str | None
    why_not: tuple[str, ...]

    def document(self, version: str) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "version": version,
            "active_datasets_count": self.datasets_count,
            "feature_computations_count": self.rows,
            "can_delete": not self.why_not,
            "usage_details": {
                "datasets": list(self.datasets),
                "workers": list(self.workers),
                "feature_services": [] if self.service is None else [self.service],
                "why_not_deleted": list(self.why_not),
            },
        }


class RegistryLifeCycle:
    """The versions of one folder and their state in one database.

    announce: brings the sound versions into Feast's registry. Every method raises StoreUnavailable when the database
    or the disk does not answer, and NotFound for a version that is neither a file nor recorded.
    """

    def __init__(
        self,
        store: RegistryStore,
        agreement: Agreement,
        *,
        folder: Path,
        features: Path,
        now: Callable[[], datetime],
        announce: Callable[[], object],
    ) -> None:
        """folder: of the files; features: of the feature log."""
        self._store = store
        self._agreement = agreement
        self._folder = folder
        self._features = features
        self._now = now
        self._announce = announce

    def adopt(self, legacy: Path, asked: Asked) -> VersionRecord | None:
        """Take a file from elsewhere over as the version that it states, and activate it; None where one was before.

        Raises InvalidRegistry when it breaks the rules, Conflict when that version has another file here.
        """
        if self._store.active() is not None:
            return None
        loaded = load_registry_file(legacy)
        content, path = legacy.read_bytes(), self._path(loaded.version)
        if not path.exists():
            _write_new(path, content)
        elif load_registry_version(loaded.version, self._folder).feature_set != loaded.feature_set:
            raise Conflict(f"registry version {loaded.version}: must be as in {legacy}, {path} holds another")
        return self.activate(loaded.version, asked, is_acknowledged=True, action="migrate")

    def begin_serving(self, version: str) -> None:
        """Keep that a process serves a version from now on."""
        self._store.loaded(version, self._now())

    def active_version(self) -> str:
        """The version that the next start of a process serves."""
        record = self._store.active()
        return DEFAULT_VERSION if record is None else record.version

    def version_before(self) -> str | None:
        """The version that a rollback returns to, if any."""
        record = self._store.active()
        return None if record is None else record.previous_version

    def states(self) -> list[VersionState]:
        """Every version that has a file or was recorded, oldest first."""
        records, counts = self._store.records(), self._store.dataset_counts()
        active = next((name for name, record in records.items() if record.is_active), DEFAULT_VERSION)
        known = sorted({*registry_versions(self._folder), *records}, key=version_key)
        return [self._state(version, records.get(version), counts, active) for version in known]

    def state(self, version: str) -> VersionState:
        """One version."""
        found = next((state for state in self.states() if state.version == version), None)
        if found is None:
            known = (state.version for state in self.states())
            raise NotFound(f"registry version: must be one of {', '.join(known)}, was {version!r}")
        return found

    def config(self, version: str) -> dict[str, Any]:
        """What a version's file holds, as JSON would. Raises InvalidRegistry when that is no mapping."""
        found = read_config(self._path(version))
        if not isinstance(found, dict):
            raise InvalidRegistry(f"{version}.yaml", ["file: must be a mapping"])
        try:
            return _as_json(found)
        except (ValueError, RecursionError) as error:
            raise InvalidRegistry(f"{version}.yaml", [f"file: must be values that JSON has, {error}"]) from error

    def create(self, version: str, config: Mapping[str, Any], asked: Asked) -> VersionState:
        """Write a version's file and record it. Raises InvalidRequest with every problem of it, Conflict when it is."""
        if not is_version(version):
            raise InvalidRequest(f"version: must be <major>.<minor>.<patch>, was {version!r}")
        if config.get("version", version) != version:
            raise InvalidRequest(f"config.version: must be {version} or left out, was {config['version']!r}")
        whole = {"version": version, **config}
        path = self._path(version)
        try:
            loaded = check_registry(whole, path)
        except InvalidRegistry as error:
            raise InvalidRequest(f"config: must be a registry version, was not: {'; '.join(error.problems)}") from error
        try:
            text = config_text(_as_json(whole)).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"config: must be values that JSON and YAML have, {error}") from error
        if version in self._store.records():
            raise Conflict(f"registry version {version}: must be new, was recorded before")
        _write_new(path, text)
        try:
            self._store.create(_checked(loaded, text), self._change("create", version, asked))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._announce()
        return self.state(version)

    def sync(self, version: str, asked: Asked) -> VersionState:
        """Look at a version's file again and record what it is; a file that was never recorded is from then on."""
        self.state(version)
        checked = self._look(version)
        details = {"is_valid": not checked.problems, "validation_errors": list(checked.problems)}
        self._store.sync(checked, self._change("sync", version, asked, details=details))
        if not checked.problems:
            self._announce()
        return self.state(version)

    def activate(
        self, version: str, asked: Asked, *, is_acknowledged: bool, action: Action = "activate"
    ) -> VersionRecord:
        """Make a version the active one.

        Returns once the workers that run serve it. Raises InvalidRequest when it breaks readers and that is not
        acknowledged; Conflict when its file is not sound, when it is active already, when another activation is under
        way or was first, and when a worker cannot serve it: then the version before goes on.
        """
        self.state(version)
        record = self._store.active()
        before = DEFAULT_VERSION if record is None else record.version
        if record is not None and before == version:
            raise Conflict(f"registry version {version}: must not be active to be activated, was")
        checked = self._look(version)
        if checked.problems:
            raise Conflict(f"registry version {version}: must be sound, was not: {'; '.join(checked.problems)}")
        found = self._compared(record, before, version)
        warnings = () if found is None else found.warnings
        breaking = () if found is None else found.breaking_changes
        if found is None:
            warnings = (f"{before}: cannot be read any more, so that nothing was compared with it",)
        if breaking and not is_acknowledged:
            raise InvalidRequest(
                f"acknowledge_breaking_changes: must be true, for {version} breaks readers of {before}: "
                f"{'; '.join(breaking)}"
            )
        self._announce()
        details = {"compatibility_warnings": list(warnings), "breaking_changes": list(breaking)}
        feature_set = load_registry_version(version, self._folder).feature_set.fingerprint
        activation = self._agreement.begin(version, previous=before, feature_set=feature_set)
        try:
            agreed = self._agreement.agreed(activation)
            done = self._store.activate(
                checked,
                self._change(action, version, asked, previous=before, details=details),
                expected=None if record is None else before,
                warnings=warnings,
                breaking=breaking,
                agreed=agreed,
            )
        except BaseException as error:
            self._store.refuse(activation.id, self._refusal(version, asked, before, error))
            if isinstance(error, Refused):
                raise Refused(f"registry version {version}: not activated, {before} goes on: {error}") from error
            raise
        try:
            self._agreement.confirmed(agreed)
        except Refused as error:
            raise Refused(f"registry version {version}: not active, {before} goes on: {error}") from error
        return done

    def rollback(self, asked: Asked) -> VersionRecord:
        """Make the version active that was before the active one. Raises Conflict when there is none."""
        record = self._store.active()
        if record is None or record.previous_version is None:
            raise Conflict(f"registry: must have a version before {self.active_version()} to return to, had none")
        return self.activate(record.previous_version, asked, is_acknowledged=True, action="rollback")

    def delete(self, version: str, asked: Asked) -> None:
        """Remove a version's file and what is recorded of it. Raises Conflict when it is shipped or in use."""
        used = self.usage(version)
        if used.why_not:
            raise Conflict(f"registry version {version}: must not be in use to be deleted, {'; '.join(used.why_not)}")
        self._store.delete(version, self._change("delete", version, asked))
        path = self._path(version)
        with changing_files(path):
            path.unlink(missing_ok=True)

    def usage(self, version: str) -> Usage:
        """What uses a version."""
        state = self.state(version)
        record = self._store.active()
        workers = [worker.worker_id for worker in self.workers() if served_version(worker) == version]
        reasons = [
            ("it is shipped with the service", state.is_shipped),
            ("it is active", state.is_active),
            ("a rollback returns to it", record is not None and record.previous_version == version),
            (f"{state.usage_count} datasets were built with it", state.usage_count > 0),
            (f"{len(workers)} workers serve it", bool(workers)),
        ]
        return Usage(
            datasets_count=state.usage_count,
            datasets=tuple(self._store.datasets(version)),
            rows=0 if state.loaded is None else self._rows(state.loaded),
            workers=tuple(workers),
            service=None if state.loaded is None else service_name(version),
            why_not=tuple(reason for reason, is_so in reasons if is_so),
        )

    def workers(self) -> list[IngestWorker]:
        """The workers that live."""
        return [each.worker for each in self.said()[1]]

    def said(self) -> tuple[Activation | None, list[WorkerSays]]:
        """The newest activation, and every worker that lives with what it says of it."""
        return self._agreement.says()

    def audit(self, *, version: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """The newest changes, newest first."""
        return self._store.audit(version=version, limit=limit)

    def difference(self, before: str, after: str) -> tuple[Difference, dict[str, int]]:
        """What a change between two versions is by the code as it is, and rows of history to compute by group.

        Raises Conflict for a broken file.
        """
        try:
            old, new = (load_registry_version(version, self._folder) for version in (before, after))
        except InvalidRegistry as error:
            raise Conflict(f"registry versions {before}, {after}: must be sound to be compared, {error}") from error
        found = compare(define(old), define(new), new.migration)
        groups = {group.name: group for group in new.feature_set.groups}
        history = self._rows(old)
        missing = {
            name: max(0, history - rows_with_columns(self._features, groups[name])) for name in found.groups_to_compute
        }
        return found, missing

    def _compared(self, record: VersionRecord | None, before: str, after: str) -> Difference | None:
        """What changes for readers; None when nothing is known of the version before."""
        definition: Definition | None = None
        if record is not None and record.definition is not None:
            definition = read_definition(record.definition)
        else:
            try:
                definition = define(load_registry_version(before, self._folder))
            except (InvalidRegistry, NotFound):
                return None
        new = load_registry_version(after, self._folder)
        return compare(definition, define(new), new.migration)

    def _rows(self, version: RegistryVersion) -> int:
        """Rows of the feature log that have every column of the version's largest group."""
        largest: FeatureGroup = max(version.feature_set.groups, key=lambda group: len(group.columns))
        return rows_with_columns(self._features, largest)

    def _state(
        self, version: str, record: VersionRecord | None, counts: Mapping[str, int], active: str
    ) -> VersionState:
        problems: tuple[str, ...] = ()
        loaded: RegistryVersion | None = None
        try:
            loaded = load_registry_version(version, self._folder)
        except InvalidRegistry as error:
            problems = tuple(error.problems)
        except NotFound:
            problems = (f"file: must be there, {version}.yaml was not",)
        return VersionState(
            version=version,
            is_active=version == active,
            problems=problems,
            loaded=loaded,
            record=record,
            usage_count=counts.get(version, 0),
        )

    def _look(self, version: str) -> Checked:
        path = self._path(version)
        try:
            loaded = load_registry_version(version, self._folder)
            return _checked(loaded, path.read_bytes())
        except InvalidRegistry as error:
            problems: Sequence[str] = error.problems
        except (NotFound, OSError):
            problems = [f"file: must be there, {path.name} was not"]
        return Checked(version=version, file_path=path.name, content_sha256=None, problems=tuple(problems))

    def _change(
        self,
        action: Action,
        version: str,
        asked: Asked,
        *,
        previous: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Change:
        return Change(
            at=self._now(),
            action=action,
            version=version,
            origin=asked.origin,
            previous_version=previous,
            made_by=asked.made_by,
            reason=asked.reason,
            details=details or {},
            trace_id=asked.trace_id,
        )

    def _refusal(self, version: str, asked: Asked, before: str, error: BaseException) -> Change:
        details = {"asked_with": asked.reason, "is_refused": isinstance(error, Refused)}
        told = replace(asked, reason=f"{error}" or type(error).__name__)
        return self._change("refuse", version, told, previous=before, details=details)

    def _path(self, version: str) -> Path:
        return self._folder / f"{version}.yaml"


def _checked(loaded: RegistryVersion, content: bytes) -> Checked:
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


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that must not be there yet, whole or not at all. Raises Conflict when it is."""
    staged = stage_file(path, lambda file: file.write(content))
    try:
        with changing_files(path):
            try:
                os.link(staged, path)  # unlike a rename it refuses to replace what another has written meanwhile
            except FileExistsError as error:
                raise Conflict(f"registry version {path.stem}: must be new, its file was there") from error
            sync_folder(path.parent)
    finally:
        staged.unlink(missing_ok=True)

"""The life cycle of registry versions: files hold what they are, PostgreSQL which is active and who changed what.

1. A file that appears in the versions' folder is a candidate. Nothing makes it active but an activation.
2. Where nothing was activated, the version that is shipped as the default counts as active.
3. An activation holds the version against the one that is active, as it was when it was recorded: what breaks readers
   must be acknowledged.
4. Workers that run agree on it before it is active, and change behind one row; see ``agreement``. Where one cannot
   serve the version, the previous one continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from feature_repo.registry_versions import DEFAULT_VERSION, service_name, version_key
from market.errors import Conflict, InvalidRequest, NotFound
from registry.active import ActiveVersion
from registry.agreement import Agreement, Refused, WorkerSays, served_version
from registry.differences import Differences
from registry.folder import VersionFolder, checked
from registry.shadows import ShadowVersions
from registry.states import Asked, FeatureServices, Usage, VersionState, change
from storage.database.activations import Activation
from storage.database.ingest_workers import IngestWorker
from storage.database.registry_records import Action, Change, VersionRecord


class RegistryLifeCycle:
    """The versions of one folder and their state in one database.

    services: those of the versions in Feast. Every method raises StoreUnavailable when the database
    or the disk does not answer, and NotFound for a version that is neither a file nor recorded.
    """

    def __init__(
        self,
        active: ActiveVersion,
        agreement: Agreement,
        *,
        differences: Differences,
        row_budget_ms: float,
        now: Callable[[], datetime],
        services: FeatureServices,
    ) -> None:
        """differences: of the versions' folder. row_budget_ms: what a row of a shadow version may cost."""
        self.files: VersionFolder = differences.folder
        self.differences = differences
        self.active = active
        self.shadows = ShadowVersions(
            active, differences, row_budget_ms=row_budget_ms, now=now, announce=services.announce
        )
        self._store = active.store
        self._agreement = agreement
        self._now = now
        self._services = services

    def adopt(self, legacy: Path, asked: Asked) -> VersionRecord | None:
        """Take a file from elsewhere over as the version that it states, and activate it; None where one was before.

        Raises InvalidRegistry when it breaks the rules, Conflict when that version has another file here.
        """
        if self._store.active() is not None:
            return None
        version = self.files.take_over(legacy)
        return self.activate(version, asked, is_acknowledged=True, action="migrate")

    def begin_serving(self, version: str) -> None:
        """Keep that a process serves a version from now on."""
        self._store.loaded(version, self._now())

    def active_version(self) -> str:
        """The version that the next start of a process serves."""
        return self.active.version

    def version_before(self) -> str | None:
        """The version that a rollback returns to, if any."""
        record = self.active.record()
        return None if record is None else record.previous_version

    def states(self) -> list[VersionState]:
        """Every version that has a file or was recorded, oldest first."""
        records, counts = self._store.records(), self._store.dataset_counts()
        active = self.active.version
        known = sorted({*self.files.versions(), *records}, key=version_key)
        return [self._state(version, records.get(version), counts, active) for version in known]

    def state(self, version: str) -> VersionState:
        """One version."""
        found = next((state for state in self.states() if state.version == version), None)
        if found is None:
            known = (state.version for state in self.states())
            raise NotFound(f"registry version: must be one of {', '.join(known)}, was {version!r}")
        return found

    def create(self, version: str, config: Mapping[str, Any], asked: Asked) -> VersionState:
        """Write a version's file and record it.

        Raises InvalidRequest with every problem of it, Conflict for a version that was recorded before.
        """
        loaded, text = self.files.checked_text(version, config)
        if version in self._store.records():
            raise Conflict(f"registry version {version}: must be new, was recorded before")
        self.files.write_new(version, text)
        try:
            self._store.create(checked(loaded, text), change("create", version, asked, at=self._now()))
        except BaseException:
            self.files.file(version).unlink(missing_ok=True)
            raise
        self._services.announce()
        return self.state(version)

    def sync(self, version: str, asked: Asked) -> VersionState:
        """Look at a version's file again and record what it is; a file that was never recorded is from then on."""
        self.state(version)
        found = self.files.look(version)
        details = {"is_valid": not found.problems, "validation_errors": list(found.problems)}
        self._store.sync(found, change("sync", version, asked, at=self._now(), details=details))
        if not found.problems:
            self._services.announce()
        return self.state(version)

    def activate(
        self, version: str, asked: Asked, *, is_acknowledged: bool, action: Action = "activate"
    ) -> VersionRecord:
        """Make a version the active one.

        Returns once the workers that run serve it. Raises InvalidRequest when it breaks readers and that is not
        acknowledged; Conflict when its file is not sound, when it is active already, when another activation is under
        way or was first, and when a worker cannot serve it: then the previous version continues. Conflict too where the
        files decide which version is active.
        """
        self.state(version)
        self.active.check_changeable()
        record = self._store.active()
        before = DEFAULT_VERSION if record is None else record.version
        if record is not None and before == version:
            raise Conflict(f"registry version {version}: must not be active already")
        looked = self.files.look(version)
        if looked.problems:
            raise Conflict(f"registry version {version}: must be valid: {'; '.join(looked.problems)}")
        found = self.differences.for_readers(record, before, version)
        warnings = () if found is None else found.warnings
        breaking = () if found is None else found.breaking_changes
        if found is None:
            warnings = (f"{before}: cannot be read any more, so nothing was compared with it",)
        if breaking and not is_acknowledged:
            raise InvalidRequest(
                f"acknowledge_breaking_changes: must be true, because {version} breaks readers of {before}: "
                f"{'; '.join(breaking)}"
            )
        self._services.announce()
        details = {"compatibility_warnings": list(warnings), "breaking_changes": list(breaking)}
        feature_set = self.files.load(version).feature_set.fingerprint
        activation = self._agreement.begin(version, previous=before, feature_set=feature_set)
        try:
            agreed = self._agreement.agreed(activation)
            done = self._store.activate(
                looked,
                change(action, version, asked, at=self._now(), previous=before, details=details),
                expected=None if record is None else before,
                warnings=warnings,
                breaking=breaking,
                agreed=agreed,
            )
        except BaseException as error:
            self._store.refuse(activation.id, self._refusal(version, asked, before, error))
            if isinstance(error, Refused):
                raise Refused(f"registry version {version}: not activated, {before} continues: {error}") from error
            raise
        try:
            self._agreement.confirmed(agreed)
        except Refused as error:
            raise Refused(f"registry version {version}: not active, {before} continues: {error}") from error
        return done

    def rollback(self, asked: Asked) -> VersionRecord:
        """Make the version active that was before the active one. Raises Conflict when there is none."""
        self.active.check_changeable()
        record = self._store.active()
        if record is None or record.previous_version is None:
            raise Conflict(f"registry: must have a version before {self.active_version()} to return to, had none")
        return self.activate(record.previous_version, asked, is_acknowledged=True, action="rollback")

    def delete(self, version: str, asked: Asked) -> None:
        """Remove a version's file and what is recorded of it. Raises Conflict when it is shipped or in use."""
        used = self.usage(version)
        if used.why_not:
            raise Conflict(f"registry version {version}: must not be in use to be deleted, {'; '.join(used.why_not)}")
        self._store.delete(version, change("delete", version, asked, at=self._now()))
        self.files.remove(version)
        self._services.withdraw(version)

    def usage(self, version: str) -> Usage:
        """What uses a version."""
        state = self.state(version)
        record = self.active.record()
        workers = [worker.worker_id for worker in self.workers() if served_version(worker) == version]
        reasons = [
            ("it is shipped with the service", state.is_shipped),
            ("it is active", state.is_active),
            ("it is served next to the active one", state.record is not None and state.record.is_shadow),
            ("a rollback returns to it", record is not None and record.previous_version == version),
            (f"{state.usage_count} datasets were built with it", state.usage_count > 0),
            (f"{len(workers)} workers serve it", bool(workers)),
        ]
        return Usage(
            datasets_count=state.usage_count,
            datasets=tuple(self._store.datasets(version)),
            rows=0 if state.loaded is None else self.differences.rows(state.loaded),
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

    def _state(
        self, version: str, record: VersionRecord | None, counts: Mapping[str, int], active: str
    ) -> VersionState:
        loaded, problems = self.files.problems(version)
        return VersionState(
            version=version,
            is_active=version == active,
            problems=problems,
            loaded=loaded,
            record=record,
            usage_count=counts.get(version, 0),
        )

    def _refusal(self, version: str, asked: Asked, before: str, error: BaseException) -> Change:
        details = {"asked_with": asked.reason, "is_refused": isinstance(error, Refused)}
        told = replace(asked, reason=f"{error}" or type(error).__name__)
        return change("refuse", version, told, at=self._now(), previous=before, details=details)

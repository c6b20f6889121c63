"""Following the active version: a thread that sees an activation, prepares for it, and says how it went.

1. An activation that is under way is prepared for; ``ready`` is said, or why the version cannot be served.
2. Once it is decided, the pipeline changes behind the row that was decided; ``serving`` is said when the version before
   is not needed any more. Where the version fails until then, it is taken back, for all workers.
3. An active version that is not served, because this worker came late or another one took a version back, is changed
   to likewise, without anybody waiting for it.
4. While the database is away nothing changes, and a version that is ready keeps following.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from ingestion.pipeline.change import ChangeFailed, EngineChange
from ingestion.worker.repeating import Repeating
from ingestion.worker.version_change import FOLLOW_S, VersionChanger
from market.clock import format_iso
from market.errors import FeatureServiceError, InvalidRegistry, NotFound, StoreUnavailable
from storage.database.activations import (
    COMMITTED,
    PREPARING,
    Activation,
    ActivationStore,
    Confirmation,
    WorkerState,
)
from storage.outages import Outage
from transforms.kernel import Kernel
from transforms.rows import FeatureSet

POLL_S: Final = 0.5

_log = logging.getLogger(__name__)


class TakesBack(Protocol):
    """Who makes the version before active again; see ``RegistryStore.take_back``."""

    def __call__(self, activation: Activation, reason: str) -> object: ...


class VersionFollowing:
    """Keeps one pipeline at the active version until ``close``.

    load: the columns of a version, by its file. default: the version that counts as active where none was activated.
    take_back: called where a version fails after it was decided. on_changed: called once another version is served.
    """

    def __init__(  # noqa: PLR0913  # its hands, each a plain call
        self,
        store: ActivationStore,
        changer: VersionChanger,
        serving: Kernel,
        *,
        worker_id: str,
        load: Callable[[str], FeatureSet],
        default: str,
        take_back: TakesBack,
        on_changed: Callable[[Kernel], object],
        now: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._changer = changer
        self._serving = serving
        self._worker_id = worker_id
        self._load = load
        self._default = default
        self._take_back = take_back
        self._on_changed = on_changed
        self._now = now
        self._seen = 0
        """The newest activation that was dealt with."""
        self._refused: str | None = None
        """An active version that could not be changed to: it is not tried again until another is active."""
        self._outage = Outage(_log, "registry: the database", meanwhile="no version changes")
        self._repeating = Repeating("version following", self._turn, every_s=POLL_S)

    def start(self) -> None:
        self._repeating.start()

    def close(self) -> None:
        """Let it end, and the connections."""
        self._repeating.close()
        self._store.close()

    def _turn(self) -> None:
        try:
            self._look()
        except StoreUnavailable as error:
            self._outage.begin(error)

    def _look(self) -> None:
        activation, active = self._store.newest()
        self._outage.end()
        if activation is not None and activation.state == PREPARING and activation.id > self._seen:
            self._seen = activation.id
            self._follow(activation)
            return
        wanted = active or self._default
        if wanted in (self._serving.feature_set.version, self._refused) or self._is_on_its_way(activation):
            return
        self._catch_up(wanted, activation)

    @staticmethod
    def _is_on_its_way(activation: Activation | None) -> bool:
        return activation is not None and activation.state == PREPARING

    # An activation that all workers agree on.

    def _follow(self, activation: Activation) -> None:
        if activation.version == self._serving.feature_set.version:
            self._say(activation, "serving")
            return
        self._say(activation, "preparing")
        try:
            warmed = self._changer.prepare(
                self._serving, self._columns(activation), is_wanted=lambda: self._is_under_way(activation)
            )
            change = warmed.change
            detail = f"compared {warmed.compared} rows, a row costs {warmed.cost_ms:.3f} ms"
            _log.info("registry version %s is ready: %s", activation.version, detail)
            self._say(activation, "ready", detail)
            try:
                decided = self._decision(activation, change)
            except ChangeFailed as error:
                change.ask_back(str(error))
                raise
        except ChangeFailed as error:
            _log.warning("registry version %s is refused: %s", activation.version, error)
            self._say(activation, "failed", str(error))
            return
        if decided.state != COMMITTED or decided.from_row_ns is None:
            change.ask_back(f"decided against: {decided.reason}")
            return
        change.ask_for(decided.from_row_ns)
        self._see_through(decided, change)

    def _columns(self, activation: Activation) -> FeatureSet:
        """Raises ChangeFailed where the file is not the one that was activated."""
        try:
            found = self._load(activation.version)
        except (InvalidRegistry, NotFound) as error:
            raise ChangeFailed(f"file of {activation.version}: must be valid here too, {error}") from error
        if activation.feature_set != found.fingerprint:
            raise ChangeFailed(
                f"file of {activation.version}: must have feature set {activation.feature_set}, was {found.fingerprint}"
            )
        return found

    def _is_under_way(self, activation: Activation) -> bool:
        """Whether the caller still waits, or it was decided without this worker, which then follows.

        Asked often, so that a database that is away counts as yes.
        """
        if self._repeating.is_closing:
            return False
        try:
            found = self._store.get(activation.id)
            return found.state == COMMITTED or (found.state == PREPARING and self._now() <= found.deadline_at)
        except StoreUnavailable as error:
            self._outage.begin(error)
            return True

    def _decision(self, activation: Activation, change: EngineChange) -> Activation:
        """What was decided, the version kept at the heels of the one that is served meanwhile. Raises ChangeFailed."""
        while True:
            self._changer.follow(change)
            if change.failure is not None:
                raise ChangeFailed(change.failure)
            if self._repeating.wait(FOLLOW_S):
                raise ChangeFailed("the worker ends")
            try:
                found = self._store.get(activation.id)
            except StoreUnavailable as error:
                self._outage.begin(error)
                continue
            if found.state != PREPARING:
                return found
            if self._now() > found.deadline_at:
                raise ChangeFailed("no decision within its time limit")

    def _see_through(self, activation: Activation, change: EngineChange) -> None:
        """Until the previous version is no longer needed, or continues."""
        has_said = False
        while not change.wait_decided(FOLLOW_S):
            if self._repeating.is_closing:
                return
            if change.changed_ns is None:
                change.follow_or_end(self._changer.lanes)
            elif not has_said:
                has_said = True
                self._say(activation, "changed", from_row_ns=change.changed_ns)
            self._take_back_with_others(activation, change)
        if change.failure is None:
            self._changed_to(change.kernel, change.changed_ns)
            self._say(activation, "serving", from_row_ns=change.changed_ns)
            return
        _log.error("registry version %s is taken back: %s", activation.version, change.failure)
        self._say(activation, "failed", change.failure)
        self._retry(lambda: self._take_back(activation, f"worker {self._worker_id}: {change.failure}"))

    def _take_back_with_others(self, activation: Activation, change: EngineChange) -> None:
        try:
            found = self._store.get(activation.id)
        except StoreUnavailable as error:
            self._outage.begin(error)
            return
        if found.state != COMMITTED:
            change.ask_back(f"taken back: {found.reason}")

    # A version that is active without this worker.

    def _catch_up(self, version: str, activation: Activation | None) -> None:
        _log.info("registry version %s is active: changing from %s", version, self._serving.feature_set.version)
        try:
            change = self._changer.prepare(
                self._serving, self._load(version), is_wanted=lambda: not self._repeating.is_closing
            ).change
            change.ask_for(0)
            while not change.wait_decided(FOLLOW_S) and not self._repeating.is_closing:
                change.follow_or_end(self._changer.lanes)
            if change.failure is not None:
                raise ChangeFailed(change.failure)
        except (ChangeFailed, InvalidRegistry, NotFound) as error:
            if not self._repeating.is_closing:
                self._refused = version
                _log.error("registry version %s is active and cannot be served here: %s", version, error)
                if activation is not None and activation.version == version:
                    self._say(activation, "failed", str(error))
            return
        if change.is_over:
            self._changed_to(change.kernel, change.changed_ns)
            if activation is not None and activation.version == version:
                self._say(activation, "serving", from_row_ns=change.changed_ns)

    def _changed_to(self, kernel: Kernel, after_ns: int | None) -> None:
        self._serving, self._refused = kernel, None
        self._on_changed(kernel)
        after = "no row yet" if not after_ns else format_iso(after_ns)
        _log.info("registry version %s is served from the row after %s", kernel.feature_set.version, after)

    def _say(
        self, activation: Activation, state: WorkerState, detail: str | None = None, *, from_row_ns: int | None = None
    ) -> None:
        said = Confirmation(
            worker_id=self._worker_id, state=state, at=self._now(), detail=detail, from_row_ns=from_row_ns
        )
        self._retry(lambda: self._store.confirm(activation.id, said))

    def _retry(self, call: Callable[[], object]) -> None:
        """Do it, once the database is back at the latest; not once the worker ends."""
        while True:
            try:
                call()
            except StoreUnavailable as error:
                self._outage.begin(error)
                if self._repeating.wait(POLL_S):
                    return
            except FeatureServiceError as error:
                _log.warning("registry: this worker's status could not be stored: %s", error)
                return
            else:
                self._outage.end()
                return

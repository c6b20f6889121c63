"""Agreement: a version becomes active once every worker that runs is ready for it, and all change behind one row.

1. Workers that live and follow activations are asked, by a row in PostgreSQL that they look for.
2. Once each has said that it is ready, the decision is made: a row time shortly ahead, behind which they change.
3. One that fails before ends it, and nothing has changed. One that fails afterwards takes it back for all of them.
4. A worker that does not answer in time ends it too. One that is gone is not waited for; where all of them are that
   began to get ready, that ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from market.clock import SECOND_NS, ceil_to, to_ns
from market.errors import Conflict
from storage.database.activations import COMMITTED, PREPARING, Activation, ActivationStore, Agreed, Confirmation
from storage.database.ingest_workers import IngestWorker

LOOK_S: Final = 0.2
AHEAD_NS: Final = 2 * SECOND_NS
"""From the decision to the row: workers look several times a second."""
CONFIRM_S: Final = 30.0
"""How long it is waited for the first rows after the change; a straggler may take longer, and is shown."""


class Refused(Conflict):
    """A worker cannot serve the version; the activation is over."""


@dataclass(frozen=True, slots=True)
class WorkerSays:
    """A worker that lives, what it serves, and what it says of the newest activation; None before it has."""

    worker: IngestWorker
    version: str | None
    confirmation: Confirmation | None

    def is_straggling(self, active: str) -> bool:
        """Whether it follows activations and still serves another version than the active one."""
        return follows_activations(self.worker) and self.version != active


def follows_activations(worker: IngestWorker) -> bool:
    """Whether a worker changes with the active version: not one that was started with a version of its own."""
    return worker.status.get("follows_activations") is True


def served_version(worker: IngestWorker) -> str | None:
    """The version that a worker computes rows of; None until it reports."""
    found = worker.status.get("feature_registry_version")
    return found if isinstance(found, str) else None


class Agreement:
    """Agrees on activations with the workers of one database.

    workers: those that live. wait: lets so many seconds pass. within: how long all of them may take to get ready.
    """

    def __init__(
        self,
        store: ActivationStore,
        *,
        workers: Callable[[], Sequence[IngestWorker]],
        now: Callable[[], datetime],
        wait: Callable[[float], object],
        within: timedelta,
    ) -> None:
        self._store = store
        self._workers = workers
        self._now = now
        self._wait = wait
        self._within = within

    def begin(self, version: str, *, previous: str, feature_set: str) -> Activation:
        """Ask the workers. Raises Conflict while another activation is under way."""
        now = self._now()
        return self._store.begin(
            version, previous=previous, feature_set=feature_set, asked_at=now, deadline_at=now + self._within
        )

    def agreed(self, activation: Activation) -> Agreed:
        """Wait until every worker is ready. Raises Refused with the reason of the first that is not."""
        while True:
            said = self._store.confirmations(activation.id)
            refusing = next((each for each in said.values() if each.state == "failed"), None)
            if refusing is not None:
                raise Refused(f"worker {refusing.worker_id}: {refusing.detail}")
            asked = [worker.worker_id for worker in self._workers() if follows_activations(worker)]
            missing = [name for name in asked if name not in said or said[name].state != "ready"]
            now_ns = to_ns(self._now())
            if not missing:
                if said and not asked:
                    # Whatever ended them, nobody has seen a row of the version.
                    raise Refused(f"workers: must live until one is ready, gone were: {', '.join(said)}")
                ahead_ns = AHEAD_NS if asked else 0
                return Agreed(activation.id, ceil_to(now_ns + ahead_ns, SECOND_NS))
            if self._now() > activation.deadline_at or self._store.get(activation.id).state != PREPARING:
                seconds = self._within.total_seconds()
                raise Refused(f"workers: must be ready within {seconds:g} s, were not: {', '.join(missing)}")
            self._wait(LOOK_S)

    def confirmed(self, agreed: Agreed) -> None:
        """Wait until those that were ready serve it, CONFIRM_S at most. Raises Refused when it was taken back."""
        until = self._now() + timedelta(seconds=CONFIRM_S)
        while True:
            activation = self._store.get(agreed.activation_id)
            if activation.state != COMMITTED:
                raise Refused(f"taken back: {activation.reason}")
            said = self._store.confirmations(agreed.activation_id)
            living = {worker.worker_id for worker in self._workers()}
            waiting = [name for name, each in said.items() if each.state != "serving" and name in living]
            if not waiting or self._now() > until:
                return
            self._wait(LOOK_S)

    def says(self) -> tuple[Activation | None, list[WorkerSays]]:
        """The newest activation, and every worker that lives with what it says of it."""
        activation, _ = self._store.newest()
        said = {} if activation is None else self._store.confirmations(activation.id)
        found = [WorkerSays(worker, served_version(worker), said.get(worker.worker_id)) for worker in self._workers()]
        return activation, found

"""A Ray cluster: each task is one of Ray's, on whichever node has a free CPU.

1. A process of its own speaks to Ray, so that what becomes of a cluster's head becomes of that process alone. When it
   dies, another one is begun with the tasks that are left, until the cluster has been away for PATIENCE_S.
2. Ray begins a task again whose worker or node was lost. What it had finished is in the store and is not done again.
3. A worker must run the code of the process that asks: a node with other code fails the task, by name.
4. Results come through the cluster, data does not: every node must reach the stores by the same paths.
"""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, TypeVar

from market.errors import Conflict, FeatureServiceError, StoreUnavailable
from training_sets.engines.engine import Task
from training_sets.engines.pool import end_with_parent
from training_sets.provenance import code_digest

T = TypeVar("T")

PATIENCE_S: Final = 120.0
"""How long a cluster may be away while tasks are left."""
SILENCE_S: Final = 30.0
"""After so long without a word the process that speaks to Ray is ended: it may wait for a head that is gone."""
MOST_TRIES: Final = 5
"""Of a task whose worker or node died: one that kills its worker each time is not tried without end."""
_RETRY_S: Final = 1.0
_END_S: Final = 10.0
_IS_THERE: Final = -1
"""In the place of a task's number: the driver says that the cluster answers."""

_log = logging.getLogger(__name__)


class RayCluster:
    """The cluster at an address as Ray spells it: ``host:port``, ``auto``, or ``local`` for one that lasts a run.

    workers: how many tasks it is expected to perform side by side. patience_s: see PATIENCE_S.
    """

    def __init__(self, address: str, workers: int, *, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._workers = workers
        self._patience_s = patience_s

    @property
    def workers(self) -> int:
        return self._workers

    def run(self, tasks: Sequence[Task[T]]) -> Iterator[T]:
        """The results, as ``Engine.run`` says."""
        left = dict(enumerate(tasks))
        answered_s = time.monotonic()
        while left:
            for number, result in self._driven(left):
                answered_s = time.monotonic()
                if number != _IS_THERE:
                    del left[number]
                    yield result
            if not left:
                return
            if time.monotonic() - answered_s > self._patience_s:
                raise StoreUnavailable(
                    f"Ray at {self._address}: no answer for {self._patience_s:g} s, "
                    f"{len(left)} of {len(tasks)} tasks are left"
                )
            _log.warning("Ray at %s: no connection, %d of %d tasks are left", self._address, len(left), len(tasks))
            time.sleep(_RETRY_S)

    def _driven(self, left: Mapping[int, Task[T]]) -> Iterator[tuple[int, T]]:
        """Results, and _IS_THERE in between, while one process can speak to the cluster. Raises what a task raises."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_drive, args=(theirs, self._address, dict(left)), name="ray driver")
        process.start()
        theirs.close()
        waited_for, is_lost = len(left), False
        try:
            while waited_for:
                if not ours.poll(min(SILENCE_S, self._patience_s)):
                    is_lost = True
                    return
                number, result, error = ours.recv()
                if error is not None:
                    raise error
                waited_for -= number != _IS_THERE
                yield number, result
        except (EOFError, ConnectionResetError):
            return
        finally:
            ours.close()  # tells the driver to leave
            process.join(0 if is_lost else _END_S)
            if process.is_alive():
                process.kill()
                process.join()


def _drive(parent: Connection, address: str, tasks: Mapping[int, Task[Any]]) -> None:
    """The process that speaks to Ray: sends number, value and error of each result, and leaves when nobody reads on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **_of_its_own(address))
    except Exception as error:  # noqa: BLE001  # whatever Ray raises, the other end tries again
        _log.warning("Ray at %s: %s", address, str(error).splitlines()[0])
        return
    try:
        nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
        perform: Any = ray.remote(num_cpus=1, max_retries=MOST_TRIES)(_perform)
        numbers = {perform.remote(task, code_digest()): number for number, task in tasks.items()}
        node = ray.get_runtime_context().get_node_id()
        while numbers and not parent.poll():
            ended, _ = ray.wait(list(numbers), num_returns=1, timeout=_RETRY_S)
            # A head that was begun again knows neither this process nor its tasks, which would wait without end.
            if not any(known["Alive"] and known["NodeID"] == node for known in nodes()):
                return
            parent.send((_IS_THERE, None, None))
            for reference in ended:
                parent.send((numbers.pop(reference), *_outcome(partial(ray.get, reference))))
    except (BrokenPipeError, ConnectionResetError):
        pass  # nobody reads on
    finally:
        # The process ends next, and its outcomes are sent.
        with suppress(Exception):
            ray.shutdown()


def _of_its_own(address: str) -> dict[str, Any]:
    return {"include_dashboard": False} if address == "local" else {}


def _outcome(get: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """A result or an error, ours where the task raised one of ours."""
    from ray.exceptions import RayError, RayTaskError

    try:
        return get(), None
    except RayTaskError as error:
        cause = error.cause
        return None, cause if isinstance(cause, FeatureServiceError) else RuntimeError(str(error))
    except RayError as error:
        return None, StoreUnavailable(f"Ray: {str(error).splitlines()[0]}")


def _perform(task: Task[T], digest: str) -> T:
    """On a node."""
    if code_digest() != digest:
        raise Conflict(f"Ray node {socket.gethostname()}: must run the code {digest[:16]}, was {code_digest()[:16]}")
    return task.perform(lambda: False)

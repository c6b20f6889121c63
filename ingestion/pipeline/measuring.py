"""Measuring in a process of its own, at low priority: neither the caller nor a worker waits for a compiler."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, ParamSpec, TypeVar

from ingestion.pipeline.change import said
from ingestion.pipeline.warming import NICENESS
from market.errors import FeatureServiceError

P = ParamSpec("P")
T = TypeVar("T")

MEASURING_S: Final = 300.0
"""Compiling takes a minute, once on a machine."""


class NotMeasured(FeatureServiceError):
    """Why there is no figure."""


def measured_apart(measure: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``measure`` returns. Raises NotMeasured where it raises, exits or takes longer than MEASURING_S."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, measure, args, kwargs), name="measuring", daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(MEASURING_S):
            raise NotMeasured(f"it took longer than {MEASURING_S:g} s")
        found: T | NotMeasured = ours.recv()
    except EOFError:
        process.join()
        raise NotMeasured(f"the measuring process exited with {process.exitcode}") from None
    finally:
        ours.close()
        process.kill()
        process.join()
    if isinstance(found, NotMeasured):
        raise found
    return found


def _measure(
    connection: Connection, measure: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    os.nice(NICENESS)
    try:
        found = measure(*args, **kwargs)
    except FeatureServiceError as error:
        found = NotMeasured(str(error))
    except Exception as error:  # noqa: BLE001  # the top of a process; whatever it is, it is why there is no figure
        found = NotMeasured(said(error))
    connection.send(found)

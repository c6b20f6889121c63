"""``upkeep``: run and show the service's automatic tasks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_line, print_table

if TYPE_CHECKING:
    from storage.database.upkeep import UpkeepState

NEVER_RUN: Final = "no task has run yet: run with the role jobs begins them, feature-service upkeep run does it now"

app = typer.Typer(help="What the service does automatically.", no_args_is_help=True)


@app.command("run")
def run(
    task: Annotated[str | None, typer.Argument(metavar="TASK", help="Name of a task; default: all of them.")] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Run an upkeep task now, due or not, or all of them one after the other.

    Exits 1 when one fails, and when another process is running it.
    """
    from market.errors import FeatureServiceError, NotFound
    from runtime.commands.progress import showing_progress
    from runtime.feature_repository import apply_feature_store
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.upkeep import open_upkeep
    from runtime.wiring import metadata_store

    settings = settings_for(data)
    documents: list[dict[str, Any]] = []
    has_failed = False
    # Feast prints what it materializes; what is printed here is the document alone.
    with redirect_stdout(sys.stderr), showing_progress() as steps:
        steps.begin("starting servers, registering features")
        with running_servers(settings) as servers:
            with metadata_store(servers):
                pass  # brings the schema up
            apply_feature_store(settings, servers)
            with open_upkeep(settings, servers, open_stores(settings)) as upkeep:
                for name in upkeep.names if task is None else (task,):
                    steps.begin(name)
                    try:
                        documents.append({"task": name, **upkeep.run(name)})
                    except NotFound:
                        raise
                    except FeatureServiceError as error:
                        has_failed = True
                        documents.append({"task": name, "error": type(error).__name__, "message": str(error)})
    print_document(documents, as_json=as_json, nothing=NEVER_RUN)
    if has_failed:
        raise typer.Exit(1)


@app.command("status")
def status(data: DataFolder = None, as_json: AsJson = False) -> None:
    """When each task last succeeded, when it is due next, and its problems.

    Exits 1 when one is late: its last success is older than twice its period.
    """
    from runtime.servers import running_servers
    from runtime.upkeep import upkeep_store
    from runtime.wiring import metadata_store

    with running_servers(settings_for(data)) as servers, metadata_store(servers), upkeep_store(servers) as store:
        states = store.states()
    if as_json:
        print_document([state.document() for state in states], as_json=True)
    else:
        print_states(states)
    if any(state.is_late for state in states):
        raise typer.Exit(1)


@app.command("unnamed")
def unnamed(
    remove: Annotated[bool, typer.Option("--remove", help="Remove those older than a day.")] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Objects under the stores' s3:// addresses that no folder names, left by writers that died.

    Uploads in progress are listed too. The upkeep task garbage removes objects older than a day automatically.
    """
    from runtime.wiring import object_places
    from storage.objects.unnamed import GRACE_S, remove_unnamed, unnamed_objects

    documents: list[dict[str, Any]] = []
    for place in object_places(settings_for(data)):
        found = list(unnamed_objects(place))
        due = [each for each in found if each.age_s >= GRACE_S]
        documents.append(
            {
                "place": str(place),
                "objects": len(found),
                "bytes": sum(each.size for each in found),
                "oldest_seconds": round(max((each.age_s for each in found), default=0.0)),
                "due": len(due),
                "removed": remove_unnamed(place)[0] if remove else 0,
            }
        )
    print_document(documents, as_json=as_json, nothing="no store is in an object store")


def print_states(states: Sequence[UpkeepState]) -> None:
    """A table of the tasks and their problems."""
    print_table(
        ("task", "every", "last success", "next", "lag", "took", "runs", "failed", "state"),
        [_row(state) for state in states],
        nothing=NEVER_RUN,
    )
    for state in states:
        for problem in (*((state.error,) if state.error else ()), *state.problems):
            print_line(f"{state.task}: {problem}")


def _row(state: UpkeepState) -> tuple[object, ...]:
    age, due_in = state.age, state.next_at - state.now
    return (
        state.task,
        _span(state.period),
        "never" if age is None else f"{_span(age)} ago",
        f"in {_span(due_in)}" if due_in > timedelta() else "now",
        _span(state.lag) if state.lag else "",
        "" if state.duration is None else f"{state.duration.total_seconds():.1f} s",
        state.runs,
        state.failures,
        _state(state),
    )


def _state(state: UpkeepState) -> str:
    if state.is_running:
        return f"running, {state.progress:.0%}"
    if state.is_late:
        return "late"
    return "ok" if state.error is None else "failed"


def _span(span: timedelta) -> str:
    seconds = round(span.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"

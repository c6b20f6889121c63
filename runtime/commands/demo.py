"""``demo``: the whole service on a simulated market, with nothing installed but this package."""

from __future__ import annotations

import importlib
import shlex
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from runtime.commands.options import AsJson, Registry
from runtime.commands.printing import print_document

if TYPE_CHECKING:
    from rich.console import Console

    from runtime.commands.progress import Steps
    from runtime.settings import Settings

DEMO_REGISTRY: Final = "1.0.0"
"""The 29 features of the first model: they fit on a screen, and their kernel compiles in seconds."""


def demo(
    registry: Registry = DEMO_REGISTRY,
    out: Annotated[
        Path | None, typer.Option("--out", help="Empty or new folder to keep the files in; default: a new one in /tmp.")
    ] = None,
    equities: Annotated[
        bool, typer.Option("--equities", help="Show equities instead: daily bars and their features, point in time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Play ten simulated minutes of two symbols from message to live vector to training set, and prove them equal.

    Example: feature-service demo --out demo
    """
    from runtime.commands.options import settings_for
    from runtime.commands.progress import showing_progress

    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise typer.BadParameter(
            f"must be empty or new, was {out}, which holds files: remove it, or name another", param_hint="--out"
        )
    begun = time.monotonic()
    folder = out or Path(tempfile.mkdtemp(prefix="feature-service-demo-"))
    with showing_progress() as steps:
        steps.begin("loading libraries, starting Redis and PostgreSQL")
        settings = settings_for(folder, embedded=True)
        if equities:
            from runtime.equities_demo import run_equities_demo

            document = run_equities_demo(settings, steps=steps)
        else:
            document = _run(settings, registry, steps)
    document["seconds"] = round(time.monotonic() - begun, 1)
    if as_json or equities:
        print_document(document | {"files": str(folder)} if equities else document, as_json=as_json)
    else:
        _print_summary(document, folder)


def _run(settings: Settings, registry: str, steps: Steps) -> dict[str, Any]:
    """The demonstration; the libraries load while the recording is made and the servers start."""
    from runtime.demo_market import recording_beside
    from runtime.servers import running_servers

    loading = threading.Thread(target=importlib.import_module, args=("runtime.demo",), name="loading", daemon=True)
    with recording_beside(settings.feature_service_data_path / "recording.jsonl.gz") as recording:
        loading.start()
        with running_servers(settings) as servers:
            loading.join()
            from runtime.demo import run_demo

            return run_demo(settings, servers, recording, version=registry, steps=steps)


def _print_summary(document: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    parity, dataset, push = document["parity"], document["dataset"], document["push_ms"]
    summary = Table(title="Feature Service, from a market to a training set", show_header=False, title_justify="left")
    summary.add_column(style="bold")
    summary.add_column()
    summary.add_row("market", f"{document['messages']:,} messages of {', '.join(document['symbols'])}")
    summary.add_row(
        "played at", f"{document['messages_per_second']:,} messages a second, from bytes to Redis and Parquet"
    )
    summary.add_row("served", f"{document['rows']:,} rows of {document['features']} features")
    summary.add_row(
        "push to Redis",
        f"{push['p50']:.1f} ms median, {push['p99']:.1f} ms at the 99th percentile, all symbols of a second",
    )
    summary.add_row(
        "parity",
        f"{parity['compared']:,} rows rebuilt from raw Parquet: {parity['mismatched']} mismatched, "
        f"{parity['missing']} missing, {parity['extra']} extra",
    )
    summary.add_row(
        "dataset", f"train {dataset['train']:,}, validation {dataset['validation']:,}, test {dataset['test']:,} rows"
    )
    console.print(summary)
    _print_vectors(console, document["online"])
    files = Table(title="Where the files are", show_header=False, title_justify="left")
    files.add_column()
    files.add_column(overflow="fold")  # a path must be whole to be copied
    for name, path in {**document["files"], "dataset": dataset["path"]}.items():
        files.add_row(name, path, style=None)
    console.print(files)
    console.print(
        f"{document['seconds']} s. The servers have stopped; the files stay in [bold]{folder}[/bold] until deleted.",
        soft_wrap=True,
    )
    console.print("What to try next:")
    for words in (["verify", "parity", "--data", str(folder)], ["dataset", "list", "--data", str(folder)], ["run"]):
        console.print(f"  {shlex.join([sys.argv[0], *words])}", soft_wrap=True, markup=False, highlight=False)


def _print_vectors(console: Console, online: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(
        "feature", *online, title="The live vector, as Feast read it in another process", title_justify="left"
    )
    for name in next(iter(online.values())):
        cells = ["unknown" if vector[name] is None else f"{vector[name]:.8g}" for vector in online.values()]
        table.add_row(name, *cells)
    console.print(table)

"""``features``: the catalogue, the newest vector of a symbol, and the parts of the feature log."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from market.errors import InvalidRequest
from runtime.commands.options import (
    AsJson,
    DataFolder,
    RegistryOfData,
    SomeSymbols,
    parse_time_ns,
    registry_of,
    settings_for,
)
from runtime.commands.printing import print_document, print_line, print_table

app = typer.Typer(help="The catalogue, the newest vector of a symbol, the feature log.", no_args_is_help=True)


@app.command("list")
def list_features(as_json: AsJson = False) -> None:
    """Every feature of the catalogue with its unit, horizon and formula; --json has the rest.

    Example: feature-service features list | grep vwap
    """
    if as_json:
        from api.catalogue import catalogue_document

        print_document(catalogue_document(), as_json=True)
    else:
        from runtime.feature_page import duration_text
        from transforms.catalogue import FEATURES

        print_table(
            ("name", "group", "unit", "horizon", "formula"),
            [
                (each.name, each.group, each.unit, duration_text(each.horizon_ns), each.formula)
                for each in FEATURES.values()
            ],
        )


@app.command("new")
def new(
    group: Annotated[str, typer.Argument(help="Name of the group and of its module, in lowercase.")],
    folder: Annotated[Path, typer.Option("--folder", help="Folder to write its files to.")] = Path(),
) -> None:
    """Create your own group of features: a working module, its test, and what to do next.

    Example: feature-service features new mygroup
    """
    from runtime.new_feature_group import write_feature_group

    module, test = write_feature_group(group, folder)
    without_pytest = "" if find_spec("pytest") else "      pip install pytest\n"
    print(
        f"written: {module}, {test}\n"
        f"next: export PYTHONPATH={folder.resolve()} FEATURE_SERVICE_FEATURE_MODULES={group}\n"
        f"{without_pytest}"
        f"      python -m pytest {test}\n"
        f"      feature-service verify features {group}\n"
        f"      feature-service features list | grep {group}\n"
        "then: docs/your-own-features.md, on tables, packages and registry versions"
    )


@app.command("page")
def page(group: Annotated[str, typer.Argument(help="Stream group, also one of another package.")]) -> None:
    """A group's page as Markdown: name, formula, NaN rule, unit, range and horizon of each feature.

    Example: feature-service features page mygroup > mygroup.md
    """
    from market.errors import NotFound
    from runtime.feature_page import group_section, table_group_section
    from transforms.catalogue import GROUPS
    from transforms.equities.catalogue import TABLE_GROUPS

    if group in TABLE_GROUPS:
        print(table_group_section(TABLE_GROUPS[group]))
    elif group in GROUPS:
        print(group_section(group))
    else:
        raise NotFound(f"feature group: must be one of {', '.join([*GROUPS, *TABLE_GROUPS])}, was {group}")


@app.command("lock")
def lock(as_json: AsJson = False) -> None:
    """Record an intended change of features: fingerprints, docs/features.md and golden rows; says what is left to do.

    Runs in a checkout. Golden rows take a minute, including compiling the kernel. Exits 1 while anything is left to do.
    """
    from runtime.feature_page import PAGE, feature_page
    from transforms.lock import LOCK, lock_text

    checkout = PAGE.parent.parent
    if not (checkout / "tests" / "unfinished.py").is_file():
        raise InvalidRequest(f"features lock: must run in a checkout with its tests, was {checkout}")
    written = []
    for path, text in ((LOCK, lock_text()), (PAGE, feature_page())):
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path.relative_to(checkout).as_posix())
    if not as_json:
        for name in written:
            print(f"written: {name}")
    left, steps = _unfinished(checkout), sys.stderr if as_json else sys.stdout
    if any(line.startswith("tests/golden/") for line in left):
        print("computing golden rows: about a minute, including compiling the kernel", file=steps, flush=True)
        recorded = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/golden", "--record", "-q", "-p", "no:cacheprovider"],
            cwd=checkout,
            capture_output=True,
            text=True,
            check=False,
        )
        if recorded.returncode != 0:
            print(recorded.stdout, file=steps)
        left = _unfinished(checkout)
    if as_json:
        print_document({"written": written, "left": left}, as_json=True)
    else:
        for line in left:
            print_line(f"left: {line}")
        if not left:
            print("every feature is finished; `make test` checks its values")
    if left:
        raise typer.Exit(1)


def _unfinished(checkout: Path) -> list[str]:
    """What the tests miss of the features, a line each."""
    listed = subprocess.run(
        [sys.executable, "-m", "tests.unfinished"], cwd=checkout, stdout=subprocess.PIPE, text=True, check=True
    )
    return listed.stdout.splitlines()


@app.command("latest")
def latest(
    symbol: Annotated[str, typer.Argument(help="Symbol, e.g. BTCUSDT.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """The newest vector of a symbol in the online store of a running service.

    Example: feature-service features latest BTCUSDT
    """
    from api.vectors import feature_vector
    from market.clock import SystemClock
    from market.errors import NotFound
    from runtime.servers import require_servers_of_another_process, running_servers
    from runtime.wiring import online_store

    settings = settings_for(data)
    require_servers_of_another_process(settings)
    with running_servers(settings) as servers:
        online = online_store(servers)
        [found] = online.read([symbol])
        if found is None:
            known = ", ".join(sorted(online.symbols())) or "none yet"
            raise NotFound(f"symbol: must be one that has sent data, which is {known}, was {symbol!r}")
    document = feature_vector(found, now_ns=SystemClock().now_ns(), trace_id="")
    if as_json:
        print_document(document, as_json=True)
        return
    known, missing = document["features"], document["missing"]
    print_table(
        ("feature", "value"),
        [(name, f"{known[name]:.10g}" if name in known else f"unknown: {missing[name]}") for name in found.columns],
        title=f"{symbol} at {document['timestamp']}, {document['age_ms']} ms old, "
        f"registry {document['feature_registry_version']}",
    )
    print_table(("view", "status"), list(document["groups"].items()))


@app.command("history")
def history(
    symbol: Annotated[str, typer.Argument(help="Symbol, e.g. BTCUSDT.")],
    to: Annotated[Path, typer.Option("--to", help="File to write: .parquet or .csv.")],
    start: Annotated[str, typer.Option("--start", help="First row time, ISO 8601; UTC by default.")],
    end: Annotated[str, typer.Option("--end", help="End of the row times, exclusive.")],
    features: Annotated[
        list[str] | None, typer.Option("--feature", help="Feature; may be repeated; default: all.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="Only what was readable by then; default: what is known now.")
    ] = None,
    registry: RegistryOfData = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Write a symbol's rows of a period to a file, a day at a time: symbol, timestamp, available, features, statuses.

    Example: feature-service features history BTCUSDT --start 2026-01-05 --end 2026-01-06 --to day.parquet
    """
    from feature_repo.registry_versions import load_registry_version
    from storage.features.history import History, groups_with
    from storage.features.log import FeatureLog
    from training_sets.dataset.files import write_batches

    from_ns, to_ns, as_of_ns = (
        parse_time_ns(text, option) for text, option in ((start, "--start"), (end, "--end"), (as_of, "--as-of"))
    )
    assert from_ns is not None, "it is required"
    assert to_ns is not None, "it is required"
    settings = settings_for(data)
    version = registry_of(settings, registry)
    chosen = load_registry_version(version, settings.feature_registry_versions_dir).feature_set
    log = FeatureLog(settings.feature_log_storage_path)
    asked = History(log, symbol, groups_with(chosen, features or None), from_ns, to_ns, as_of_ns)
    rows = write_batches(to, asked.schema, asked.batches())
    document = {"symbol": symbol, "rows": rows, "features": len(asked.columns), "registry": version, "file": str(to)}
    print_document(document, as_json=as_json)
    if not rows:
        print_line("no row in the period: feature-service tape stats shows the days that are stored", to_errors=True)


@app.command("merge")
def merge(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Merge the many parts of each served day of the feature log; safe at any time, and safe to kill.

    Merged parts are removed by the first merge an hour later. Reads return the same before, meanwhile and after.
    """
    from market.clock import SystemClock
    from storage.features.merging import merge_days

    done = merge_days(settings_for(data).feature_log_storage_path, symbols, now_ns=SystemClock().now_ns())
    if not (as_json or done.days):
        print("nothing to merge: no day is in more than one part")
        return
    print_document({"days": done.days, "parts": done.parts}, as_json=as_json)

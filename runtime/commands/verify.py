"""``verify``: proofs on stored data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from market.clock import MILLISECOND_NS
from runtime.commands.options import AsJson, DataFolder, RegistryOfData, SomeSymbols, registry_of, settings_for
from runtime.commands.printing import print_document, print_line
from runtime.commands.tape_coverage import NO_TAPE

if TYPE_CHECKING:
    from quality.parity import OracleCheck
    from storage.raw.messages import RawMessage

app = typer.Typer(help="Proofs on stored data.", no_args_is_help=True)


@app.command("parity")
def parity(
    symbols: SomeSymbols = None,
    registry: RegistryOfData = None,
    ticks: Annotated[
        int, typer.Option("--ticks", min=0, help="Number of served ticks to draw for each symbol.")
    ] = 1000,
    all_ticks: Annotated[bool, typer.Option("--all-ticks", help="Check every served tick instead.")] = False,
    oracle_rows: Annotated[
        int,
        typer.Option(
            "--oracle-rows", min=0, help="Number of served rows of each symbol and day that the oracle checks."
        ),
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the draws.")] = 0,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Compare served rows with the same rows rebuilt from raw Parquet and the tape, bit for bit.

    Counts are rows. Rows served between whole seconds are in no log: some are recomputed and compared with the
    digest that the worker recorded. Some rows are also computed by the oracle, in exact arithmetic and with other
    code, because a wrong formula agrees with itself in a rebuild. The first difference is shown with the symbol, the
    row, the feature, both values, and the messages received around it. Exits 1 on any difference, and if rows could
    not be compared, with the reason.

    Example: feature-service verify parity --data demo
    """
    from dataclasses import asdict

    from market.clock import format_iso
    from runtime.commands.progress import showing_progress
    from runtime.kernel_start import warm_up
    from runtime.stores import open_stores
    from runtime.wiring import compiled_kernel
    from storage.raw.messages import messages_around
    from training_sets.builds.oracle_parity import OracleChoice
    from training_sets.builds.tick_parity import TickChoice
    from training_sets.builds.verification import verify_parity

    settings = settings_for(data)
    stores = open_stores(settings)
    version = registry_of(settings, registry)
    kernel = compiled_kernel(settings, version)
    with showing_progress() as steps:
        steps.begin(f"loading registry {version}")
        warm_up(kernel, steps.tell)
        steps.begin("rebuilding and comparing bit for bit")
        found = verify_parity(
            stores.raw,
            stores.features,
            kernel,
            symbols,
            ticks=TickChoice(None if all_ticks else ticks, seed),
            oracle=OracleChoice(oracle_rows, seed) if oracle_rows > 0 else None,
        )
    document: dict[str, Any] = {
        "feature_registry_version": version,
        "compared": found.compared,
        "mismatched": found.mismatched,
        "missing": found.missing,
        "extra": found.extra,
        "ticks_recorded": found.ticks_recorded,
        "ticks_compared": found.ticks_compared,
        "ticks_mismatched": found.ticks_mismatched,
        "quarantined": found.quarantined,
        "not_compared": list(found.not_compared),
        "oracle": _oracle_document(found.oracle, seed, as_json=as_json),
        "first_divergence": None,
    }
    first = found.first_divergence
    if first is None:
        print_document(document, as_json=as_json)
    else:
        with stores.raw.open_whole(first.symbol) as raw:
            around = messages_around(raw, first.symbol, first.row_ns)
        if as_json:
            told = asdict(first) | {"row": format_iso(first.row_ns), "messages": [asdict(each) for each in around]}
            print_document(document | {"first_divergence": told}, as_json=True)
        else:
            print_document(document | {"first_divergence": str(first)}, as_json=False)
            _print_messages(around, first.row_ns)
    if not found.is_exact:
        raise typer.Exit(1)


def _oracle_document(found: OracleCheck, seed: int, *, as_json: bool) -> dict[str, Any]:
    """What the oracle found; for a person a mismatch is a line."""
    from dataclasses import asdict

    from market.clock import format_iso

    mismatched = [
        asdict(each) | {"row": format_iso(each.row_ns)} if as_json else str(each) for each in found.mismatched
    ]
    return {
        "rows": found.rows,
        "columns": found.columns,
        "seed": seed,
        "mismatched": mismatched,
        "not_checked": list(found.not_checked),
    }


def _print_messages(around: list[RawMessage], row_ns: int) -> None:
    """The messages around a row, those that it was computed from above those that came too late for it."""
    print(f"{'seq':>12}  {'recv_ns':>19}  {'ms from row':>12}  {'u':>19}  {'records':>7}  kind")
    is_closed = False
    for each in around:
        if each.recv_ns >= row_ns and not is_closed:
            is_closed = True
            print(f"{'-':>12}  {row_ns:>19}  {0:>12}  {'':>19}  {'':>7}  the row closes")
        moved_ms = f"{(each.recv_ns - row_ns) / MILLISECOND_NS:+.3f}"
        update_id = each.update_id or ""
        print(f"{each.seq:>12}  {each.recv_ns:>19}  {moved_ms:>12}  {update_id:>19}  {each.records:>7}  {each.kind}")


@app.command("tape")
def tape(symbols: SomeSymbols = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Read every frame of the tape and every part made of it: checksums, order, contiguous u, holes, missing files.

    Also reads what recoveries moved aside. Exits 1 on any damage; messages lost by the source count as book gaps.

    Example: feature-service verify tape --data demo
    """
    from ingestion.tape.report import verify_tape
    from runtime.wiring import instrument_pins
    from storage.tape import tape_symbols

    settings = settings_for(data)
    pins = instrument_pins(settings)
    chosen = symbols or tape_symbols(settings.raw_folder)
    checks = {
        symbol: verify_tape(settings.raw_folder, symbol, pins, place=settings.raw_data_storage_path)
        for symbol in chosen
    }
    print_document(
        [
            {
                "symbol": symbol,
                "messages": check.messages,
                "snapshots": check.snapshots,
                "book_gaps": check.book_gaps,
                "out_of_order": check.disorder,
                "parts": check.parts,
                "torn_bytes": check.torn_bytes,
                "damages": check.damages,
                "findings": check.findings,
            }
            for symbol, check in checks.items()
        ],
        as_json=as_json,
        nothing=NO_TAPE,
    )
    if not checks or not all(check.is_whole for check in checks.values()):
        raise typer.Exit(1)


@app.command("dataset")
def dataset(
    dataset_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the dataset.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild a dataset from its manifest and compare every byte.

    Lists files. Exits 1 when one has changed since it was built, or when the second build differs.

    Example: feature-service verify dataset 51b28d6ede9840a49a9ea067d1b47f78
    """
    import tempfile
    from pathlib import Path

    from runtime.building import build_place
    from runtime.commands.progress import showing_progress
    from runtime.engines import rebuild_engine
    from runtime.feature_repository import apply_feature_store
    from runtime.servers import running_servers
    from runtime.stores import open_stores
    from runtime.wiring import metadata_store
    from storage.places import place_of
    from training_sets.builds.verification import verify_dataset

    settings = settings_for(data)
    with showing_progress() as steps:
        steps.begin("starting servers, registering features")
        with running_servers(settings) as servers:
            apply_feature_store(settings, servers)
            with metadata_store(servers) as metadata:
                path = metadata.get_dataset(dataset_id).path
            if path is None:
                raise typer.BadParameter(f"must be a dataset that is ready, was {dataset_id!r}", param_hint="ID")
            steps.begin("rebuilding it")
            stores = open_stores(settings)
            settings.attempts_folder.mkdir(parents=True, exist_ok=True)  # the dataset may be in an object store
            with (
                rebuild_engine(settings, servers, stores, settings.feature_service_engine_workers) as engine,
                tempfile.TemporaryDirectory(dir=settings.attempts_folder, prefix=".verify-") as scratch,
            ):
                place = build_place(settings, servers, stores, engine=engine)
                found = verify_dataset(place_of(path), place, Path(scratch))
    print_document(
        {
            "identical": found.identical,
            "tampered": found.tampered,
            "differing": found.differing,
            "changed": found.changed,
        },
        as_json=as_json,
    )
    if not found.is_exact:
        raise typer.Exit(1)


@app.command("features")
def features(
    names: Annotated[list[str] | None, typer.Argument(help="Groups; default: those of other packages.")] = None,
    cheats: Annotated[int, typer.Option("--cheats", min=1, help="Number of cheats to plant of each of ten kinds.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of streams, tables and draws.")] = 1,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Test groups of features against the laws that every feature keeps, on generated streams and on recorded data.

    Laws: range, again, elsewhere (a new process without the compiler), chunk, restart, start, future. To make a
    clean report meaningful, cheats of ten kinds are planted in the same group on the same stream and must be caught.
    A broken law is shown with the expected and the actual value, and the smallest stream that breaks it. Exits 1
    when a law is
    broken or a planted cheat was missed.

    Example: feature-service verify features mygroup
    """
    from runtime.commands.progress import showing_progress
    from runtime.feature_laws import chosen_groups, verdict_document, verify_features
    from runtime.wiring import kernel_cache_folder

    settings = settings_for(data)
    chosen = chosen_groups(names)
    verdicts = []
    with showing_progress() as steps:
        for group in chosen:
            steps.begin(f"trying {group}")
            verdicts.append(verify_features(group, settings, kernel_cache_folder(settings), seed=seed, cheats=cheats))
    documents = [verdict_document(verdict) for verdict in verdicts]
    if as_json:
        print_document(documents, as_json=True)
    for document in () if as_json else documents:
        print_document(document, as_json=False)
    if not documents:
        print_line("no group of another package: name a group, or see docs/your-own-features.md")
    if not all(verdict.is_clean and not verdict.missed for verdict in verdicts):
        raise typer.Exit(1)

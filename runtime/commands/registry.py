"""``registry``: the feature registry versions, which one is active, and who changed what."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.commands.options import AnswerYes, AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_line, print_table
from runtime.commands.registry_changes import asked, life_cycle, state_of, tell, tell_activation, tell_synchronised

app = typer.Typer(help="The feature registry versions.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version, e.g. 2.0.0.")]
By = Annotated[str | None, typer.Option("--by", help="Author of the change; default: the user of this machine.")]
Reason = Annotated[str, typer.Option("--reason", help="Reason.")]


@app.command("list")
def list_versions(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Every version, oldest first, and latest, the whole catalogue; broken files with their problems."""
    from feature_repo.registry_versions import LATEST, load_registry_version
    from registry.shadows import shadows_of

    with life_cycle(data) as cycle:
        rows = [state.document() for state in cycle.states()]
        activation, said = cycle.said()
        active = cycle.active_version()
    if as_json:
        print_document(rows, as_json=True)
        return
    whole = load_registry_version(LATEST).feature_set
    print_table(
        ("version", "state", "features", "feature set", "datasets", "created by"),
        [
            *(
                (
                    row["version"],
                    state_of(row),
                    row["features_count"],
                    row["feature_set"],
                    row["usage_count"],
                    row["created_by"],
                )
                for row in rows
            ),
            (LATEST, "whole catalogue", len(whole.columns), whole.fingerprint, "-", "-"),
        ],
    )
    for row in rows:
        for text in row["validation_errors"]:
            print_line(f"{row['version']}: {text}")
    if activation is not None:
        reason = "" if activation.reason is None else f": {activation.reason}"
        print_line(f"newest activation: {activation.version}, {activation.state}{reason}")
    for each in said:
        says = "" if each.confirmation is None else f", {each.confirmation.state}"
        straggles = f", straggling: {active} is active" if each.is_straggling(active) else ""
        print_line(f"worker {each.worker.worker_id}: {each.version or 'has not told'}{says}{straggles}")
        for one in shadows_of(each.worker):
            why = "" if one.detail is None else f": {one.detail}"
            print_line(f"  next to it {one.version}: {one.state}, {one.rows} rows{why}")


@app.command("show")
def show(
    version: Annotated[str, typer.Argument(help="Version, e.g. 2.0.0, or latest.")], as_json: AsJson = False
) -> None:
    """One version: its columns in order and the identity of each group.

    Example: feature-service registry show 2.0.0 --json
    """
    from feature_repo.registry_versions import load_registry_version

    loaded = load_registry_version(version, settings_for(None).feature_registry_versions_dir)
    chosen = loaded.feature_set
    print_document(
        {
            "version": version,
            "path": None if loaded.path is None else str(loaded.path),
            "feature_set": chosen.fingerprint,
            "groups": {group.name: group.fingerprint for group in chosen.groups},
            "columns": list(chosen.columns),
            "warnings": list(loaded.warnings),
        },
        as_json=as_json,
    )


@app.command("validate")
def validate(file: Annotated[Path, typer.Argument(help="A registry YAML file.")], as_json: AsJson = False) -> None:
    """Check a registry file; lists every problem at once, each with its feature. Exits 1 if there are any.

    Example: feature-service registry validate 3.0.0.yaml
    """
    from feature_repo.registry_versions import load_registry_file
    from market.errors import InvalidRegistry

    problems: list[str] = []
    warnings: list[str] = []
    try:
        warnings = list(load_registry_file(file).warnings)
    except InvalidRegistry as error:
        problems = list(error.problems)
    document = {"is_valid": not problems, "validation_errors": problems, "warnings": warnings}
    if as_json:
        print_document(document, as_json=True)
    else:
        for line in (*(f"error: {problem}" for problem in problems), *(f"warning: {text}" for text in warnings)):
            print_line(line)
        print_line(f"{file}: {'valid' if not problems else f'{len(problems)} problems'}")
    if problems:
        raise typer.Exit(1)


@app.command("create")
def create(
    file: Annotated[Path, typer.Argument(help="A registry YAML file with a new version.")],
    by: By = None,
    reason: Reason = "",
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Copy a file into the versions' folder and record it; it is a candidate until it is activated.

    Example: feature-service registry create 3.0.0.yaml
    """
    from feature_repo.registry_versions import load_registry_file, read_config
    from registry.folder import VersionFolder

    version, config = load_registry_file(file).version, read_config(file)
    assert isinstance(config, dict), "a checked file is a mapping"
    with life_cycle(data) as cycle:
        made = cycle.create(version, config, asked(by, reason)).document()
    written = VersionFolder(settings_for(data).feature_registry_versions_dir).file(version)
    tell(made, f"{version}: created, a candidate, in {written}", as_json=as_json)


@app.command("sync")
def sync(version: Version, by: By = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Read a version's file again and record its contents. Exits 1 when it breaks the rules.

    Example: feature-service registry sync 3.0.0
    """
    with life_cycle(data) as cycle:
        found = cycle.sync(version, asked(by, ""))
    tell_synchronised(found, as_json=as_json)


@app.command("reload")
def reload(by: By = None, data: DataFolder = None, as_json: AsJson = False) -> None:
    """Read the active version's file again and record its contents. Exits 1 when it breaks the rules."""
    with life_cycle(data) as cycle:
        found = cycle.sync(cycle.active_version(), asked(by, ""))
    tell_synchronised(found, as_json=as_json)


@app.command("activate")
def activate(  # the options of the command
    version: Version,
    reason: Annotated[str, typer.Option("--reason", help="Reason, kept in the audit.")],
    by: By = None,
    acknowledge: Annotated[
        bool,
        typer.Option("--acknowledge-breaking-changes", help="Accept that readers of the previous version may break."),
    ] = False,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Serve it next to the active one instead, to try a model on it.")
    ] = False,
    accept_row_cost_ms: Annotated[
        float | None, typer.Option("--accept-row-cost-ms", min=0, help="Accepted cost of a row, with --shadow.")
    ] = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the active one; returns once the running workers serve it.

    Exits 1 when it breaks readers and that is not acknowledged, listing what breaks, and when a worker cannot serve
    it: the previous version continues, and the reason is given.

    Example: feature-service registry activate 1.1.0 --reason "two more features"
    """
    with life_cycle(data) as cycle:
        if shadow:
            begun = cycle.shadows.begin(version, asked(by, reason), accepted_ms=accept_row_cost_ms)
            cost = {"version": version, "is_shadow": True, "shadow_row_cost_ms": begun.shadow_row_cost_ms}
            text = f"{version}: served next to the active one, a row costs {begun.shadow_row_cost_ms:.3f} ms"
            tell(cost, text, as_json=as_json)
            return
        done = cycle.activate(version, asked(by, reason), is_acknowledged=acknowledge)
    tell_activation(done, as_json=as_json)


@app.command("end-shadow")
def end_shadow(
    version: Version, by: By = None, reason: Reason = "", data: DataFolder = None, as_json: AsJson = False
) -> None:
    """Stop serving a version beside the active one.

    Example: feature-service registry end-shadow 3.0.0
    """
    with life_cycle(data) as cycle:
        cycle.shadows.end(version, asked(by, reason))
    tell({"version": version, "shadow": False}, f"{version}: no longer served next to the active one", as_json=as_json)


@app.command("rollback")
def rollback(
    reason: Annotated[str, typer.Option("--reason", help="Reason, kept in the audit.")],
    by: By = None,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Activate the previously active version.

    Example: feature-service registry rollback --reason "the model expects 1.0.0"
    """
    with life_cycle(data) as cycle:
        done = cycle.rollback(asked(by, reason))
    tell_activation(done, as_json=as_json)


@app.command("delete")
def delete(
    version: Version,
    by: By = None,
    reason: Reason = "",
    yes: AnswerYes = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Remove a version's file and its records; not while it is active, shipped or in use.

    Example: feature-service registry delete 3.0.0
    """
    if not yes:
        typer.confirm(f"Delete registry version {version}?", abort=True, err=True)
    with life_cycle(data) as cycle:
        cycle.delete(version, asked(by, reason))
    tell({"version": version, "deleted": True}, f"{version}: deleted", as_json=as_json)


@app.command("usage")
def usage(version: Version, data: DataFolder = None, as_json: AsJson = False) -> None:
    """What uses a version: datasets, rows that have its columns, workers; and what prevents its deletion.

    Example: feature-service registry usage 2.0.0
    """
    with life_cycle(data) as cycle:
        found = cycle.usage(version).document(version)
    print_document(found, as_json=as_json)


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help="Version, or latest.")],
    after: Annotated[str, typer.Argument(help="Version, or latest.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Effects of a change of version: columns, horizons, sources, rows of history to compute, cost of a row.

    Example: feature-service registry diff 1.0.0 2.0.0
    """
    with life_cycle(data) as cycle:
        found = cycle.differences.between(before, after).document()
    # Breaking changes say of each column what a program has in lists.
    lists = set() if as_json else {"removed", "renamed", "changed"}
    print_document({name: value for name, value in found.items() if name not in lists}, as_json=as_json)


@app.command("audit")
def audit(
    version: Annotated[str | None, typer.Option("--version", help="Only this version.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Maximum number of entries.")] = 100,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Who changed what, when, why and from where, newest first."""
    from market.clock import format_iso, to_ns

    with life_cycle(data) as cycle:
        lines = [{**line, "at": format_iso(to_ns(line["at"]))} for line in cycle.audit(version=version, limit=limit)]
    if as_json:
        print_document(lines, as_json=True)
        return
    print_table(
        ("at", "action", "version", "by", "reason", "origin"),
        [
            (each["at"], each["action"], each["version"], each["made_by"], each["reason"], each["origin"])
            for each in lines
        ],
        nothing="No changes yet.",
    )

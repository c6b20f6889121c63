"""``run``: the service's roles in one process, until Ctrl-C."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from runtime.commands.options import DataFolder, settings_for

ROLES: Final = ("ingest", "api", "jobs")


class SourceName(StrEnum):
    """Where messages come from."""

    GATEWAY = "gateway"
    BYBIT = "bybit"
    RECORDING = "recording"
    SIMULATOR = "simulator"


def run(
    roles: Annotated[
        str, typer.Option("--roles", help="Roles to run: ingest, api, jobs, separated by commas.")
    ] = "ingest,api,jobs",
    source: Annotated[
        SourceName, typer.Option("--source", help="Where the ingest role reads from.")
    ] = SourceName.SIMULATOR,
    recording: Annotated[Path | None, typer.Option("--recording", help="File to play with --source recording.")] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.01, max=1000, help="Speed, in multiples of real time.")
    ] = 1.0,
    duration: Annotated[float | None, typer.Option("--duration", min=0, help="Seconds; default: until Ctrl-C.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the simulated market.")] = 1,
    registry: Annotated[
        str | None,
        typer.Option("--registry", help="Feature registry version; default: the one that is active in the database."),
    ] = None,
    data: DataFolder = None,
) -> None:
    """Start the servers and run the chosen roles; Ctrl-C or SIGTERM stops everything cleanly.

    A simulated market runs from now by the machine's clock, a recording by its own. Exits 1 when a role fails.

    Example: FEATURE_SERVICE_SYMBOLS=BTCUSDT,ETHUSDT feature-service run --registry 1.0.0
    """
    chosen = tuple(dict.fromkeys(role.strip() for role in roles.split(",")))
    if not set(chosen) <= set(ROLES):
        raise typer.BadParameter(f"must be among {', '.join(ROLES)}, was {roles!r}", param_hint="--roles")
    if (source is SourceName.RECORDING) != (recording is not None):
        raise typer.BadParameter("must be given with --source recording, and only then", param_hint="--recording")
    from runtime.roles import run_roles
    from runtime.sources import SourceChoice

    run_roles(
        settings_for(data),
        roles=chosen,
        source=SourceChoice(source.value, recording=recording, speed=speed, seed=seed),
        duration_s=duration,
        version=registry,
    )

"""The command line ``feature-service``: exit 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import json
import os
import sys

import typer

from market.errors import FeatureServiceError
from runtime.commands import (
    dataset,
    db,
    demo,
    features,
    instruments,
    rebuild,
    registry,
    replay,
    repo,
    run,
    tape,
    verify,
)

app = typer.Typer(
    name="feature-service",
    help="A real-time feature store for market data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("replay")(replay.replay_recordings)
app.command("rebuild")(rebuild.rebuild)
app.command("apply")(repo.apply)
app.add_typer(features.app, name="features")
app.add_typer(instruments.app, name="instruments")
app.add_typer(dataset.app, name="dataset")
app.add_typer(registry.app, name="registry")
app.add_typer(tape.app, name="tape")
app.add_typer(verify.app, name="verify")
app.add_typer(db.app, name="db")


def main() -> None:
    """Run the command; an error of ours is one line on standard error, or one JSON document with --json."""
    # Feast's import sets it, for every process that starts from there: figures would go to files that all share.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # noqa: TID251  # no setting of ours
    try:
        app()
    except FeatureServiceError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": type(error).__name__, "message": str(error)}))
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)

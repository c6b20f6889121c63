"""The command line ``feature-service``: exit 0 done, 1 failed, 2 wrong usage."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import logging
import os
import sys
import threading
import time
from typing import Annotated, Final, NoReturn

import typer

from market.errors import FeatureServiceError, StoreUnavailable
from runtime.commands import (
    alerts,
    backfill,
    dataset,
    db,
    dead_letter,
    demo,
    doctor,
    features,
    iceberg,
    instruments,
    latency,
    mcp,
    quality,
    rebuild,
    registry,
    replay,
    repo,
    run,
    shadow,
    status,
    tables,
    tape,
    upkeep,
    verify,
)
from runtime.commands.printing import PrintedWarnings, print_line
from runtime.interpreter import collect_seldom


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"feature-service {importlib.metadata.version('feature-service')}")
        raise typer.Exit


app = typer.Typer(
    name="feature-service",
    help="A real-time feature store for market data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A real-time feature store for market data.

    Begin with: feature-service demo
    """


app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("run")(run.run)
app.command("replay")(replay.replay_recordings)
app.command("rebuild")(rebuild.rebuild)
app.command("apply")(repo.apply)
app.add_typer(backfill.app, name="backfill")
app.add_typer(features.app, name="features")
app.add_typer(instruments.app, name="instruments")
app.add_typer(dataset.app, name="dataset")
app.add_typer(registry.app, name="registry")
app.add_typer(tables.app, name="tables")
app.add_typer(tape.app, name="tape")
app.add_typer(iceberg.app, name="iceberg")
app.add_typer(quality.app, name="quality")
app.add_typer(verify.app, name="verify")
app.add_typer(upkeep.app, name="upkeep")
app.command("mcp")(mcp.mcp)
app.command("status")(status.status)
app.command("latency")(latency.latency)
app.add_typer(alerts.app, name="alerts")
app.add_typer(shadow.app, name="shadow")
app.add_typer(dead_letter.app, name="dead-letter")
app.add_typer(db.app, name="db")


_OF_THE_MACHINE: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
)
"""What the disk or the system refuses: the user of the command can fix it, and a traceback does not help."""
_ADVICE: Final = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there, or name another folder with --data"),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "let this user write there, or name another folder with --data"
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files, as with ulimit -n"),
}
NEXT: Final = "next: feature-service doctor checks settings, servers and disk, and says what to fix"
EXIT_DEADLINE_S: Final = 10.0
"""How long the interpreter may wait for threads once a command has ended."""


def _fail(error: FeatureServiceError) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
    print_line(f"error: {error}", to_errors=True)
    if isinstance(error, StoreUnavailable):
        print_line(NEXT, to_errors=True)
    sys.exit(1)


def _end_soon(code: int) -> None:
    """End the process with the code although threads go on that the interpreter waits for, once its exit took long."""

    def end() -> None:
        time.sleep(EXIT_DEADLINE_S)
        print(f"exit: must take at most {EXIT_DEADLINE_S:g} s, did not, was forced", file=sys.stderr, flush=True)
        os._exit(code)

    threading.Thread(target=end, name="exit", daemon=True).start()


def main() -> None:
    """Run the command, as a process that ends with it.

    An error of ours is one line on standard error, or one JSON document with --json.
    """
    collect_seldom()
    code = 1
    try:
        run_command()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise
    finally:
        # A request that computes, or a task in a pool, would hold the exit up for as long as it takes.
        _end_soon(code)


def run_command() -> None:
    """Run the command that the arguments name; raises SystemExit for an error."""
    # Feast's import sets it, for every process that starts from there: figures would go to files that all share.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)  # noqa: TID251  # no setting of ours
    logging.lastResort = PrintedWarnings()
    try:
        app()
    except FeatureServiceError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        named = error.filename if error.filename is not None else "files"
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        _fail(StoreUnavailable(f"{named}: cannot be used: {error.strerror}{advice}"))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def exit_code(*words: str) -> int:
    """The exit code of a command that is given by its words, as a script calls it."""
    sys.argv = ["feature-service", *words]
    try:
        run_command()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0

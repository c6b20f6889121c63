"""``shadow``: served rows against the tape, and groups that are withheld for a difference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document, print_line

if TYPE_CHECKING:
    from pathlib import Path

    from storage.database.shadow import ShadowStore

app = typer.Typer(help="Served rows against the tape.", no_args_is_help=True)


@app.command("status")
def status(data: DataFolder = None, as_json: AsJson = False) -> None:
    """What was compared for each symbol, differences with the messages around them, and withheld groups.

    Exits 1 if there is a stored difference or a withheld group.
    """
    from market.clock import format_iso, to_datetime

    with _store(data) as store:
        found = store.mismatches(to_datetime(0))
        withheld = store.quarantines()
        document = {
            "symbols": [_told(each) for each in store.states()],
            "mismatches": [{**_told(each), "row": format_iso(each.row_ns)} for each in found],
            "quarantined": [_told(each) for each in withheld],
        }
    print_document(document, as_json=as_json)
    if found or withheld:
        raise typer.Exit(1)


@app.command("release")
def release(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Symbol of the group.")],
    group: Annotated[str, typer.Argument(metavar="GROUP", help="The group to serve again.")],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Serve a withheld group again. It is withheld again if it still differs from the tape.

    Example: feature-service shadow release BTCUSDT orderbook
    """
    with _store(data) as store:
        if not store.release(symbol, group):
            withheld = ", ".join(f"{each.symbol} {each.group}" for each in store.quarantines()) or "there is none"
            raise typer.BadParameter(f"must be a withheld group ({withheld}), was {symbol} {group}", param_hint="GROUP")
    if as_json:
        print_document({"symbol": symbol, "group": group, "released": True}, as_json=True)
    else:
        print_line(f"{symbol}: {group} is served again")


def _told(each: Any) -> dict[str, Any]:  # noqa: ANN401  # any dataclass
    """A record of the tables as JSON."""
    from dataclasses import asdict

    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(each).items()}


@contextmanager
def _store(data: Path | None) -> Iterator[ShadowStore]:
    from contextlib import closing

    from runtime.servers import running_servers
    from runtime.wiring import metadata_store
    from storage.database.shadow import ShadowStore

    with (
        running_servers(settings_for(data)) as servers,
        metadata_store(servers),
        closing(ShadowStore(servers.postgres_url)) as store,
    ):
        yield store

"""``instruments``: the decimal scale of a symbol, declared before its first message."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.commands.options import AsJson, DataFolder, settings_for
from runtime.commands.printing import print_document

app = typer.Typer(help="The decimal scales of symbols.", no_args_is_help=True)


@app.callback()
def _instruments() -> None:
    """A command of one word would be taken for the group's own."""


@app.command("declare")
def declare(
    symbol: Annotated[str, typer.Argument(help="Symbol, e.g. BTCUSDT.")],
    price_decimals: Annotated[
        int, typer.Option("--price-decimals", help="Decimals of its prices, from its tick size.")
    ],
    quantity_decimals: Annotated[
        int, typer.Option("--quantity-decimals", help="Decimals of its quantities, from its lot size.")
    ],
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Pin a symbol's scale before its first message arrives; a scale that is already pinned stays.

    Without it the first price pins one that covers the ticks and lots of every market at such a price.

    Example: feature-service instruments declare BTCUSDT --price-decimals 1 --quantity-decimals 3
    """
    from market.instruments import Instrument
    from runtime.wiring import instrument_pins

    instrument = Instrument(symbol, price_decimals, quantity_decimals)
    instrument_pins(settings_for(data)).declare(instrument)
    document = {"symbol": symbol, "price_decimals": price_decimals, "quantity_decimals": quantity_decimals}
    print_document(document, as_json=as_json)

"""Reading again: what of the dead letter can be decoded now, at the scales that are pinned now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingestion.messages import RejectedLine
from ingestion.pipeline.dead_letter import DeadMessage
from ingestion.venues.bybit.decode import Instruments, stated_symbol
from ingestion.venues.decoders import Decoders
from market.errors import RejectedMessage
from market.instruments import Instrument, pin_scale


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """A message of the dead letter read again. symbol: None where none is stated. reason: None when it is good now."""

    message: DeadMessage
    symbol: str | None
    reason: str | None


def read_again(messages: Iterable[DeadMessage | RejectedLine], instruments: Instruments) -> Iterator[ReadAgain]:
    """Each message with why it cannot be used even now; nothing is pinned, and torn lines are passed over."""
    decoders = Decoders(_AsPinned(instruments))
    for message in messages:
        if isinstance(message, RejectedLine):
            continue
        try:
            decoded = decoders.decode(message.body, message.recv_ns)
        except RejectedMessage as error:
            yield ReadAgain(message, stated_symbol(message.body), str(error))
        else:
            yield ReadAgain(message, stated_symbol(message.body) if decoded is None else decoded.symbol, None)


class _AsPinned:
    """The scales as they are: one that is missing is tried, and not kept."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def get(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self._instruments.get(symbol) or pin_scale(symbol, price_text)

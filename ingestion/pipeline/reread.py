"""Reading again: what of the dead letter can be decoded now, at the scales that are pinned now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingestion.decoding.scales import Instruments
from ingestion.messages import RejectedLine
from ingestion.pipeline.dead_letter import DeadMessage
from ingestion.venues.decoders import Decoders, venue_of
from market.errors import RejectedMessage
from market.instruments import Instrument, pin_scale
from market.markets import Market


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """A message of the dead letter read again. symbol: None where none is stated. reason: None when it is good now."""

    message: DeadMessage
    symbol: str | None
    reason: str | None


def read_again(
    messages: Iterable[DeadMessage | RejectedLine], instruments: Instruments, market: Market
) -> Iterator[ReadAgain]:
    """Each message with why it cannot be used even now; nothing is pinned, and torn lines are skipped."""
    decoders = Decoders(venue_of(market), _AsPinned(instruments))
    for message in messages:
        if isinstance(message, RejectedLine):
            continue
        try:
            decoded = decoders.decode(message.body, message.recv_ns)
        except RejectedMessage as error:
            yield ReadAgain(message, _symbol(decoders, message), str(error))
        else:
            yield ReadAgain(message, _symbol(decoders, message) if decoded is None else decoded.symbol, None)


def _symbol(decoders: Decoders, message: DeadMessage) -> str | None:
    stated = decoders.stated(message.body)
    return None if stated is None else stated.symbol


class _AsPinned:
    """The scales as they are: one that is missing is tried, and not kept."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def get(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    def pin(self, symbol: str, price_text: str) -> Instrument:
        return self._instruments.get(symbol) or pin_scale(symbol, price_text)

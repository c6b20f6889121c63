"""The exchange's public REST interface, as far as it is asked while messages come."""

from __future__ import annotations

from typing import Annotated, Final

import httpx
from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder as JsonDecoder

from ingestion.call_log import log_call
from ingestion.decoding.wire import UNDECODABLE, Level, Milliseconds, UpdateId
from market.errors import StoreUnavailable

REST_URLS: Final = {
    "mainnet": "https://api.bybit.com",
    "testnet": "https://api-testnet.bybit.com",
}
"""Source: bybit-exchange.github.io/docs/v5/guide."""
MOST_LEVELS: Final = 1000
TIMEOUT_S: Final = 2.0
"""An order book that takes longer to come is asked for again."""


class BookAnswer(Struct, kw_only=True, frozen=True, gc=False):
    """An order book: levels of price and size as text. ``seq`` compares with that of a stream, ``u`` does not."""

    s: str
    b: list[Level]
    a: list[Level]
    ts: Milliseconds
    seq: UpdateId


class _Answer(Struct, kw_only=True, frozen=True, gc=False, rename="camel"):
    ret_code: Annotated[int, Meta(ge=0)]
    ret_msg: str = ""
    result: Raw = Raw(b"{}")


_ANSWER: Final = JsonDecoder(_Answer)
_BOOK: Final = JsonDecoder(BookAnswer)


class BybitRest:
    """The REST interface behind one address; no call needs a key."""

    def __init__(
        self, url: str, *, category: str = "linear", transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, timeout=TIMEOUT_S, transport=transport, event_hooks={"response": [log_call]}
        )
        self._name = f"bybit {url}"
        self._category = category

    async def order_book(self, symbol: str, depth: int) -> BookAnswer:
        """The order book of a symbol now, ``depth`` levels a side at most. Raises StoreUnavailable."""
        path = "/v5/market/orderbook"
        asked = {"category": self._category, "symbol": symbol, "limit": str(min(depth, MOST_LEVELS))}
        try:
            answer = await self._client.get(path, params=asked)
        except httpx.HTTPError as error:
            raise StoreUnavailable(f"{self._name}: no answer: {type(error).__name__}: {error}") from error
        told = f"{self._name} GET {path} of {symbol}: must succeed, was {answer.status_code} {answer.text[:200]}"
        # Its errors come as HTTP 200 too, with a retCode.
        if not answer.is_success:
            raise StoreUnavailable(told)
        try:
            opened = _ANSWER.decode(answer.content)
            if opened.ret_code != 0:
                raise StoreUnavailable(told)
            return _BOOK.decode(opened.result)
        except UNDECODABLE as error:
            raise StoreUnavailable(told) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

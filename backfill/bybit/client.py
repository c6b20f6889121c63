"""Asking the exchange: one request at a time, its limits kept, what may succeed later asked again.

1. Between two requests there is a pause, in which the answer may be worked on; where the exchange says that its limit
   is used up, until it says it is not.
2. What may succeed later (limits, timeouts, 5xx, answers that are no answer) is asked again, a bounded number of times,
   each time after twice the wait, jittered. After HTTP 403 the exchange wants ten minutes of silence.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import random
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Final, TypedDict, Unpack
from urllib.parse import urlencode

import httpx
import msgspec

from market.clock import MILLISECOND_NS, MINUTE_NS, SECOND_NS, Clock
from market.errors import InvalidRequest, StoreUnavailable

MOST_ATTEMPTS: Final = 6
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
BANNED_S: Final = 600.0
"""Source: bybit-exchange.github.io/docs/v5/rate-limit, for HTTP 403."""
TIMEOUT_S: Final = 10.0
RECV_WINDOW_MS: Final = "5000"
_RATE_LIMIT: Final = 10006
_WRONG_PARAMETER: Final = 10001
_WRONG_SYMBOL: Final = 10029


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """What every answer has; ``time`` is the exchange's, ms."""

    ret_code: int
    time: Annotated[int, msgspec.Meta(ge=1)]
    ret_msg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")


_log = logging.getLogger(__name__)
_ANSWER: Final = msgspec.json.Decoder(Answer)


class ClientSettings(TypedDict, total=False):
    """How a client asks.

    delay_ms: between two requests. sleep: waits; it may raise to give up. credentials: key and secret that requests are
    signed with, though none needs it. jitter: gives numbers from 0 to 1.
    """

    delay_ms: int
    credentials: tuple[str, str] | None
    sleep: Callable[[float], None]
    jitter: Callable[[], float]


class BybitClient:
    """Requests to one address; ``close`` it."""

    def __init__(self, url: str, clock: Clock, **settings: Unpack[ClientSettings]) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self.url = url
        self._clock = clock
        self._delay_s = settings.get("delay_ms", 100) / 1000
        self._credentials = settings.get("credentials")
        self._sleep = settings.get("sleep", time.sleep)
        self._jitter = settings.get("jitter", random.random)
        self._pause_s = 0.0
        self._answered_ns = 0
        self._told_ns: int | None = None
        self._untold = 0

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def wait(self, attempt: int) -> None:
        """Wait before what failed ``attempt`` times, 1 the first time, is tried again."""
        self._sleep(self._wait_s(attempt))

    def get(self, path: str, asked: Mapping[str, str]) -> Answer:
        """An answer without an error. Raises InvalidRequest for what the exchange does not know, StoreUnavailable."""
        told = ""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            self._sleep(self._left_of_pause_s())
            asked_for_s, told = 0.0, ""
            try:
                answer = self._client.get(path, params=asked, headers=self._signed(asked))
            except httpx.HTTPError as error:
                told = f"no answer: {type(error).__name__}: {error}"
            else:
                self._pause(self._delay_s)
                told = f"was {answer.status_code} {answer.text[:200]}"
                if answer.status_code == HTTPStatus.FORBIDDEN:
                    asked_for_s = BANNED_S
                elif answer.is_success and (opened := _opened(answer.content)) is not None:
                    self._pause(max(self._delay_s, self._until_renewed_s(answer.headers)))
                    if opened.ret_code == 0:
                        return opened
                    if opened.ret_code in {_WRONG_PARAMETER, _WRONG_SYMBOL}:
                        raise InvalidRequest(f"bybit GET {path}: the exchange refused {dict(asked)}: {opened.ret_msg}")
                    asked_for_s = self._until_reset_s(answer.headers) if opened.ret_code == _RATE_LIMIT else 0.0
                elif answer.is_client_error and answer.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                    break
            wait_s = max(asked_for_s, self._wait_s(attempt))
            self._pause(wait_s)
            if attempt < MOST_ATTEMPTS:
                line = f"bybit GET {path} of {asked.get('symbol')}: {told}; retrying in {wait_s:.1f} s"
                self._tell_retry(line, is_long=wait_s > LONGEST_WAIT_S)
        raise StoreUnavailable(f"bybit {self.url} GET {path}: must succeed, {told}")

    def _tell_retry(self, line: str, *, is_long: bool) -> None:
        """The first retry is a line of the log, then one in a minute with the count of those before it."""
        now_ns = self._clock.now_ns()
        if self._told_ns is not None and 0 <= now_ns - self._told_ns < MINUTE_NS and not is_long:
            self._untold += 1
            return
        others = f"; {self._untold} more retries since the last such line" if self._untold else ""
        self._told_ns, self._untold = now_ns, 0
        _log.warning("%s%s", line, others)

    def _wait_s(self, attempt: int) -> float:
        return min(FIRST_WAIT_S * float(1 << (attempt - 1)), LONGEST_WAIT_S) * (0.5 + self._jitter())

    def _pause(self, seconds: float) -> None:
        """Ask again no sooner than so long from now."""
        self._pause_s, self._answered_ns = seconds, self._clock.now_ns()

    def _left_of_pause_s(self) -> float:
        """What was done since the last answer counts; a clock that was put back does not lengthen the pause."""
        passed_ns = max(self._clock.now_ns() - self._answered_ns, 0)
        return max(self._pause_s - passed_ns / SECOND_NS, 0.0)

    def _until_renewed_s(self, headers: httpx.Headers) -> float:
        """How long nothing is left of the limit, 0 where something is."""
        return self._until_reset_s(headers) if headers.get("X-Bapi-Limit-Status") == "0" else 0.0

    def _until_reset_s(self, headers: httpx.Headers) -> float:
        reset = headers.get("X-Bapi-Limit-Reset-Timestamp", "")
        if not reset.isdecimal():
            return 0.0
        return min(max(int(reset) - self._clock.now_ns() // MILLISECOND_NS, 0) / 1000, LONGEST_WAIT_S)

    def _signed(self, asked: Mapping[str, str]) -> dict[str, str]:
        if self._credentials is None:
            return {}
        key, secret = self._credentials
        now = str(self._clock.now_ns() // MILLISECOND_NS)
        text = now + key + RECV_WINDOW_MS + urlencode(asked)
        return {
            "X-BAPI-API-KEY": key,
            "X-BAPI-TIMESTAMP": now,
            "X-BAPI-RECV-WINDOW": RECV_WINDOW_MS,
            "X-BAPI-SIGN": hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest(),
        }


def _opened(content: bytes) -> Answer | None:
    """The answer, None of what is none: a proxy's page, half an answer."""
    try:
        return _ANSWER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None

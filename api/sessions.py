"""Sessions of the console: a signed cookie in place of the key, and the token that a change must show besides.

1. Who shows the key gets a cookie that ends after SESSION_S. It is signed with the key, so every process with the key
   takes it, none has to remember it, and a changed key ends all of them.
2. A browser sends a cookie with requests that other pages make it send. Scripts cannot read ours (HttpOnly), requests
   of other sites come without it (SameSite=Strict), and what changes something must show a token that is made of it.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

COOKIE: Final = "feature_service_session"
CSRF_HEADER: Final = "X-CSRF-Token"
SESSION_S: Final = 12 * 3600


def signature(api_key: bytes, purpose: str, text: str) -> str:
    """What only who has the key can make of a text; of one purpose it is worth nothing for another."""
    return hmac.new(api_key, f"{purpose} {text}".encode(), hashlib.sha256).hexdigest()


def session_value(api_key: str, *, now_s: int) -> str:
    """The value of a new cookie."""
    until = str(now_s + SESSION_S)
    return f"{until}.{signature(api_key.encode(), 'session', until)}"


def session_ends_s(api_key: bytes, value: str, *, now_s: int) -> int | None:
    """When a session ends, seconds since 1970; None for one that has, or that we did not sign."""
    until, _, signed = value.partition(".")
    if not hmac.compare_digest(signed.encode(), signature(api_key, "session", until).encode()):
        return None
    return int(until) if int(until) > now_s else None  # we signed it, so it is a number


def csrf_token(api_key: bytes, value: str) -> str:
    """The token of a session, which its page shows with every change."""
    return signature(api_key, "csrf", value)


def is_token_of(api_key: bytes, value: str, token: str) -> bool:
    """Whether the token is the session's."""
    return hmac.compare_digest(token.encode(), csrf_token(api_key, value).encode())

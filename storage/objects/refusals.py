"""Refusals: what an object store or the way to it told, in one line, with whether to try again and the next step.

Of an answer only its status, code and message are told: the rest of it may repeat the key and what it signed.
"""

from __future__ import annotations

import re
from typing import Final

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_MESSAGE: Final = re.compile(r"<Message>([^<]*)</Message>")
_REDIRECT: Final = "Received redirect without LOCATION"
_ROLE: Final = "//169.254."
"""Where a machine's role is asked for, which is done where the environment has no key."""
_UP: Final = "check that the store is up, and that AWS_ENDPOINT_URL is its address"
_ITS_LOG: Final = "look at the store's own log and limits"
_SHOWN: Final = 200
_WITH_THE_KEY: Final = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the machine's role, to what the store knows"
_RENEWED: Final = "renew AWS_SESSION_TOKEN and its key"
_WITH_THE_REGION: Final = "set AWS_REGION to the bucket's region"
_DENIED: Final = "AccessDenied"
_REMEDIES: Final = {
    _DENIED: "allow this key or role to read, write and delete objects there",
    "InvalidAccessKeyId": _WITH_THE_KEY,
    "SignatureDoesNotMatch": _WITH_THE_KEY,
    "ExpiredToken": _RENEWED,
    "InvalidToken": _RENEWED,
    "RequestTimeTooSkewed": "synchronise this machine's clock with NTP",
    "NoSuchBucket": "make the bucket, or correct its name in the address",
    "PermanentRedirect": _WITH_THE_REGION,
    "AuthorizationHeaderMalformed": _WITH_THE_REGION,
}


def told_answer(error: Exception) -> str:
    """Of an answer its status, code and message; else the first line of what was told."""
    text = str(error)
    status, code, message = (found.search(text) for found in (_STATUS, _CODE, _MESSAGE))
    if code is None:
        return (text.splitlines() or [type(error).__name__])[0][:_SHOWN]
    named = " ".join([*([status[1]] if status else []), code[1] or code[2]])
    return f"{named}, {message[1].rstrip('.')[:_SHOWN]}" if message else named


def is_final(error: Exception) -> bool:
    """Whether another attempt would be told the same."""
    text = str(error)
    if (code := _CODE.search(text)) is not None:
        return (code[1] or code[2]) in _REMEDIES
    status = _STATUS.search(text)
    return _REDIRECT in text or (status is not None and status[1] in {"401", "403"})


def next_step(error: Exception) -> str:
    """What whoever runs the service does about it."""
    text = str(error)
    if _ROLE in text:
        return _WITH_THE_KEY
    if _REDIRECT in text:
        return _WITH_THE_REGION
    if (code := _CODE.search(text)) is not None:
        return _REMEDIES.get(code[1] or code[2], _ITS_LOG)
    if is_final(error):
        return _REMEDIES[_DENIED]
    return _UP if _STATUS.search(text) is None else _ITS_LOG

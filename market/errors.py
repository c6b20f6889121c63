"""The errors that one package raises and another one meets, grouped by who must act.

    FeatureServiceError
    ├── RejectedMessage        dead-letter it: one input is unusable, nothing else is affected
    │   ├── MalformedMessage       it breaks its schema (JSON, a missing field, a negative size)
    │   ├── UnknownTopic           no rule says what this topic holds
    │   └── ScaleExceeded          a number does not fit the instrument's pinned decimal scale
    ├── UnreadableRecording    a recording cannot be read any further
    ├── DeclarationError       fix the declaration: every problem found, at once (HTTP 500: it is not the caller's)
    │   ├── InvalidFeature
    │   ├── InvalidRegistry
    │   └── InvalidSettings
    ├── InvalidRequest         the caller asked for what cannot be met (HTTP 400)
    ├── NotFound               the thing named does not exist (HTTP 404)
    ├── Conflict               the state of things forbids it (HTTP 409)
    ├── CorruptStore           bytes on disk are not what was written
    ├── FeastRefusal           Feast's own error, answered as Feast spells it, with its status
    └── StoreUnavailable       retry: a store or server is away (HTTP 503)
        └── StoreRefused           it answered, and would refuse again: change a setting or a right

An error that only its own package meets stands there and derives from the root: the API's own statuses, a gateway that
refuses, a role that failed, a client's look into the future. A message about a value that broke a rule reads
"thing: rule, was value"; what is away, refused or full is said in plain words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence


class FeatureServiceError(Exception):
    """Root of the tree: anything below it is understood and has a clear message."""


class RejectedMessage(FeatureServiceError):
    """One input message is unusable; it goes to the dead-letter with its bytes and is counted."""


class MalformedMessage(RejectedMessage):
    """The message breaks its schema."""


class UnknownTopic(RejectedMessage):
    """No rule says what a message of this topic holds."""


class ScaleExceeded(RejectedMessage):
    """A number does not fit the instrument's pinned decimal scale; it is never rounded."""


class UnreadableRecording(FeatureServiceError):
    """A recording cannot be read any further; what came before stays good."""


class DeclarationError(FeatureServiceError):
    """Something declared is wrong; ``problems`` holds every finding, each naming its thing."""

    def __init__(self, subject: str, problems: Sequence[str]) -> None:
        self.subject = subject
        self.problems = tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(self.problems))


class InvalidFeature(DeclarationError):
    """A feature's declaration contradicts itself or its function."""


class InvalidRegistry(DeclarationError):
    """A feature registry version breaks the rules of registry files."""


class InvalidSettings(DeclarationError):
    """The settings do not allow a start."""


class InvalidRequest(FeatureServiceError):
    """The request is well formed but cannot be met; the message says what would be possible."""


class NotFound(FeatureServiceError):
    """The named thing does not exist."""


class Conflict(FeatureServiceError):
    """The present state forbids the operation."""


class CorruptStore(FeatureServiceError):
    """Bytes on disk are not what was written."""


class StoreUnavailable(FeatureServiceError):
    """A store or server is away; the same call may succeed later."""


class StoreRefused(StoreUnavailable):
    """A store answered that it does not let in who asks, or has not what is asked for: waiting changes nothing."""


class FeastRefusal(FeatureServiceError):
    """An error as Feast spells it; ``detail`` is its JSON, from which Feast's clients raise the same one again."""

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(json.loads(detail)["message"])
        self.detail = detail
        self.status = status

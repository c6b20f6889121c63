"""What the published contracts say of a message that was really sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jsonschema import Draft202012Validator

FOLDER: Final = Path(__file__).parents[1] / "docs" / "reference"


def broken_rules(queue: str, message: Mapping[str, Any]) -> list[str]:
    """What of the queue's published schema the message breaks; a key that the schema does not know is one of them."""
    schema = json.loads((FOLDER / f"{queue}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    found = [error.message for error in Draft202012Validator(schema).iter_errors(dict(message))]
    return found + [f"{key}: not in the schema" for key in message.keys() - schema["properties"].keys()]

"""Times over the wire: what is not one is refused by the rule and an example."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from api.wire_times import Moment
from market.clock import SECOND_NS


def test_a_time_is_nanoseconds_and_what_is_none_is_refused_with_an_example_of_one() -> None:
    moment: TypeAdapter[int] = TypeAdapter(Moment)
    assert moment.validate_python("1970-01-01T00:00:07Z") == 7 * SECOND_NS
    for wrong in ("yesterday", "", "2026-13-01", 7):
        with pytest.raises(ValidationError, match="must be an ISO 8601 time, as 2026-01-05T12:05:00Z"):
            moment.validate_python(wrong)

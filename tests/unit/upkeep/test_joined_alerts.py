"""What breaks one rule for many symbols is one alert: it has one cause, and nobody reads hundreds."""

from __future__ import annotations

from upkeep.alert_rules import CRITICAL, WARNING, Finding, Severity
from upkeep.alerting import MANY, MOST_SUBJECTS, joined


def old_rows(count: int, severity: Severity = CRITICAL) -> list[Finding]:
    return [Finding("row_old", f"S{at}USDT", f"S{at}USDT: newest row is old", severity) for at in range(count)]


def test_as_many_as_a_person_reads_are_an_alert_each() -> None:
    found = old_rows(MOST_SUBJECTS)
    assert joined(found) == found


def test_more_are_one_that_names_the_first_and_their_number() -> None:
    (alert,) = joined(old_rows(500))
    assert (alert.rule, alert.subject, alert.severity) == ("row_old", MANY, CRITICAL)
    assert alert.summary == "S0USDT: newest row is old; the same of S1USDT, S2USDT and 497 more"


def test_other_rules_and_severities_are_kept_apart() -> None:
    few = [Finding("book_gap", "S1USDT", "S1USDT: order book must be valid, was broken")]
    warnings = old_rows(2, WARNING)
    assert joined([*few, *old_rows(500), *warnings])[0] == few[0]
    assert [each.subject for each in joined([*old_rows(500), *warnings])] == [MANY, "S0USDT", "S1USDT"]

"""What the program that runs Feast's suites makes of their reports; the suites need a checkout of Feast."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tools.feast_conformity import EXCEPTIONS, Verdict, judge, without_feast

PAGE = Path(__file__).parents[3] / "docs" / "feast.md"
KNOWN = {"test_floats": "Feast's own fails", "test_profiler": "its module is gone"}
REPORT = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_join[one]" />
<testcase classname="tests.a" name="test_sql[one]"><skipped message="no SQL" /></testcase>
<testcase classname="tests.a" name="test_floats[one]"><failure message="0.1" /></testcase>
<testcase classname="" name="tests.b.test_profiler"><error message="collection failure" /></testcase>
{more}</testsuite></testsuites>"""


def verdict(more: str = "", report: str = REPORT) -> Verdict:
    return judge(ET.fromstring(report.format(more=more)), KNOWN)  # noqa: S314  # ours


def test_a_report_in_which_only_the_exceptions_fail_is_good() -> None:
    assert verdict() == Verdict(1, 1, (), ())
    assert verdict().is_good


@pytest.mark.parametrize("fault", ["failure", "error"])
def test_any_other_failure_is_named(fault: str) -> None:
    found = verdict(f'<testcase classname="tests.a" name="test_ttl[two]"><{fault} message="no" /></testcase>')
    assert found.failed == ("tests.a::test_ttl[two]",)
    assert not found.is_good


def test_an_exception_that_passes_is_stale_and_a_report_without_tests_is_no_pass() -> None:
    found = verdict(report=REPORT.replace('<failure message="0.1" />', ""))
    assert (found.stale, found.is_good) == (("test_floats",), False)
    assert not judge(ET.fromstring("<testsuites />"), KNOWN).is_good  # noqa: S314  # ours


def test_the_feast_of_the_checkout_is_not_beside_its_tests(tmp_path: Path) -> None:
    for name in ("tests", "feast"):
        (tmp_path / "checkout" / name).mkdir(parents=True)
        (tmp_path / "checkout" / name / "__init__.py").write_text(f"# {name}")
    (tmp_path / "checkout" / "pytest.ini").write_text("[pytest]")
    without_feast(tmp_path / "checkout", tmp_path / "alone")
    alone = without_feast(tmp_path / "checkout", tmp_path / "alone")  # as in every run after the first
    assert sorted(each.name for each in alone.iterdir()) == ["pytest.ini", "tests"]
    assert (alone / "tests" / "__init__.py").read_text() == "# tests"


def test_the_page_names_each_exception_with_its_reason() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [
        f"| `{test}` | {reason} |" for test, reason in EXCEPTIONS.items() if f"| `{test}` | {reason} |" not in page
    ] == []

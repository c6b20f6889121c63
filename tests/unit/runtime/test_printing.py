"""What commands print for a person."""

from __future__ import annotations

import json
import logging

import pytest

from runtime.commands.printing import PrintedWarnings, print_document, print_line, print_table


def test_one_thing_is_names_beside_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_document(
        {"train_records": 7, "is_ready": True, "error": None, "by": {"vwap_3s": 1, "b": [1, 2]}, "x": []}, as_json=False
    )
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert told == [
        ["train", "records", "7"],
        ["is", "ready", "yes"],
        ["error", "-"],
        ["by", "vwap_3s", "1"],
        ["b", "1,", "2"],
        ["x", "none"],
    ]


def test_things_of_few_columns_are_a_table_and_of_many_stand_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_document([{"symbol": "A", "rows": 1}, {"symbol": "B", "rows": 20}], as_json=False, nothing="none")
    assert [line.split() for line in capsys.readouterr().out.splitlines() if "─" not in line] == [
        ["symbol", "rows"],
        ["A", "1"],
        ["B", "20"],
    ]
    many = dict.fromkeys("abcdefgh", 1)
    print_document([many, many], as_json=False, nothing="none")
    assert capsys.readouterr().out.count("\n") == 8 + 1 + 8


def test_nothing_is_said_and_json_stays_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_document([], as_json=False, nothing="nothing was rejected")
    print_table(("a",), [], nothing="no dataset yet")
    assert capsys.readouterr().out == "nothing was rejected\nno dataset yet\n"
    print_document([], as_json=True, nothing="nothing")
    assert json.loads(capsys.readouterr().out) == []


def test_a_value_is_shown_as_it_is_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    print_document({"path": "/data/[bold]x[/bold]/" + "y" * 200}, as_json=False)
    assert "/data/[bold]x[/bold]/" + "y" * 200 in capsys.readouterr().out


def test_a_line_is_broken_between_words_on_a_terminal_and_whole_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = "/a/folder/" + "x" * 90
    text = f"  next to it 2.1.0: {'word ' * 30}in {path}, with-a-hyphen\na second line"
    print_line(text)
    assert capsys.readouterr().out == f"{text}\n"
    monkeypatch.setenv("COLUMNS", "80")
    for stream, to_errors in (("stdout", False), ("stderr", True)):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
        print_line(text, to_errors=to_errors)
        lines = getattr(capsys.readouterr(), stream.removeprefix("std")).splitlines()
        assert {len(line) for line in lines if len(line) > 80} == {len(f"    {path},")}
        assert [line.startswith("    ") for line in lines] == [False, *[True] * (len(lines) - 2), False]
        assert " ".join(line.strip() for line in lines) == " ".join(text.split())


def test_warnings_of_a_command_are_lines_like_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    record = logging.LogRecord("a", logging.WARNING, __file__, 1, "%s: %s", ("BTCUSDT", "word " * 30), None)
    PrintedWarnings().handle(record)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("BTCUSDT: word")
    assert rest
    assert max(map(len, (first, *rest))) <= 80


def test_a_column_to_copy_from_is_never_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # of which rich takes 80 columns
    row = ("5c" * 16, "ready", ["BTCUSDT", "ETHUSDT", "XRPUSDT", "SOLUSDT"], "2026-01-05 12:00")
    print_table(("id", "status", "symbols", "created"), [row], whole=("id",))
    lines = capsys.readouterr().out.splitlines()
    assert "5c" * 16 in "\n".join(lines)
    assert max(map(len, lines)) <= 80


def test_a_number_that_is_not_known_leaves_its_column_a_column_of_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("stream", "expected"), [("orderbook", "5948"), ("trade", "not known"), ("kline", "7 min")])
    lines = capsys.readouterr().out.splitlines()
    assert {len(line) for line in lines} == {max(map(len, lines))}

"""What the machine refuses ends a command by one line, never by a traceback."""

from __future__ import annotations

import errno
import json

import pytest

from runtime import cli


def ended(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr("sys.argv", ["feature-service", *arguments])
    cli.main()


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EMFILE])
def test_a_disk_that_refuses_is_one_line_that_names_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    with pytest.raises(SystemExit, match=r"^1$"):
        ended(monkeypatch, OSError(number, "refused", "/data/redis"), "run", "--json")
    told = capsys.readouterr()
    assert told.err == "error: /data/redis: cannot be used: refused\n"
    assert json.loads(told.out) == {"error": "StoreUnavailable", "message": told.err.removeprefix("error: ").strip()}


def test_an_error_of_ours_that_nobody_expected_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionResetError):
        ended(monkeypatch, ConnectionResetError(errno.ECONNRESET, "reset"))

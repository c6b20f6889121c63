"""What is removed is gone, or the caller hears of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from market.errors import StoreUnavailable
from training_sets.dataset.datasets import Datasets


def test_a_dataset_that_stays_is_an_error_and_an_attempt_a_line_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    datasets = Datasets(tmp_path)
    monkeypatch.setattr(shutil, "rmtree", lambda *_of, **_how: None)
    datasets.begin("d17", 1)
    datasets.begin("d17", 2)
    assert caplog.messages == [f"{tmp_path / '.d17-1'}: cannot be removed"]
    (tmp_path / "d17").mkdir()
    with pytest.raises(StoreUnavailable, match=r"d17: cannot be removed$"):
        datasets.remove("d17")

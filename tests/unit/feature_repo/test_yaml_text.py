"""YAML by the compiled loader: the same as by the plain one, and no text ends the process."""

from __future__ import annotations

import pytest
import yaml

from feature_repo.registry_versions import SHIPPED_FOLDER
from feature_repo.yaml_text import load_yaml


def test_every_shipped_version_is_read_as_the_plain_loader_reads_it() -> None:
    texts = [path.read_text() for path in SHIPPED_FOLDER.glob("*.yaml")]
    assert len(texts) > 5
    assert [load_yaml(text) for text in texts] == [yaml.safe_load(text) for text in texts]


def test_a_text_that_nests_too_deep_is_an_error_and_not_the_end_of_the_process() -> None:
    with pytest.raises(RecursionError):
        load_yaml("[" * 500_000)

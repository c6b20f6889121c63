"""A fingerprint changes with what computes a group and with nothing else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from transforms.catalogue import GROUPS, feature_set, group_fingerprint
from transforms.declaration import Feature
from transforms.fingerprint import fingerprint_of
from transforms.normalisation import Normalisation

MODULE = '''
"""A group of one feature."""
import math
from transforms.jit import jit
NAN = math.nan
LIMIT = 3
UNUSED = 1

@jit
def doubled(x: int) -> int:
    return 2 * x

@jit
def unrelated(x: int) -> int:
    return x

@jit
def value(trades: int) -> float:
    """Doc."""
    # a reason
    return doubled(trades) / LIMIT if trades > 0 else NAN
'''


@pytest.fixture
def fingerprint_of_source(tmp_path: Path) -> Callable[[str], str]:
    """Fingerprint of a group whose function ``value`` stands in a module of the given source."""

    def fingerprint(source: str) -> str:
        # The closure follows only our own packages, so the module must say it is of one.
        name = "transforms.fingerprint_probe"
        path = tmp_path / f"probe_{abs(hash(source))}.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
            declared = replace(GROUPS["orderflow"][0], function=module.value)
            return fingerprint_of([declared], horizon_ns=5, warm_up_ns=5)
        finally:
            del sys.modules[name]

    return fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Doc."""', '"""Another text."""'),
        ("# a reason", "# a better reason"),
        ("trades: int", "trades: object"),
        ("UNUSED = 1", "UNUSED = 2"),
        ("def unrelated(x: int) -> int:\n    return x", "def unrelated(x: int) -> int:\n    return -x"),
    ],
)
def test_prose_annotations_and_unused_code_do_not_count(
    fingerprint_of_source: Callable[[str], str], old: str, new: str
) -> None:
    assert old in MODULE
    assert fingerprint_of_source(MODULE.replace(old, new)) == fingerprint_of_source(MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trades > 0", "trades >= 0"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("return 2 * x", "return 3 * x"),
        ("NAN = math.nan", "NAN = 0.0"),
        ("/ LIMIT", "* LIMIT"),
    ],
)
def test_the_function_its_constants_and_what_it_calls_count(
    fingerprint_of_source: Callable[[str], str], old: str, new: str
) -> None:
    assert old in MODULE
    assert fingerprint_of_source(MODULE.replace(old, new)) != fingerprint_of_source(MODULE)


def orderflow(**changes: object) -> list[Feature]:
    first, *rest = GROUPS["orderflow"]
    return [replace(first, **changes), *rest]  # type: ignore[arg-type]  # the parametrisation names the fields


@pytest.mark.parametrize(
    "changes",
    [{"name": "vwap_4s"}, {"window_s": 4}, {"candles": 2}, {"parameters": {"levels": 5}}, {"inputs": ("trades",)}],
    ids=lambda changes: next(iter(changes)),
)
def test_declared_parameters_count(changes: dict[str, object]) -> None:
    assert fingerprint_of(orderflow(**changes), horizon_ns=1, warm_up_ns=1) != fingerprint_of(
        orderflow(), horizon_ns=1, warm_up_ns=1
    )


@pytest.mark.parametrize("changes", [{"summary": "x"}, {"formula": "x"}, {"nan_rule": "x"}, {"unit": "x"}])
def test_what_is_said_of_a_feature_does_not_count(changes: dict[str, object]) -> None:
    assert fingerprint_of(orderflow(**changes), horizon_ns=1, warm_up_ns=1) == fingerprint_of(
        orderflow(), horizon_ns=1, warm_up_ns=1
    )


def test_horizon_and_warm_up_of_the_group_count() -> None:
    fingerprints = {
        fingerprint_of(GROUPS["orderflow"], horizon_ns=horizon_ns, warm_up_ns=warm_up_ns)
        for horizon_ns, warm_up_ns in ((1, 1), (2, 1), (1, 2))
    }
    assert len(fingerprints) == 3


def test_every_group_has_a_fingerprint_of_its_own_that_does_not_depend_on_the_set() -> None:
    fingerprints = {group: group_fingerprint(group) for group in GROUPS}
    assert len(set(fingerprints.values())) == len(GROUPS)
    assert all(len(fingerprint) == 16 for fingerprint in fingerprints.values())
    one = feature_set("1", ["vwap_3s", "mid_price"])
    other = feature_set("9", ["spread_abs", "volume_5m"])
    assert {group.name: group.fingerprint for group in one.groups} == {
        group.name: group.fingerprint for group in other.groups
    }
    assert one.fingerprint != other.fingerprint


def test_normalised_columns_are_known_by_their_features_methods_windows_and_the_groups_they_come_from() -> None:
    names = ["mid_price", "spread_abs", "volume_3s"]
    chosen = [
        Normalisation("mid_price", "z_score", 5),
        Normalisation("mid_price", "z_score", 6),
        Normalisation("mid_price", "min_max", 5),
        Normalisation("spread_abs", "z_score", 5),
        Normalisation("volume_3s", "z_score", 5),
    ]
    groups = [feature_set("1", names, [normalised]).groups[-1] for normalised in chosen]
    assert len({group.fingerprint for group in groups}) == len(chosen)
    assert feature_set("1", names[:1], chosen[:1]).groups[-1].fingerprint == groups[0].fingerprint

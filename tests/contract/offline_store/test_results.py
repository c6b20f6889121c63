"""What else Feast asks an offline store for: other forms of a result, its validation, figures of monitoring."""

from __future__ import annotations

import sys
from typing import Any, ClassVar, cast

import pandas as pd
import pytest
from feast import FeatureView
from feast.dqm.errors import ValidationFailed
from feast.dqm.profilers.profiler import Profile, Profiler, ValidationReport
from feast.saved_dataset import ValidationReference

from feature_repo.offline_store import AsOfOfflineStoreConfig
from market.errors import InvalidRequest
from tests.stored_books import OURS, SYMBOL, MakeStore, at, entity_rows


def test_the_configuration_knows_its_own_name() -> None:
    assert AsOfOfflineStoreConfig().type == OURS


def test_monitoring_figures_of_a_view_are_computed_kept_and_found(make_store: MakeStore, book: FeatureView) -> None:
    store = make_store([SYMBOL, book])
    offline, source = store._get_provider().offline_store, book.batch_source
    assert source is not None
    assert offline.get_monitoring_max_timestamp(store.config, source, "event_timestamp") == at(20)
    [figures] = offline.compute_monitoring_metrics(
        store.config, source, [("mid", "numeric")], "event_timestamp", at(0), at(10)
    )
    assert (figures["feature_name"], figures["row_count"], figures["mean"]) == ("mid", 2, 1.5)
    offline.ensure_monitoring_tables(store.config)
    assert offline.query_monitoring_metrics(store.config, "market", "feature") == []


def test_what_a_result_cannot_become_says_what_to_do(make_store: MakeStore, book: FeatureView) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC"], [15]), ["book:mid"])
    assert not job.supports_remote_storage_export()
    for become, instead in ((job.to_sql, "to_arrow"), (job.to_remote_storage, "persist")):
        with pytest.raises(InvalidRequest, match=instead):
            become()


@pytest.mark.parametrize(("become", "package"), [("to_tensor", "torch"), ("to_ray_dataset", "ray")])
def test_what_a_result_becomes_with_a_package_alone_names_it(
    make_store: MakeStore, book: FeatureView, monkeypatch: pytest.MonkeyPatch, become: str, package: str
) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC"], [15]), ["book:mid"])
    monkeypatch.setitem(sys.modules, package, None)  # as where it is not installed
    with pytest.raises(ImportError, match=package):
        getattr(job, become)()


class _Least(Profile):
    """A profile of one number: the least value that a column may have."""

    def __init__(self, least: float) -> None:
        self.least = least

    def validate(self, dataset: pd.DataFrame) -> ValidationReport:
        too_small = dataset[dataset["mid"] < self.least]

        class Report(ValidationReport):
            is_success = too_small.empty
            errors: ClassVar[list[Any]] = too_small["mid"].tolist()

        return Report()

    def to_proto(self) -> Any:  # noqa: ANN401  # untyped in Feast
        raise NotImplementedError

    @classmethod
    def from_proto(cls, proto: Any) -> Profile:  # noqa: ANN401  # untyped in Feast
        raise NotImplementedError


@pytest.mark.filterwarnings("ignore:.*experimental feature:RuntimeWarning")
def test_an_answer_is_validated_against_a_reference(make_store: MakeStore, book: FeatureView) -> None:
    job = make_store([SYMBOL, book]).get_historical_features(entity_rows(["BTC", "BTC"], [5, 15]), ["book:mid"])
    reference = ValidationReference(name="of march", dataset_name="march", profiler=cast("Profiler", None))
    reference._profile = _Least(1.0)
    assert job.to_df(validation_reference=reference)["mid"].tolist() == [1.0, 2.0]
    reference._profile = _Least(1.5)
    with pytest.raises(ValidationFailed):
        job.to_df(validation_reference=reference)

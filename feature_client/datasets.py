"""A training set for a model: features and targets of a split, checked against its manifest.

pandas, and pyarrow with what checks files, are imported by the first dataset that is opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from feature_client.ordering import feature_matrix
from market.clock import SECOND_NS
from market.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from feature_client.sequences import Sequences
    from feature_client.steps import Steps
    from storage.online.vector import OnlineVector
    from storage.places import Place


class ServedDifferently(InvalidRequest, ValueError):
    """The served features are not those that the model was trained on."""


class Loaded(NamedTuple):
    """Rows of a split in the file's order; both frames have the keys as index: symbol, timestamp, and fold if any."""

    features: pd.DataFrame
    targets: pd.DataFrame


@dataclass(frozen=True)
class Dataset:
    """A finished dataset in a folder on this machine or in an object store; the manifest says what each column is."""

    folder: Place
    manifest: dict[str, Any] = field(repr=False)
    log_folder: Place | None = None
    """The feature log that sequences are read from."""

    @classmethod
    def open(cls, folder: Place, *, log_folder: Place | None = None) -> Dataset:
        """Open a dataset. Raises NotFound, and InvalidRequest for one that does not state the roles of its columns."""
        from training_sets.dataset.manifest import MANIFEST_NAME, read_manifest

        manifest = read_manifest(folder)
        roles = manifest.get("column_roles")
        if not isinstance(roles, dict):
            raise InvalidRequest(f"{folder / MANIFEST_NAME}: has no column_roles, it was built before they were added")
        return cls(folder, manifest, log_folder)

    @property
    def dataset_id(self) -> str:
        return self.folder.name

    @property
    def feature_columns(self) -> list[str]:
        """Feature columns in the order of the file: the registry version's in its order, then those of other views."""
        return list(self.manifest["column_roles"]["features"])

    @property
    def feature_references(self) -> list[str]:
        """``view:name`` of each of ``feature_columns``, as ``get_online_features`` accepts them.

        Raises InvalidRequest for a dataset that was built before they were recorded.
        """
        if "feature_references" not in self.manifest:
            raise InvalidRequest(
                f"dataset {self.dataset_id}: has no feature_references, it was built before they were added"
            )
        return list(self.manifest["feature_references"])

    @property
    def target_columns(self) -> list[str]:
        return list(self.manifest["column_roles"]["targets"])

    @property
    def classes(self) -> dict[str, dict[str, float]]:
        """For each target with classes, the label by class name, ascending; a meta-label has wrong and right.

        Raises InvalidRequest for a dataset that was built before they were stated.
        """
        if "classes" not in self.manifest:
            raise InvalidRequest(f"dataset {self.dataset_id}: must state classes, was built before they were stated")
        return {name: dict(labels) for name, labels in self.manifest["classes"].items()}

    @property
    def weight_columns(self) -> list[str]:
        return list(self.manifest["column_roles"]["weights"])

    @property
    def input_columns(self) -> list[str]:
        """A model's inputs other than features, such as the side of a primary model."""
        return list(self.manifest["column_roles"].get("inputs", ()))

    @property
    def feature_registry_version(self) -> str:
        return str(self.manifest["feature_registry_version"])

    @property
    def feature_set(self) -> str:
        """The fingerprint of the features: code and parameters that computed them."""
        return str(self.manifest["feature_set"])

    def feature_matrix(self, answer: Mapping[str, Sequence[Any]]) -> npt.NDArray[np.float64]:
        """An online response for the model: float64 (rows, features) in the order of ``feature_columns``.

        answer: values by name, in any order, as from ``to_dict()``. Raises InvalidRequest if one is missing.
        """
        columns = self.manifest.get("feature_references", ())
        # By the view too, where the answer says it: two views may have one name.
        is_told = bool(columns) and all(each in answer for each in columns)
        return feature_matrix(answer, columns if is_told else self.feature_columns)

    def load(self, split: str = "train", *, fold: int | None = None) -> Loaded:
        """Features and targets of a split as float64; NaN is unknown.

        fold: which one, if the dataset has folds. Raises NotFound for a split that it does not have, CorruptStore
        for a file that differs from the manifest.
        """
        frame, roles = self.frame(split, fold=fold), self.manifest["column_roles"]
        frame = frame.set_index(roles["keys"])
        return Loaded(frame[roles["features"]], frame[roles["targets"]])

    def weights(self, split: str = "train", *, fold: int | None = None) -> pd.DataFrame:
        """The weights of the rows of ``load``, without a column if the dataset has none. Raises as ``load``."""
        roles = self.manifest["column_roles"]
        frame: pd.DataFrame = self.frame(split, fold=fold).set_index(roles["keys"])[roles["weights"]]
        return frame

    def inputs(self, split: str = "train", *, fold: int | None = None) -> pd.DataFrame:
        """A model's inputs other than features, for the rows of ``load``, with the same index.

        Without a column if the dataset has none. Raises as ``load``.
        """
        frame: pd.DataFrame = self.frame(split, fold=fold).set_index(self.manifest["column_roles"]["keys"])
        return frame[self.input_columns]

    def steps(self, fold: int | None = None) -> Steps:
        """The fitted steps of a fold: ``apply`` takes features of ``load``, rows of numbers, or an online vector.

        Raises NotFound for a fold that the dataset does not have, or one without fitted steps.
        """
        from feature_client.steps import Steps
        from training_sets.dataset.fitted import read_steps
        from training_sets.dataset.manifest import intact_file, steps_entry

        entry = steps_entry(self.manifest)
        if entry is None:
            raise NotFound(f"dataset {self.dataset_id}: was built without fitted_steps")
        served = (self.feature_registry_version, self.feature_set)
        return Steps(read_steps(intact_file(self.folder, entry), fold), *served)

    def sequences(
        self,
        split: str = "train",
        *,
        length: int,
        symbol: str | None = None,
        fold: int | None = None,
        interval_s: int | None = None,
        stride: int = 1,
    ) -> Sequences:
        """Windows of ``length`` feature rows, ``interval_s`` apart, that end at samples of the split, with targets.

        symbol: optional for a dataset of one symbol. interval_s: between rows of a window, by default the sample
        interval; they have the sample offset of the dataset. stride: windows may end every this many rows, counted
        from the first of a UTC day. The windows are float32; no scaler is applied. A window holds only rows that the
        split keeps, without a gap or a restart.

        Raises InvalidRequest without a feature log or for samples at times, NotFound for a split or symbol that the
        dataset does not have.
        """
        from feature_client.sequences import logged_set, sequences_of
        from storage.features.log import FeatureLog
        from training_sets.dataset.manifest import manifest_request
        from training_sets.samples.lagged_rows import with_history_lags
        from training_sets.samples.sequences import FeatureWindows
        from training_sets.samples.splits import SplitRules

        request = manifest_request(self.manifest)
        if "joined_views" in self.manifest:
            raise InvalidRequest("sequences: must have only features of the log, was a dataset with other views")
        if request.sample_kind != "on_row":
            raise InvalidRequest(
                f"sequences: must be of a dataset of on_row samples, was of {request.sample_kind}: the row of a time "
                "cannot be read at that time yet"
            )
        if self.log_folder is None:
            raise InvalidRequest(
                "sequences: need a feature log; Dataset.open(folder, log_folder=...) names it, and "
                "client.dataset(id) of a repository knows it"
            )
        if symbol is None and len(request.symbols) > 1:
            raise InvalidRequest(f"symbol: must be one of {', '.join(request.symbols)}, was left out")
        chosen = request.symbols[0] if symbol is None else symbol
        if chosen not in request.symbols:
            raise NotFound(f"symbol: must be one of {', '.join(request.symbols)}, was {chosen!r}")
        loaded = self.load(split, fold=fold)
        times_ns = loaded.targets.index.get_level_values("timestamp").astype("int64").to_numpy()
        own = loaded.targets.index.get_level_values("symbol") == chosen
        log = with_history_lags(FeatureLog(self.log_folder), request.history_lag_ms)
        interval_ns = request.sample_interval_ns if interval_s is None else interval_s * SECOND_NS
        windows = FeatureWindows(
            log,
            logged_set(log, self.manifest, chosen),
            chosen,
            request.folds()[fold or 0],
            split,
            SplitRules.of(request),
            length,
            interval_ns,
            stride,
            offset_ns=request.sample_offset_ns % max(interval_ns, 1),
            read_delay_ns=request.read_delay_ns,
        )
        samples = (times_ns[own], loaded.targets.to_numpy()[own])
        return sequences_of(windows, tuple(self.feature_columns), tuple(self.target_columns), samples)

    def frame(self, split: str = "train", *, fold: int | None = None) -> pd.DataFrame:
        """Every column of a split, as in its file. Raises as ``load``."""
        import pandas as pd

        from training_sets.dataset.files import fold_name
        from training_sets.dataset.manifest import intact_file, split_entries

        name = split if fold is None else f"{fold_name(fold)}/{split}"
        entries = split_entries(self.manifest)
        if name not in entries:
            raise NotFound(f"split: must be one of {', '.join(entries)}, was {name!r}")
        path = intact_file(self.folder, entries[name])
        source = path if isinstance(path, Path) else path.open("rb")
        if path.suffix == ".parquet":
            return pd.read_parquet(source)
        roles = self.manifest["column_roles"]
        times = ["timestamp", *(name for name in roles["details"] if name.endswith("_t1"))]
        texts = [name for name in roles["details"] if name.endswith("_barrier")]
        counts = [name for name in roles["details"] if name not in {*times, *texts}]
        numbers = [*roles["features"], *roles["targets"], *self.input_columns, *roles["weights"], *counts]
        # The parser that pandas takes unless told reads one number in four as the float beside it, and the share NA as
        # no symbol.
        frame = pd.read_csv(
            source,
            dtype={"symbol": "str", **dict.fromkeys(numbers, "float64")},
            float_precision="round_trip",
            keep_default_na=False,
            na_values="",
        )
        for column in times:
            frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
        return frame


def check_vector(vector: OnlineVector, *, feature_registry_version: str, feature_set: str) -> None:
    """Raises ServedDifferently, naming both versions, when a row is of another registry version or feature set."""
    if (vector.version, vector.fingerprint) != (feature_registry_version, feature_set):
        raise ServedDifferently(
            f"{vector.symbol}: must be served by registry version {feature_registry_version}, feature set "
            f"{feature_set[:12]}, which the model was trained on, was {vector.version}, {vector.fingerprint[:12]}"
        )

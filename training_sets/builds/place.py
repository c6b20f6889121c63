"""The place of a build: the stores that it reads and writes, and the rules it is held to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from feature_repo.registry_versions import load_registry_version
from market.errors import FeatureServiceError
from storage.features.log import FeatureLog
from training_sets.checks.coverage import KnownCertificates
from training_sets.dataset.inputs import DatasetRules
from training_sets.engines.engine import Engine
from training_sets.rebuild.due_days import Rebuild
from training_sets.rebuild.raw_history import RawHistory
from training_sets.samples.kline_days import KnownKlines
from transforms.kernel import Kernel, compile_kernel
from transforms.rows import FeatureSet

if TYPE_CHECKING:
    from feature_repo.store import FeatureStore


class DayFiller(Protocol):
    """Fetches days of which there is no raw data."""

    def refusal(self, days: Sequence[str]) -> str | None:
        """Why these days cannot be fetched, None where they may be."""
        ...

    def fill(
        self, symbol: str, days: Sequence[str], kinds: Collection[int], *, on_progress: Callable[[float], None]
    ) -> Mapping[str, FeatureServiceError]:
        """Fetch what the kinds of record come from; the days that could not be, with the reason."""
        ...


@dataclass(frozen=True, slots=True)
class BuildPlace:
    """What every build of a process shares.

    open_store: Feast, which takes seconds to import, for one build, in its thread. versions_folder: of the registry.
    kernels_folder: of compiled kernels. reuses_days: whether days computed before are used again. reuses_samples:
    whether what was retrieved before is. engine: rebuilds missing days; None is the build itself. draw_seed: gives each
    build the seed of the rows and days that its leakage check draws. filler: fetches days that a request lacks; None
    where they are not fetched. certificates: of coverage, made before. klines: days of them, read before.
    tables_folder: where the mappings of tables lie that were added; None where there are none.
    """

    open_store: Callable[[], FeatureStore]
    features: FeatureLog
    raw: RawHistory
    versions_folder: Path
    kernels_folder: Path
    rules: DatasetRules = field(default_factory=DatasetRules)
    reuses_days: bool = True
    reuses_samples: bool = True
    engine: Engine | None = None
    draw_seed: Callable[[], int] = lambda: 0
    filler: DayFiller | None = None
    certificates: KnownCertificates = field(default_factory=KnownCertificates)
    klines: KnownKlines = field(default_factory=KnownKlines)
    tables_folder: Path | None = None

    def feature_set(self, version: str) -> FeatureSet:
        """The feature set of a registry version. Raises NotFound, InvalidRegistry."""
        return load_registry_version(version, self.versions_folder).feature_set

    def kernel(self, chosen: FeatureSet) -> Kernel:
        """The compiled feature set."""
        return compile_kernel(chosen, self.kernels_folder)

    def rebuild(self, symbol: str, chosen: FeatureSet) -> Rebuild:
        """The rebuild of a symbol's days that were not served whole."""
        return Rebuild(
            self.raw.parquet,
            self.features,
            self.kernels_folder,
            symbol,
            chosen,
            reuses_days=self.reuses_days,
            keeps_served=True,
        )

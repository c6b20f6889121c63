"""A gated recurrent unit over windows of the feature log, trained by Adam; the validation split says for how long.

Source: Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder, EMNLP; Kingma and Ba (2015), Adam.
"""

from __future__ import annotations

from typing import Any, Final

import autograd.numpy as anp
import numpy as np
import numpy.typing as npt
from autograd import grad

from feature_client import Dataset
from feature_client.sequences import SequenceBatch

LENGTH: Final = 16
HIDDEN: Final = 12
BATCH: Final = 512
EPOCHS: Final = 6
RATE: Final = 0.003
DECAY: Final = 1e-4
BOUND: Final = 5.0
"""Deviations at which scaled values are cut off."""

Float64s = npt.NDArray[np.float64]
Weights = list[Any]


def predict_splits(dataset: Dataset, seed: int) -> dict[str, Float64s]:
    """Predictions of each split, float64 (rows,) in the order of its file; 0 for a row that ends no window."""
    steps = dataset.steps()
    windows = {name: dataset.sequences(name, length=LENGTH).to_numpy() for name in ("train", "validation", "test")}
    scaled = {name: _scaled(steps.fitted.apply, each) for name, each in windows.items()}
    unit = float(windows["train"].targets[:, 0].std())
    wanted = {name: each.targets[:, 0] / unit for name, each in windows.items()}
    weights = _trained(scaled, wanted, np.random.default_rng(seed))
    predictions = {}
    for name, each in windows.items():
        times_ns = dataset.load(name).targets.index.get_level_values("timestamp").astype("int64").to_numpy()
        predictions[name] = np.zeros(len(times_ns))
        predictions[name][np.searchsorted(times_ns, each.end_ns)] = _output(weights, scaled[name]) * unit
    return predictions


def _scaled(apply: Any, batch: SequenceBatch) -> Float64s:  # noqa: ANN401  # the fitted steps of the dataset
    """The windows through the dataset's own scaler, an unknown value at the mean: float64 (n, length, features)."""
    flat = apply(batch.values.reshape(-1, batch.values.shape[2]).astype(np.float64))
    known: Float64s = np.clip(np.nan_to_num(flat), -BOUND, BOUND).reshape(batch.values.shape)
    return known


def _output(weights: Weights, windows: Float64s) -> Any:  # noqa: ANN401  # an array, or what autograd traces
    """What the state after the last row says, (n,)."""
    to_gates, from_state, gate_bias, to_state, between, state_bias, head, bias = weights
    state = anp.zeros((len(windows), HIDDEN))
    for at in range(windows.shape[1]):
        row = windows[:, at]
        gates = 1.0 / (1.0 + anp.exp(-(row @ to_gates + state @ from_state + gate_bias)))
        update, reset = gates[:, :HIDDEN], gates[:, HIDDEN:]
        proposed = anp.tanh(row @ to_state + (reset * state) @ between + state_bias)
        state = (1.0 - update) * state + update * proposed
    return state @ head + bias


def _loss(weights: Weights, windows: Float64s, wanted: Float64s) -> Any:  # noqa: ANN401  # what autograd traces
    squares = sum(anp.sum(each**2) for each in weights)
    return anp.mean((_output(weights, windows) - wanted) ** 2) + DECAY * squares


def _trained(scaled: dict[str, Float64s], wanted: dict[str, Float64s], draw: np.random.Generator) -> Weights:
    """The weights of the epoch after which the validation split was predicted best."""
    weights = _drawn(scaled["train"].shape[2], draw)
    slopes = grad(_loss)
    first, second = ([np.zeros_like(each) for each in weights] for _ in range(2))
    best, least, step = weights, np.inf, 0
    for _ in range(EPOCHS):
        order = draw.permutation(len(wanted["train"]))
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            batch = order[begin : begin + BATCH]
            step += 1
            for at, slope in enumerate(slopes(weights, scaled["train"][batch], wanted["train"][batch])):
                first[at] = 0.9 * first[at] + 0.1 * slope
                second[at] = 0.999 * second[at] + 0.001 * slope**2
                moved = first[at] / (1.0 - 0.9**step) / (np.sqrt(second[at] / (1.0 - 0.999**step)) + 1e-8)
                weights[at] = weights[at] - RATE * moved
        missed = float(np.mean((_output(weights, scaled["validation"]) - wanted["validation"]) ** 2))
        if missed < least:
            best, least = list(weights), missed
    return best


def _drawn(features: int, draw: np.random.Generator) -> Weights:
    def matrix(rows: int, columns: int) -> Float64s:
        drawn: Float64s = draw.standard_normal((rows, columns)) / np.sqrt(rows)
        return drawn

    return [
        matrix(features, 2 * HIDDEN),
        matrix(HIDDEN, 2 * HIDDEN),
        np.zeros(2 * HIDDEN),
        matrix(features, HIDDEN),
        matrix(HIDDEN, HIDDEN),
        np.zeros(HIDDEN),
        0.1 * matrix(HIDDEN, 1)[:, 0],
        np.zeros(()),
    ]

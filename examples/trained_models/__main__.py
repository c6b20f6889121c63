"""``python -m examples.trained_models``: train a model on a dataset, print its scores, write its test predictions."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from examples.trained_models.score import check_plausible, score
from feature_client import Dataset


def main() -> None:
    """Train, score, write."""
    parser = argparse.ArgumentParser(prog="trained_models", description=__doc__)
    parser.add_argument("model", choices=("trees", "sequence"))
    parser.add_argument("--dataset", type=Path, required=True, help="folder of a dataset with a numeric target")
    parser.add_argument("--log", type=Path, help="the feature log, for sequence")
    parser.add_argument("--out", type=Path, required=True, help="where the body of POST /model/evaluate is written")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    dataset = Dataset.open(given.dataset, log_folder=given.log)
    # Each has libraries of its own.
    if given.model == "trees":
        from examples.trained_models.trees import predict_splits
    else:
        from examples.trained_models.sequence import predict_splits
    predictions = predict_splits(dataset, given.seed)
    target = dataset.target_columns[0]
    scores = {
        name: score(predicted, dataset.load(name).targets[target].to_numpy()) for name, predicted in predictions.items()
    }
    body = {
        "split": "test",
        "model_version": f"{given.model}-{given.seed}",
        "predictions": predictions["test"].tolist(),
    }
    given.out.write_text(json.dumps(body))
    print(json.dumps({name: asdict(each) for name, each in scores.items()}))  # noqa: T201  # the output of the program
    check_plausible(f"{given.model} on test", scores["test"])


if __name__ == "__main__":
    main()

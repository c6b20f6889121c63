"""The dataset request: periods, folds, targets."""

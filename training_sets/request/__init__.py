"""What is asked for: periods, folds, targets."""

"""Two real models on a finished dataset: trees on its rows, and a recurrent network on windows of the feature log."""

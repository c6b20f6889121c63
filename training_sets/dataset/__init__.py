"""A finished dataset: its files, manifest, record, evaluation."""

"""Proof that a dataset is complete, sane and free of leakage."""

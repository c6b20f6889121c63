"""Proof that a dataset is whole, sane and free of leakage."""

"""Samples: times, features as known, prices, labels, splits."""

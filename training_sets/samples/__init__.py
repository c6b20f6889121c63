"""Samples: times, features as known at those times, prices, labels, splits."""

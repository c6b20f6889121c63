"""From the tape to leakage-free training sets: rebuild, labels, splits, builder, manifest."""

"""The features, one file a group: every group reads one raw source and is one Feast feature view."""

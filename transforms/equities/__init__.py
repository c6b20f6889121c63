"""The features of shares, one file a group: every group reads one table and is one Feast feature view."""

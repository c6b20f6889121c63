"""The features of shares, one file a group: every group reads tables and is one Feast feature view."""

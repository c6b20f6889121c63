"""Storage: a room for each store, and the files that several stores share."""

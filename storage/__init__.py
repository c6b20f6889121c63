"""What is kept: a room for each store, and the files that several stores stand on."""

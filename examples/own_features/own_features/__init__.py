"""Features of our own, as a package beside the service: each module is a group."""

"""User features, as a package next to the service: each module is a group."""

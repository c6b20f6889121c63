"""Archive, restore and removal of old raw data and feature rows."""

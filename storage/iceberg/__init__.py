"""Raw tables and the feature log, published as Iceberg tables: the same files, in a catalogue that others read."""

"""From messages to rows: sources, decoding, the pipeline."""

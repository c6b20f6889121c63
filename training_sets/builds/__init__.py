"""From a request to a dataset: admission, jobs, attempts, cache."""

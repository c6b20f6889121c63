"""Where closed rows go: the online store, the feature log, RabbitMQ."""

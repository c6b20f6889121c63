"""RabbitMQ: reading queues, publishing, and the bus in its place."""

"""RabbitMQ: reading queues, publishing, and the in-process bus that can replace it."""

"""What Feast sees: entity, push source, views, services, our offline store, and the registry versions."""

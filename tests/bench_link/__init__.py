"""What a link costs and how a device comes back to its hub, beside a nats-server leaf and hub: ``make bench-link``."""

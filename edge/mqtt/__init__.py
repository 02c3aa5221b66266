"""What bridges to MQTT brokers need of an edge: its streams, its disk, its configuration."""

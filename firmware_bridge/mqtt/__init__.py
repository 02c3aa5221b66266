"""MQTT brokers that are there already: their topics become subjects, and subjects topics."""

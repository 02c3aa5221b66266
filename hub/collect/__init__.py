"""Store-and-forward at the hub: what devices send goes into fleet streams."""

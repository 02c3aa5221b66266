"""Store-and-forward on the device: streams of this server, sent to a hub."""

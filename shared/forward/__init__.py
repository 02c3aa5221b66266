"""Store-and-forward: an edge's streams to a hub, exactly once and in order, as pure state machines on both ends."""

"""``phloem demo``: hub, edge and a simulated sensor as real processes and a real pseudo-terminal, live."""

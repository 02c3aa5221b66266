"""``phloem demo``: hub, edge, a cable between them that is cut, and a simulated sensor, live."""

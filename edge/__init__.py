"""The leaf node: the broker of a device, its links to hubs and its serial ports."""

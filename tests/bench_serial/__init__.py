"""What eight busy serial ports cost: see ``__main__.py``."""

"""A device under emulation: Debian boots, services run under systemd, and the plug is pulled. Not in make test."""

"""The twin of a device and its command ledger, as pure state machines: no socket, no clock, no event loop."""

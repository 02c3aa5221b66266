"""The compiled hot path: bytes, integers and tables; no policy, no configuration, no logging."""

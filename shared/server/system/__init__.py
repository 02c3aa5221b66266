"""The system account: what the server tells of itself there, and what it can be asked (security_ops 4.5, 4.6)."""

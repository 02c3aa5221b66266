"""Who may connect and what they may do: pure decisions, no socket, no clock."""

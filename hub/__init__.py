"""The hub: accepts the leaf links of edges."""

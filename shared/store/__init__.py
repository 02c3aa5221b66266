"""The store: streams' messages in memory and on disk, behind one contract; durable before anybody is told."""

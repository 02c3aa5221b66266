"""Monitoring over HTTP: nats-server's pages, field for field, and metrics for Prometheus.

A page is a function from a ``MonitorSource`` (``records.py``) to a Struct whose fields are the page's, in
nats-server's order (security_ops 4). ``pages.py`` says which page belongs to which path.
"""

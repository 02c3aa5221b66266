"""Serial devices to subjects and back: framing, decoding, hot-plug.

``Bridge`` runs one ``Session`` for each port; a session frames what its device sends and hands it to
a ``Publisher``. ``phloem bridge`` does this against any NATS server; another program hands in a
publisher of its own. Importing this package opens nothing.
"""

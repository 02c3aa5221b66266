"""``Nats-TTL``: whole seconds, a duration from a second on, or "never" (reference 2.7)."""

from phloem.shared.jetstream.times import SECOND_NS, parse_go_duration

NEVER = -1  # a message that no age removes


def parse_ttl(text: bytes) -> int:
    """Nanoseconds, ``NEVER``, or 0 for what is no TTL."""
    if text == b"never":
        return NEVER
    if text.isdigit() and len(text) < 12:
        return int(text) * SECOND_NS
    try:
        ns = parse_go_duration(text.decode())
    except ValueError:
        return 0
    return ns // SECOND_NS * SECOND_NS if ns > 0 else 0

"""The part of /metrics about MQTT brokers that are bridged. Only an edge has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from phloem.shared.server.monitor.prometheus import family

_FAMILIES = (
    ("connected", "gauge", "1 while the broker is there.", "connected"),
    ("connects_total", "counter", "Connections that came up.", "connects"),
    ("sessions_lost_total", "counter", "Times the broker had forgotten the session.", "sessions_lost"),
    ("received_messages_total", "counter", "Messages of the broker.", "received"),
    ("stored_messages_total", "counter", "Of these, on the disk.", "stored"),
    ("retried_messages_total", "counter", "Times a stream did not take one.", "retried"),
    ("duplicate_messages_total", "counter", "Came again and were not stored again.", "duplicates"),
    ("unsure_messages_total", "counter", "Stored, and perhaps for the second time.", "unsure"),
    ("lost_messages_total", "counter", "Of QoS 0, dropped for want of room.", "lost"),
    ("dropped_messages_total", "counter", "No stream can ever take them.", "given_up"),
    ("waiting_messages", "gauge", "Not on the disk yet.", "waiting"),
    ("commands_total", "counter", "Commands that the broker has.", "commands"),
    ("commands_again_total", "counter", "Times one was published again.", "commands_again"),
    ("commands_refused_total", "counter", "Times the broker refused one.", "commands_refused"),
    ("commands_dropped_total", "counter", "Cannot be published, ever.", "commands_impossible"),
    ("commands_waiting", "gauge", "Published and not acknowledged.", "commands_waiting"),
)


def mqtt_families(brokers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """All of it, by broker; nothing without any."""
    if brokers:
        for name, kind, about, key in _FAMILIES:
            yield family(
                f"mqtt_{name}",
                kind,
                about,
                [({"broker": broker}, figures[key]) for broker, figures in brokers.items()],
            )

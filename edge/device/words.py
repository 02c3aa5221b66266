"""What an edge adds to the line of ``systemctl status``: what waits for the hub, and how full its disk is."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from phloem.shared.server.vitals import size_of

if TYPE_CHECKING:
    from phloem.edge.forward.log_stream import LogStream


def device_words(lanes: "Sequence[LogStream]", figures: Mapping[str, Any]) -> Iterator[str]:
    """``lanes``: what is forwarded; ``figures``: as in ``Edge.device_figures``."""
    messages = size = 0
    for lane in lanes:
        first = max(lane.confirmed + 1, lane.first_seq)
        if waiting := max(lane.last_seq + 1 - first, 0):
            messages += waiting
            size += lane.bytes_from(first)
    if messages:
        yield f"{messages} messages ({size_of(size)}) wait for the hub"
    disk = figures.get("disk", {})
    if disk.get("allowed"):
        yield f"disk budget {disk['used'] * 100 // disk['allowed']} % used"
    if disk.get("held"):
        yield str(disk["held"])

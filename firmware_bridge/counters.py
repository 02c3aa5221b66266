"""What a port's session counts."""

from dataclasses import dataclass, field

from phloem.firmware_bridge.port import LineErrors


@dataclass
class Counters:
    """What happened since the session began."""

    frames: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    resyncs: int = 0
    dropped_bytes: int = 0
    damaged: int = 0
    """Whole frames with a wrong checksum."""
    undecodable: int = 0
    readings: int = 0
    withheld: int = 0
    commands: int = 0
    commands_dropped: int = 0
    opens: int = 0
    losses: int = 0
    """Times that the open device went away."""
    requests: int = 0
    requests_failed: int = 0
    """Requests to the device that were answered with an error."""
    processed: int = 0
    """Frames or readings that the function of ``process`` took."""
    unprocessed: int = 0
    """Those that it did not take: it raised, hung, died, or was not there."""
    process_ends: int = 0
    """Times that its process died, or was ended for hanging."""
    polls: int = 0
    """Questions to Modbus devices."""
    polls_failed: int = 0
    guest_dropped_bytes: int = 0
    """Of programs that share the port: what the device did not take of them, and what they did not read of it."""
    silences: int = 0
    """Times that it was opened anew because it said nothing."""
    line_errors: LineErrors = field(default_factory=LineErrors)
    """What the hardware counted while the port was open, where it counts."""

"""Commands on their way to a broker: what became of each, and what comes back when the connection is lost. Pure.

A command is settled when the broker has it (PUBACK), and not before. What was under way on a connection that was lost
may have arrived: it is published again, and says with ``phloem-id`` (MQTT 5) that it is the same.
"""

from phloem.firmware_bridge.mqtt.durable import Command, Verdict


class Outgo:
    """One broker's commands."""

    def __init__(self) -> None:
        self.sent = self.again = self.refused = self.impossible = 0
        self._under_way: dict[int, Command] = {}
        self._numbers = 0

    def __len__(self) -> int:
        """How many the broker has not answered."""
        return len(self._under_way)

    def begun(self, command: Command) -> int:
        """It is about to be published; its number."""
        self._numbers += 1
        self.again += command.attempt > 1
        self._under_way[self._numbers] = command
        return self._numbers

    def answered(self, number: int, refusal: str) -> None:
        """The broker has it, or will not have it now."""
        if (command := self._under_way.pop(number, None)) is None:
            return  # of a connection that was given up
        self.sent += not refusal
        self.refused += bool(refusal)
        command.settle(Verdict.LATER if refusal else Verdict.DONE)

    def hopeless(self, number: int) -> None:
        """It can never be published."""
        self.impossible += 1
        self._under_way.pop(number).settle(Verdict.NEVER)

    def lost(self) -> None:
        """The connection is over: all of them come again."""
        under_way, self._under_way = self._under_way, {}
        for command in under_way.values():
            command.settle(Verdict.AGAIN)

"""The streams that a bridge needs: those that have its subjects already, or else new ones."""

import logging
from typing import Any

from phloem.edge.line import Line, Refused
from phloem.shared.wire.subjects import matches

log = logging.getLogger("phloem.mqtt")

NAME_IN_USE = 10058


async def stream_for(line: Line, name: str, subject: str, more: dict[str, Any]) -> str:
    """The name of the stream that keeps ``subject``; ``name`` is made, with ``more`` settings, if none keeps any of it.
    Empty: others keep parts of it.

    Raises:
        NoAnswer, Refused: JetStream does not let us.
    """
    found = await line.ask("$JS.API.STREAM.NAMES", {"subject": subject})
    names = found.get("streams") or []
    if names:
        if len(names) == 1 and await _keeps_all(line, names[0], subject):
            return str(names[0])
        log.warning(
            "%s has a part of %s: a message that no stream keeps makes the broker wait; give one stream all of it",
            ", ".join(names),
            subject,
        )
        return ""
    wanted = {"name": name, "subjects": [subject], "storage": "file", **more}
    try:
        await line.ask(f"$JS.API.STREAM.CREATE.{name}", wanted)
    except Refused as problem:
        if problem.code != NAME_IN_USE:
            raise
        await _add(line, name, subject)
    log.info("Stream %s keeps %s", name, subject)
    return name


async def _keeps_all(line: Line, name: str, subject: str) -> bool:
    found = await line.ask(f"$JS.API.STREAM.INFO.{name}")
    return any(matches(pattern, subject) for pattern in found["config"].get("subjects", []))


async def _add(line: Line, name: str, subject: str) -> None:
    """It is there with other subjects: the bridge had another ``subject`` before."""
    found = await line.ask(f"$JS.API.STREAM.INFO.{name}")
    config = found["config"]
    config["subjects"] = [*config.get("subjects", []), subject]
    await line.ask(f"$JS.API.STREAM.UPDATE.{name}", config)

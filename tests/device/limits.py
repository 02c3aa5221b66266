"""What a device does at the limits that systemd sets: memory, tasks, processor. All of it in one machine, one after the
other, with a stream of which nothing may be lost.
"""

import asyncio
import contextlib
from collections.abc import Callable

import nats
from nats.errors import Error as ClientError
from nats.js.api import StorageType, StreamConfig

from tests.device import image
from tests.device.load import PATIENCE_S, make_stream
from tests.device.machine import Machine, with_shell
from tests.device.story import Acknowledged, Place, Story

MAX_MB = 96  # a third of what is in the unit, so that it is met in a minute
SLOW = 40  # subscribers that never read; each may hold 8 MB
QUOTA = "10%"
TASKS = 2  # one less than a broker has while it moves a generation; with 1 it is systemd that cannot prepare a start
DROP_IN = "/run/systemd/system/{unit}.d/90-limits.conf"
FIELDS = "TasksCurrent,NRestarts,Result"


async def drop_in(machine: Machine, lines: str, unit: str = "phloem-edge.service") -> None:
    """The unit's service has these from its next start on, which is now."""
    path = DROP_IN.format(unit=unit)
    script = f"mkdir -p $(dirname {path}); printf '[Service]\\n{lines}\\n' > {path}; systemctl daemon-reload"
    await machine.run(f"{script}; systemctl reset-failed {unit}; systemctl restart --no-block {unit}")


async def shown(machine: Machine, unit: str = "phloem-edge.service") -> dict[str, str]:
    """What systemd says of it, and what the kernel counted."""
    group = f"/sys/fs/cgroup/system.slice/{unit}"
    script = (
        f"systemctl show -p {FIELDS} {unit}; cat {group}/memory.events; grep '^anon ' {group}/memory.stat"
    )
    lines = (await machine.run(f"{script}; echo peak $(cat {group}/memory.peak)")).splitlines()
    return dict(line.replace("=", " ", 1).split(" ", 1) for line in lines if line.strip())


def mb(text: str) -> str:
    """Bytes, for people."""
    return f"{int(text) / 1e6:.0f} MB" if text.isdigit() else text


async def ready(machine: Machine) -> None:
    """The broker serves."""
    await machine.until("systemctl is-active phloem-edge", "active")
    await machine.answers()


async def memory_stream(machine: Machine, story: Story) -> None:
    """A stream in memory is larger than what the service may use."""
    before = await shown(machine)
    client = await nats.connect(f"nats://127.0.0.1:{machine.port}", connect_timeout=PATIENCE_S)
    js = client.jetstream(timeout=PATIENCE_S)
    await js.add_stream(StreamConfig(name="MEM", subjects=["mem.>"], storage=StorageType.MEMORY))
    stored, refused = 0, ""
    while not refused and stored < MAX_MB << 10:
        each = await asyncio.gather(
            *(js.publish(f"mem.{number % 8}", bytes(1000)) for number in range(200)), return_exceptions=True
        )
        stored += sum(not isinstance(one, BaseException) for one in each)
        refused = next((str(one) for one in each if isinstance(one, BaseException)), "")
    after = await shown(machine)
    with contextlib.suppress(ClientError):
        await js.delete_stream("MEM")
    await client.close()
    story.step(
        "a stream in memory, without a bound of its own",
        f"{stored:,} messages of 1,000 bytes, then: {refused}; {mb(after['anon'])} of memory, "
        f"{int(after['NRestarts']) - int(before['NRestarts'])} restarts",
        well="resource limits exceeded" in refused and before["NRestarts"] == after["NRestarts"],
    )


async def slow_subscribers(machine: Machine, story: Story, kept: Acknowledged) -> None:
    """More of them than there is memory for: the kernel ends the broker, and systemd starts it."""
    before = await shown(machine)
    peers = []
    for _ in range(SLOW):
        reader, writer = await asyncio.open_connection("127.0.0.1", machine.port, limit=1 << 10)
        writer.write(b'CONNECT {"verbose":false}\r\nSUB flood 1\r\n')
        peers.append((reader, writer))

    async def flood() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", machine.port)
        writer.write(b'CONNECT {"verbose":false}\r\n')
        message = b"PUB flood 8000\r\n" + bytes(8000) + b"\r\n"
        with contextlib.suppress(OSError):
            for _ in range(1500):
                writer.write(message)
                await writer.drain()
        writer.close()

    count = await kept.publish(machine, flood)
    await ready(machine)
    for _, writer in peers:
        writer.close()
    after = await shown(machine)
    restarts = int(after["NRestarts"]) - int(before["NRestarts"])
    said = await machine.run(
        "journalctl -q -o cat -u phloem-edge --grep='oom|killed|Slow Consumer' | tail -2"
    )
    story.step(
        f"{SLOW} subscribers that never read, and 12 MB for each",
        f"{restarts} restarts; {count:,} acknowledged meanwhile; the journal: {'; '.join(said.splitlines())}",
        well=restarts <= 1,
    )
    await kept.look(machine, story, "after it")


async def flood_of_files(machine: Machine, story: Story, kept: Acknowledged, what: str, for_s: float) -> None:
    """As much as it takes, into a stream on the disk."""
    before = await shown(machine)
    count = await kept.publish(machine, lambda: asyncio.sleep(for_s))
    after = await shown(machine)
    story.step(
        what,
        f"{count:,} acknowledged in {for_s:.0f} s, {mb(after['anon'])} of memory, at most {mb(after['peak'])} "
        f"with files; {int(after['NRestarts']) - int(before['NRestarts'])} restarts",
        well=count > 0 and before["NRestarts"] == after["NRestarts"],
    )


async def refuses_to_start(
    machine: Machine, story: Story, unit: str, lines: str, within: Callable[[str], str]
) -> None:
    """Too little to start with: it says so, again and again, and starts when there is enough."""
    await drop_in(machine, lines, unit)
    await machine.until(f"systemctl show -p NRestarts --value {unit} | grep -q '[1-9]' && echo fell", "fell")
    said = await machine.run(f"journalctl -q -o cat -n 30 -u {unit}")
    await drop_in(machine, "", unit)
    took = await machine.until(f"systemctl is-active {unit}", "active")
    story.step(f"{unit} with {lines}", f"{within(said)}; active {took:.0f} s after the limit was lifted")


def last_with(*words: str) -> Callable[[str], str]:
    """The last line that has one of them."""

    def find(said: str) -> str:
        lines = [line for line in said.splitlines() if any(word in line for word in words)]
        return lines[-1] if lines else f"it does not say ({said.splitlines()[-1] if said else ''})"

    return find


async def few_tasks(machine: Machine, story: Story, kept: Acknowledged) -> None:
    """One less than a broker has: it ends in spite of it, starts, serves until a generation is to be moved, and goes
    on when there is a thread again."""
    await drop_in(machine, f"TasksMax={TASKS}")
    await ready(machine)
    count = await kept.publish(machine, lambda: asyncio.sleep(20))
    after = await shown(machine)
    said = await machine.run(
        "journalctl -q -o cat -u phloem-edge --grep='timed out|cannot begin' | tail -1; "
        f"rm {DROP_IN.format(unit='phloem-edge.service')}; systemctl daemon-reload"
    )
    story.step(
        f"TasksMax={TASKS}",
        f"{count:,} acknowledged in 20 s with {after['TasksCurrent']} tasks, {after['NRestarts']} restarts; {said}",
        well=count > 0 and "timed out" not in said,
    )
    async with asyncio.timeout(PATIENCE_S):
        while not await kept.publish(machine, lambda: asyncio.sleep(2)):
            pass  # as on a full disk until then
    await kept.look(machine, story, "when it has threads again, without a restart")


async def too_little(machine: Machine, story: Story, kept: Acknowledged) -> None:
    """Memory, for the bridge to start with, which costs nobody but the bridge."""
    edge = await shown(machine)
    await refuses_to_start(
        machine,
        story,
        "phloem-bridge.service",
        "MemoryMax=8M\\nMemorySwapMax=0",
        last_with("oom", "killed"),
    )
    after = await shown(machine)
    story.step("the broker meanwhile", f"{int(after['NRestarts']) - int(edge['NRestarts'])} restarts",
               well=edge["NRestarts"] == after["NRestarts"])  # fmt: skip
    await kept.look(machine, story, "at the end")


async def scenario(place: Place, story: Story) -> None:
    """All of it."""
    disk, console = place.folder / "disk.img", place.folder / "limits.log"
    image.make(place.cache, place.product, disk, prepare=with_shell)
    kept = Acknowledged()
    with Machine(image.base(place.cache), disk, console) as machine:
        await machine.answers()
        idle = await shown(machine)
        story.step(
            "as installed, nobody connected", f"{mb(idle['anon'])} of memory, {idle['TasksCurrent']} tasks"
        )
        await make_stream(machine.port)
        await drop_in(machine, f"MemoryMax={MAX_MB}M")
        await ready(machine)
        await flood_of_files(machine, story, kept, f"a stream on the disk, MemoryMax={MAX_MB}M", 30)
        await memory_stream(machine, story)
        await slow_subscribers(machine, story, kept)
        await drop_in(machine, "")
        await ready(machine)
        await machine.run(f"systemctl set-property --runtime phloem-edge CPUQuota={QUOTA}")
        await flood_of_files(machine, story, kept, f"CPUQuota={QUOTA}", 40)
        await machine.run("systemctl set-property --runtime phloem-edge CPUQuota=")
        await few_tasks(machine, story, kept)
        await too_little(machine, story, kept)

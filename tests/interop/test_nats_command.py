"""The ``nats`` command against both servers: the same words in, the same words out.

It runs where the command is installed. Times, sizes of what is packed and addresses are masked, and what Go prints in
the order of a map is not in the lists. A scene is a list of commands that build on one another.
"""

import asyncio
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.phloem_server import PhloemServer
from tests.support.real_server import RealServer
from tests.support.server_process import ServerProcess

NATS = shutil.which("nats")
pytestmark = pytest.mark.skipif(NATS is None, reason="the nats command is not on PATH")
COMMAND_S = 60
MASKS = [
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?( \+0000 UTC)?", "TIME"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "CLOCK"),
    (r"\d+(\.\d+)?\s?(µs|ms|ns)\b", "SPAN"),
    (r"\b(\d+h)?(\d+m)?\d+(\.\d+)?s\b", "SPAN"),
    (r"\$JS\.ACK\S+", "ACK"),
    (r"time=\S+", "time=SPAN"),
    (r"(?m)^.*done!.*$|\r|.*\d% [║░].*\n?", ""),
    (r"[\d.]+ [KM]?i?B (compressed|uncompressed)", "SIZE"),
    (r" +", " "),
    (r"[─━═]+", "─"),
]
SCENES = {
    "streams": """
        stream add ORDERS --subjects=orders.> --max-msgs=100 --max-bytes=1MB --max-age=1h --max-msg-size=10KB \
            --dupe-window=1m --allow-rollup --description=desc --metadata=a:b --defaults
        stream add WORK --subjects=work.* --retention=work --storage=memory --defaults
        stream add INT --subjects=int.* --retention=interest --allow-msg-ttl --compression=s2 --defaults
        stream ls
        stream ls --names
        stream find --subject=orders.new
        stream info NONE
        publish orders.new "msg {{Count}}" --count=5 --jetstream
        publish orders.new hello -H A:b --jetstream
        publish orders.old old --jetstream
        stream info ORDERS
        stream state ORDERS
        stream subjects ORDERS
        stream report
        stream get ORDERS 3
        stream get ORDERS -S orders.old
        stream get ORDERS 99
        stream edit ORDERS --max-msgs=50 --description=changed -f
        stream edit ORDERS --storage=memory -f
        stream rmm ORDERS 2 -f
        stream rmm ORDERS 2 -f
        stream gaps ORDERS
        stream copy ORDERS COPY --subjects=copy.>
        stream copy ORDERS BAD
        stream purge ORDERS --subject=orders.old --keep=1 -f
        stream purge ORDERS --seq=3 -f
        stream seal WORK -f
        publish work.x x --jetstream
        server check stream --stream=ORDERS
        server check jetstream
        stream rm ORDERS -f
        stream rm ORDERS -f""",
    "consumers": """
        stream add S --subjects=s.> --defaults
        publish s.a "msg {{Count}}" --count=9 --jetstream
        consumer add S PULL --pull --ack=explicit --deliver=all --filter=s.> --max-deliver=5 --wait=30s --defaults
        consumer add S PUSH --target=push.x --ack=none --deliver=last --heartbeat=5s --flow-control --defaults
        consumer add S BACK --pull --backoff=linear --backoff-steps=3 --backoff-min=1m --backoff-max=10m \
            --max-deliver=5 --defaults
        consumer add S PINNED --pull --priority-policy=pinned_client --pinned-groups=g1 --pinned-ttl=30s --defaults
        consumer add S PULL --pull --deliver=new --defaults
        consumer ls S
        consumer info S PULL
        consumer info S BACK
        consumer info S NONE
        consumer next S PULL --count=2 --ack
        consumer next S PULL --no-ack
        consumer next S PULL --nak
        consumer next S PULL --term
        consumer next S NONE
        consumer state S PULL
        consumer edit S PULL --max-deliver=7 --description=new -f
        consumer edit S PULL --ack=none -f
        consumer copy S PULL PULL2 --filter=s.a
        consumer pause S BACK 1h -f
        consumer resume S BACK -f
        consumer resume S BACK -f
        consumer reset S PULL -f
        consumer reset S PULL 3 -f
        consumer report S
        server check consumer --stream=S --consumer=PULL
        consumer rm S PULL2 -f
        consumer rm S PULL2 -f""",
    "buckets": """
        kv add B --history=5 --ttl=1h --max-value-size=1KB --max-bucket-size=1MB --description=kvd
        kv add T --marker-ttl=1m
        kv put B a 1
        kv put B a 2
        kv put B b.c 3
        kv create B a 9
        kv create B new 9
        kv create T key v --ttl=1h
        kv update B a 5 2
        kv update B a 5 2
        kv get B a
        kv get B a --revision=1
        kv get B none
        kv history B a
        kv ls B
        kv ls
        kv info B
        kv info T
        kv edit B --history=7
        kv revert B a 1 -f
        kv del B b.c -f
        kv purge B new -f
        kv history B new
        kv compact B -f
        server check kv --bucket=B --key=a
        kv del T -f
        kv del T -f""",
    "objects": """
        object add O --description=od --ttl=1h --max-bucket-size=100MB
        object put O @FILE@ --name=big/file --description=x -H K:V --no-progress -f
        object put O @FILE@ --name=second --no-progress -f
        object ls
        object ls O
        object info O
        object info O big/file
        object get O second --output=@OUT@ --no-progress -f
        object get O none --output=@OUT@ --no-progress -f
        object del O second -f
        object edit O --description=new
        object seal O -f
        object put O @FILE@ --name=third --no-progress -f
        object del O -f""",
    "the rest": """
        stream add CNT --subjects=cnt.> --allow-counter --allow-direct --defaults
        counter increment cnt.a 5
        counter increment cnt.a 7
        counter decrement cnt.a 3
        counter get cnt.a
        counter view cnt.a
        counter list CNT
        counter get cnt.none
        stream add SCHED --subjects=sched.> --allow-schedules --allow-msg-ttl --defaults
        publish sched.x hello --jetstream -H "Nats-Schedule:@at 2090-01-01T00:00:00Z" -H Nats-Schedule-Target:sched.t
        stream info SCHED
        backup stream CNT @OUT@.backup
        stream rm CNT -f
        backup restore @OUT@.backup
        counter get cnt.a
        stream info CNT""",
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    made: list[ServerProcess] = []
    try:
        for kind in (RealServer, PhloemServer):
            folder = tmp_path_factory.mktemp(kind.__name__)
            made.append(kind(f'server_name: ONE\njetstream {{ store_dir: "{folder}/js" }}\n', folder))
        yield made
    finally:
        for server in made:
            server.stop()


def masked(text: str, folder: Path, port: int) -> str:
    text = text.replace(str(folder), "FOLDER").replace(str(port), "PORT")
    for pattern, instead in MASKS:
        text = re.sub(pattern, instead, text)
    return text


async def said(server: ServerProcess, folder: Path, command: str) -> str:
    """What the command prints, and its exit code."""
    port, assigned = server.port("nats"), command
    for name, path in (("@FILE@", folder / "file"), ("@OUT@", folder / "out")):
        assigned = assigned.replace(name, str(path))
    home = {
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "200",
    }
    process = await asyncio.create_subprocess_exec(
        str(NATS),
        *("-s", f"nats://127.0.0.1:{port}"),
        *shlex.split(assigned),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=home,
    )
    async with asyncio.timeout(COMMAND_S):
        out, _ = await process.communicate()
    return f"$ {command}\n{masked(out.decode(errors='replace'), folder, port)}\nexit {process.returncode}\n"


@pytest.mark.parametrize("scene", SCENES)
async def test_scene(servers: list[ServerProcess], tmp_path: Path, scene: str) -> None:
    folders = [tmp_path / name for name in ("real", "ours")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_bytes(bytes(range(256)) * 8000)
    for command in SCENES[scene].replace("\\\n", " ").strip().splitlines():
        real, ours = await asyncio.gather(*map(said, servers, folders, [command.strip()] * 2))
        assert ours == real
    if scene == "objects":
        assert (folders[1] / "out").read_bytes() == (folders[1] / "file").read_bytes()
    for server, folder in zip(servers, folders, strict=True):
        names = (await said(server, folder, "stream ls --names -a")).splitlines()[1:]
        for name in names:
            if name and not name.startswith(("exit", "No Streams")):
                await said(server, folder, f"stream rm {name.strip()} -f")

"""The loads of JetStream: what is measured and what is wanted, beside those of ``loads``.

128 B payloads, file storage where nothing else is said. The candidate acknowledges what is on the disk;
which baseline it stands beside, nats-server's default or ``sync_interval: always``, is in the title.
"""

import json

from tests.bench.loads import Kind, Load, Row, Scene
from tests.bench.ratios import Goal, Unit

PAYLOAD_BYTES = 128
SIZE = f"--size {PAYLOAD_BYTES}"
MANY = 1_000_000
LARGE_MESSAGES, LARGE_SUBJECTS = 10_000_000, 1_000_000


def _stream(name: str, subjects: str, **settings: object) -> str:
    return json.dumps({"name": name, "subjects": [subjects], "storage": "file"} | settings)


BENCH = _stream("bench", "bench.>")
BUCKET = _stream(
    "KV_load",
    "$KV.load.>",
    max_msgs_per_subject=1,
    allow_rollup_hdrs=True,
    deny_delete=True,
    allow_direct=True,
    discard="new",
    duplicate_window=120_000_000_000,
)
KEYED = f"--stream KV_load --subject $KV.load --keys {MANY} {SIZE}"
FILL = f"js-pub --messages {MANY} --window 1000"

PUBLISH = Scene("publish", (BENCH,))
PUBLISH_ALWAYS = Scene("publish-always", (BENCH,), sync_interval="always")
PUBLISH_MEMORY = Scene("publish-memory", (_stream("bench", "bench.>", storage="memory"),))
CONSUME = Scene("consume", (BENCH,), (f"{FILL} {SIZE}",))
BUCKET_FULL = Scene("kv", (BUCKET,), (f"{FILL} {KEYED}",))
LARGE = Scene("large", (BENCH,))
ENCRYPTED = Scene("encrypted", (BENCH,), cipher="chacha")
CONSUME_ENCRYPTED = Scene("consume-encrypted", (BENCH,), (f"{FILL} {SIZE}",), cipher="chacha")
BUCKET_ENCRYPTED = Scene("kv-encrypted", (BUCKET,), (f"{FILL} {KEYED}",), cipher="chacha")


def _rate(
    name: str, title: str, arguments: str, messages: int, goal: float, figure: str, scene: Scene
) -> Load:
    row = Row(name, title, figure, Unit.PER_SECOND, Goal(at_least=goal))
    is_bounded = scene in (CONSUME, CONSUME_ENCRYPTED)
    return Load(
        name,
        tuple(arguments.split()),
        messages,
        (row,),
        scene=scene,
        messages_max=MANY if is_bounded else None,
    )


def _publish(name: str, title: str, arguments: str, messages: int, goal: float, scene: Scene) -> Load:
    return _rate(name, title, f"js-pub {arguments}", messages, goal, "requests_per_s", scene)


def _consume(name: str, title: str, arguments: str, goal: float) -> Load:
    return _rate(name, title, f"{arguments} {SIZE}", 30_000, goal, "delivered_per_s", CONSUME)


def _paced(rate: int, seconds: int, goal_bytes: int) -> Load:
    """Paced by the clock: what arrives while a sync is under way is decided by the rate, not by the window."""
    name = f"js-written-{rate}"
    title = f"written/msg, {rate:,} msg/s"
    goal = Goal(at_most=goal_bytes, unit=Unit.BYTES)
    scene = Scene(name, (BENCH,), sync_interval="always")
    row = Row(name, title, "written_per_message", Unit.BYTES, goal)
    arguments = ("js-pub", "--window", "1000", "--rate", str(rate), "--seconds", str(seconds), *SIZE.split())
    return Load(name, arguments, rate * seconds, (row,), kind=Kind.WRITTEN, scene=scene, is_long=True)


_LARGE_ROWS = (
    Row(
        "js-open",
        "open 10 M, to 1st message",
        "open_s",
        Unit.SECONDS,
        Goal(at_most=1.0, unit=Unit.SECONDS),
    ),
    Row("js-open-ratio", "same, against nats-server", "open_s", Unit.SECONDS, Goal(at_most=1.0)),
    Row("js-open-ready", "same, from ready on", "from_ready_s", Unit.SECONDS, Goal(at_most=1.0)),
    Row("js-open-killed", "same, after kill -9", "open_killed_s", Unit.SECONDS, Goal(at_most=1.0)),
    Row("js-disk", "disk/msg, 10 M of 128 B", "disk_per_message", Unit.BYTES, Goal(at_most=1.0)),
    Row("js-resident", "memory, 10 M, 1 M subjects", "resident_mb", Unit.MEGABYTES, Goal(at_most=0.5)),
    Row("js-anonymous", "of it not file-backed", "anonymous_mb", Unit.MEGABYTES, Goal(at_most=0.5)),
)

STREAM_LOADS = (
    _publish("js-pub", "publish, 1,000 in flight", f"--window 1000 {SIZE}", 20_000, 1.3, PUBLISH),
    _publish(
        "js-pub-always",
        "same, against sync always",
        f"--window 1000 {SIZE}",
        1_000,
        50.0,
        PUBLISH_ALWAYS,
    ),
    _publish(
        "js-pub-ids",
        "publish with message ids",
        f"--ids --window 1000 {SIZE}",
        20_000,
        1.3,
        PUBLISH,
    ),
    Load(
        "js-pub-1",
        ("js-pub", "--window", "1", *SIZE.split()),
        500,
        (
            Row(
                "js-pub-1",
                "publish one by one, always",
                "requests_per_s",
                Unit.PER_SECOND,
                Goal(at_least=1.2),
            ),
            Row("js-pub-1-p50", "same, median", "p50_us", Unit.MICROSECONDS, Goal(at_most=0.83)),
            Row("js-pub-1-p99", "same, p99", "p99_us", Unit.MICROSECONDS, Goal(at_most=1.0)),
        ),
        scene=PUBLISH_ALWAYS,
    ),
    _publish(
        "js-pub-memory",
        "publish to memory, 1,000",
        f"--window 1000 {SIZE}",
        20_000,
        1.5,
        PUBLISH_MEMORY,
    ),
    _consume("js-pull", "pull 500, explicit acks", "js-pull --batch 500", 1.5),
    _consume("js-push", "push, explicit acks", "js-push", 1.5),
    _consume(
        "js-push-fc",
        "push, 65,536 unacked, fc",
        "js-push --max-ack-pending 65536 --flow-control",
        1.5,
    ),
    _publish("js-kv-put", "KV put, 1 M keys", f"--window 1000 --random {KEYED}", 10_000, 1.5, BUCKET_FULL),
    _rate(
        "js-kv-get",
        "KV get, 32 in flight",
        f"js-get --window 32 --random {KEYED}",
        10_000,
        1.5,
        "requests_per_s",
        BUCKET_FULL,
    ),
    Load(
        "js-kv-get-1",
        ("js-get", "--window", "1", "--random", *KEYED.split()),
        2_000,
        (Row("js-kv-get-1", "KV get one by one, median", "p50_us", Unit.MICROSECONDS, Goal(at_most=0.67)),),
        scene=BUCKET_FULL,
    ),
    Load(
        "js-kv-watch",
        tuple(
            f"js-push --no-acks --flow-control --policy last_per_subject --filter $KV.load.> {KEYED}".split()
        ),
        MANY,
        (Row("js-kv-watch", "KV watch, 1 M keys", "delivered_per_s", Unit.PER_SECOND, Goal(at_least=1.5)),),
        kind=Kind.WHOLE,
        scene=BUCKET_FULL,
    ),
    _rate(
        "js-filter",
        "filter 1 in 1,000 of 1 M",
        f"js-filter --no-acks --flow-control {KEYED}",
        1,
        1.5,
        "delivered_per_s",
        BUCKET_FULL,
    ),
    _publish("js-pub-chacha", "publish, 1,000, encrypted", f"--window 1000 {SIZE}", 20_000, 1.3, ENCRYPTED),
    _rate(
        "js-pull-chacha",
        "pull 500, encrypted",
        f"js-pull --batch 500 {SIZE}",
        30_000,
        1.5,
        "delivered_per_s",
        CONSUME_ENCRYPTED,
    ),
    _publish(
        "js-kv-put-chacha",
        "KV put, 1 M keys, encrypted",
        f"--window 1000 --random {KEYED}",
        10_000,
        1.5,
        BUCKET_ENCRYPTED,
    ),
    _rate(
        "js-kv-get-chacha",
        "KV get, 32, encrypted",
        f"js-get --window 32 --random {KEYED}",
        10_000,
        1.5,
        "requests_per_s",
        BUCKET_ENCRYPTED,
    ),
    _rate(
        "js-filter-chacha",
        "filter 1 in 1,000, encrypted",
        f"js-filter --no-acks --flow-control {KEYED}",
        1,
        1.5,
        "delivered_per_s",
        BUCKET_ENCRYPTED,
    ),
    _paced(1, 30, 8 * 1024),
    _paced(10_000, 10, 3 * PAYLOAD_BYTES),
    Load(
        "js-large",
        (
            "js-pub",
            "--window",
            "1000",
            "--subject",
            "bench.data",
            "--keys",
            str(LARGE_SUBJECTS),
            *SIZE.split(),
        ),
        LARGE_MESSAGES,
        _LARGE_ROWS,
        kind=Kind.LARGE,
        scene=LARGE,
        is_long=True,
    ),
)

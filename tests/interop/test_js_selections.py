"""What is taken of an origin behind a link: where it begins, which subjects, under what name, by which way."""

import asyncio
from typing import Any

from tests.interop.pairs import BOTH_WAYS, IN_EVERY_PAIRING, Pair, fresh, until
from tests.interop.taking import ask, bodies

pytestmark = [IN_EVERY_PAIRING, BOTH_WAYS]


async def test_selections(pair: Pair, up: bool) -> None:
    here, there = pair.sides(up)
    js, far = await here.js(), await there.js()
    name = fresh("O")
    await far.add_stream(name=name, subjects=[f"{name}.>"])
    for number in range(12):
        await far.publish(f"{name}.{'abc'[number % 3]}.{number}", b"%d" % number)
    sixth = (await ask(far, f"STREAM.MSG.GET.{name}", {"seq": 6}))["message"]["time"]
    deliver = fresh("dlv")
    selections: dict[str, tuple[dict[str, Any], list[int]]] = {
        "sequence": ({"opt_start_seq": 9}, [8, 9, 10, 11]),
        "time": ({"opt_start_time": sixth}, [5, 6, 7, 8, 9, 10, 11]),
        "filter": ({"filter_subject": f"{name}.b.*"}, [1, 4, 7, 10]),
        "filter from a sequence": ({"filter_subject": f"{name}.b.*", "opt_start_seq": 6}, [7, 10]),
        "transform": (
            {"subject_transforms": [{"src": f"{name}.a.*", "dest": f"{name}.new.{{{{wildcard(1)}}}}"}]},
            [0, 3, 6, 9],
        ),
        "transforms": (
            {
                "subject_transforms": [
                    {"src": f"{name}.{one}.*", "dest": f"{name}.x.{one}.$1"} for one in "ac"
                ]
            },
            [0, 2, 3, 5, 6, 8, 9, 11],
        ),
        "prefix": (
            {"external": {"api": f"$JS.{there.domain}.API", "deliver": f"{deliver}.p"}},
            list(range(12)),
        ),
    }

    async def take(kind: str, selection: str) -> None:
        more, wanted = selections[selection]
        target = fresh("T")
        source = {"name": name, "external": {"api": f"$JS.{there.domain}.API", "deliver": ""}, **more}
        taking = {"mirror": source} if kind == "mirror" else {"sources": [source]}
        await ask(js, f"STREAM.CREATE.{target}", {"name": target, **taking})
        await until(lambda: js.stream_info(target), lambda info: info.state.messages >= len(wanted))
        got = await bodies(js, target)
        assert [int(body) for _, body in got] == wanted, (kind, selection)
        for subject, body in got:
            letter = "abc"[int(body) % 3]
            new = {"transform": "new", "transforms": f"x.{letter}"}.get(selection, letter)
            assert subject == f"{name}.{new}.{int(body)}", (kind, selection)
        if kind == "mirror":
            state = (await js.stream_info(target)).state
            assert state.last_seq >= wanted[-1] + 1
            assert (await js.get_msg(target, wanted[0] + 1)).data == b"%d" % wanted[0]

    await asyncio.gather(
        *(take(kind, selection) for kind in ("mirror", "source") for selection in selections)
    )


async def test_several_origins(pair: Pair, up: bool) -> None:
    here, there = pair.sides(up)
    js, far = await here.js(), await there.js()
    names, target = [fresh("O"), fresh("O")], fresh("T")
    for name in names:
        await far.add_stream(name=name, subjects=[f"{name}.>"])
        await far.publish(f"{name}.a", b"x")
    external = {"api": f"$JS.{there.domain}.API", "deliver": ""}
    sources = [{"name": name, "external": external} for name in names]
    await ask(js, f"STREAM.CREATE.{target}", {"name": target, "sources": sources})
    await until(lambda: js.stream_info(target), lambda info: info.state.messages == 2)
    assert {subject for subject, _ in await bodies(js, target)} == {f"{name}.a" for name in names}
    for name in names:
        await far.publish(f"{name}.b", b"y")
    await until(lambda: js.stream_info(target), lambda info: info.state.messages == 4)

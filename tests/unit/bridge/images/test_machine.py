"""The machine of a port's firmware: its way, and cuts at every step of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.bridge.images.world import OLD, World, target

from phloem.firmware_bridge.images import limits
from phloem.firmware_bridge.images.machine import Check, Fetch, Flashed, Machine, Proof, Stop
from phloem.firmware_bridge.images.record import ENDED, Record, State

KINDS = {
    "edgelink": (Proof.HELLO, False, True),
    "tool and hello": (Proof.HELLO, True, True),
    "tool that looks": (Proof.TOOL, True, False),
    "tool alone": (Proof.EXIT, True, False),
}
PROVES = [kind for kind in KINDS if kind != "tool alone"]


def world(kind: str) -> World:
    proof, tool, hears = KINDS[kind]
    return World(proof, tool=tool, hears=hears)


@pytest.mark.parametrize("kind", KINDS)
def test_the_way_of_an_image(kind: str) -> None:
    w = world(kind)
    w.put(target(1))
    w.run()
    names = [state.value for state in dict.fromkeys(w.states)]
    rebooting = [] if kind == "edgelink" else ["rebooting"]
    assert names == ["queued", "downloading", "verifying", "flashing", *rebooting, "done"]
    assert (w.board.runs, w.board.flashes) == ("1", ["1"])
    w.cut()
    w.run()
    assert w.board.flashes == ["1"], "it is done once"


@pytest.mark.parametrize("kind", PROVES)
def test_rolled_back_to_the_last_good_image(kind: str) -> None:
    w = world(kind)
    w.put(target(1))
    w.run()
    w.board.dies = {"2"}
    w.put(target(2))
    w.run()
    assert (w.disk.state, w.board.runs) == (State.ROLLED_BACK, "1")
    assert w.disk.why
    assert w.disk.good == target(1)
    w.look()
    w.run()
    assert w.board.flashes.count("2") == 1, "not again until it is put again"
    w.put(target(3))
    w.run()
    assert (w.disk.state, w.board.runs) == (State.DONE, "3")


def test_without_a_former_image_it_is_said_that_it_failed() -> None:
    w = world("tool that looks")
    w.board.dies = {"1"}
    w.put(target(1))
    w.run()
    assert (w.disk.state, w.disk.why) == (State.FAILED, "it does not run; there is no former image")


def test_what_is_not_signed_is_not_fetched() -> None:
    w = world("edgelink")
    w.put(target(1, refused="nobody signed it"))
    w.run()
    assert w.states == [State.FAILED]
    assert w.disk.why == "nobody signed it"


def test_what_is_damaged_is_not_flashed() -> None:
    w = world("edgelink")
    w.damaged = {"sha1"}
    w.put(target(1))
    w.run()
    assert (w.disk.state, w.board.flashes, w.files) == (State.FAILED, [], {})


def test_it_waits_for_the_board() -> None:
    w = world("edgelink")
    w.leave()
    w.put(target(1))
    w.run()
    assert (w.disk.state, w.disk.why) == (State.QUEUED, "waits for the board")
    w.come()
    w.run()
    assert w.disk.state == State.DONE


def test_a_board_that_runs_it_is_not_flashed() -> None:
    w = world("edgelink")
    w.board.runs = "1"
    w.say_hello()
    w.put(target(1))
    w.run()
    assert (w.disk.state, w.board.flashes, w.disk.good) == (State.DONE, [], target(1))


def test_another_image_ends_a_download_at_once_and_waits_for_a_flash() -> None:
    machine = Machine(Record(), proof=Proof.HELLO, tool=False, hears=True)
    machine.present(OLD, 0)
    assert Fetch(target(1)) in machine.wanted(target(1), 0)
    effects = machine.wanted(target(2), 0)
    assert (effects[0], effects[-1]) == (Stop(), Fetch(target(2)))
    assert Check(target(2)) in machine.fetched()
    machine.checked("", 0)
    assert machine.wanted(target(3), 0) == []
    assert Fetch(target(3)) in machine.flashed(Flashed.PROVEN, "", 0)


def test_taken_out_of_the_bucket() -> None:
    w = world("edgelink")
    w.put(target(1))
    for _ in range(3):
        w.step()
    w.put(None)
    w.run()
    assert (w.disk.state, w.disk.target) == (State.NONE, None)
    w.put(target(2))
    w.run()
    w.put(None)
    w.run()
    assert w.disk.state == State.DONE, "what runs goes on running"


def test_an_image_that_the_board_dies_of_each_time_is_given_up() -> None:
    w = world("edgelink")
    w.put(target(1))
    for _ in range(3 * limits.TRIES_MAX):
        while not w.idle and not (w.board.flashes and w.work):
            w.step()
        w.leave()
        w.come()
    w.run()
    assert (w.disk.state, len(w.board.flashes)) == (State.FAILED, limits.TRIES_MAX)


def test_a_board_that_comes_back_late_with_the_old_image_after_a_cut() -> None:
    w = world("edgelink")
    w.disk = Record(State.REBOOTING, target(1), target(7))
    w.bucket = target(1)
    w.cut()
    assert w.disk.state == State.REBOOTING, "perhaps it starts just now"
    w.run()
    assert (w.disk.state, w.disk.why) == (State.ROLLED_BACK, "the board came back with 0")
    w.disk = Record(State.REBOOTING, target(1), target(7))
    w.board.runs = "1"
    w.cut()
    w.run()
    assert w.disk.state == State.DONE


@pytest.mark.parametrize(
    ("kind", "bad"), [(kind, bad) for kind in KINDS for bad in (False, True) if not bad or kind in PROVES]
)
def test_a_cut_at_every_step(kind: str, bad: bool) -> None:
    """Wherever the power goes, twice: the image runs in the end, or the former one does."""
    steps = 0
    while True:
        for again in (0, 1, 2, 5):
            w = world(kind)
            w.put(target(1))
            w.run()
            w.board.dies = {"2"} if bad else set()
            w.put(target(2))
            for _ in range(steps):
                w.step()
            whole = w.idle
            w.cut()
            for _ in range(again):
                w.step()
            w.cut()
            w.run()
            if bad:
                assert (w.disk.state, w.board.runs) == (State.ROLLED_BACK, "1")
            else:
                assert (w.disk.state, w.board.runs) == (State.DONE, "2")
        if whole:
            return
        steps += 1


EVENTS = st.lists(
    st.one_of(
        st.just(("step", 0)),
        st.just(("step", 0)),
        st.just(("step", 0)),
        st.just(("cut", 0)),
        st.just(("leave", 0)),
        st.just(("come", 0)),
        st.just(("wait", 0)),
        st.tuples(st.just("put"), st.integers(1, 4)),
        st.tuples(st.just("refused"), st.integers(5, 6)),
        st.just(("take out", 0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PROVES), EVENTS, st.sets(st.integers(2, 4)), st.sets(st.integers(2, 4)))
def test_whatever_happens(
    kind: str, events: list[tuple[str, int]], dies: set[int], damaged: set[int]
) -> None:
    """In the end the board runs what was wanted or the last good image, and the disk says which."""
    w = world(kind)
    w.put(target(1))
    w.run()
    assert w.disk.state == State.DONE
    w.board.dies = {str(number) for number in dies}
    w.damaged = {f"sha{number}" for number in damaged}
    puts = 0
    for what, number in events:
        match what:
            case "step":
                w.step()
            case "cut":
                w.cut()
            case "leave" if w.board.there:
                w.leave()
            case "come" if not w.board.there:
                w.come()
            case "wait":
                w.wait()
            case "put" | "refused":
                puts += 1
                refused = "no" if what == "refused" else ""
                wanted = target(number, refused=refused)
                w.put(type(wanted)(f"{puts}.{number}", wanted.version, 100, wanted.sha256, refused))
            case "take out":
                w.put(None)
    if not w.board.there:
        w.come()
    w.look()
    w.run()
    record = w.disk
    assert record.state in ENDED
    assert len(w.board.flashes) <= 2 * limits.TRIES_MAX * (puts + 1)
    if record.state == State.DONE:
        assert record.target is not None
        assert w.board.runs == record.target.version
    if record.state in (State.DONE, State.ROLLED_BACK):
        assert record.good is not None
        assert w.board.runs == record.good.version
    if w.bucket is not None:
        assert record.target is not None
        assert record.target.ident == w.bucket.ident
        if not w.bucket.refused and not dies and not damaged:
            assert record.state == State.DONE

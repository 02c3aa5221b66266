"""Thousands of seconds of both ends over bad lines; ``stories.py`` says what has to hold."""

import pytest
from tests.unit.bridge.edgelink.stories import Faults, World

KINDS = {
    "good lines": Faults(),
    "bits": Faults(bit=1e-3),
    "bytes lost and doubled": Faults(lost=3e-3, twice=3e-3),
    "boards reset": Faults(bit=2e-4, reset_board=0.3, chatter=0.3),
    "the host restarts": Faults(bit=2e-4, restart_host=0.3),
    "the stream fails": Faults(stream_fails=0.3, restart_host=0.1),
    "frames are gone": Faults(thief=0.2, restart_host=0.05),
    "what is forwarded is given back": Faults(bit=5e-4, reset_board=0.2, forwards=0.5),
    "rings lose their end": Faults(bit=5e-4, lost=1e-3, forgets=0.4, stream_fails=0.1),
    "all at once": Faults(5e-4, 1e-3, 1e-3, 0.1, 0.1, 0.2, 0.0, 0.1, 0.2),
}


@pytest.mark.parametrize("survives", [False, True], ids=["RAM", "FRAM"])
@pytest.mark.parametrize("kind", KINDS)
def test_stories(kind: str, survives: bool) -> None:
    for seed in range(3):
        World(seed, KINDS[kind], survives=survives).run()


@pytest.mark.parametrize("survives", [False, True], ids=["RAM", "FRAM"])
@pytest.mark.parametrize("kind", KINDS)
def test_stories_of_a_stream_in_the_same_process(kind: str, survives: bool) -> None:
    for seed in range(3):
        World(seed, KINDS[kind], survives=survives, here=True).run()


@pytest.mark.parametrize("survives", [False, True], ids=["RAM", "FRAM"])
@pytest.mark.parametrize("kind", KINDS)
def test_stories_of_groups_that_follow_each_other(kind: str, survives: bool) -> None:
    followed = 0
    for seed in range(3):
        world = World(seed, KINDS[kind], survives=survives, boards=1 + seed % 2, far=True)
        world.run()
        assert world.far is not None
        followed += world.far.followed
    assert followed > 10


@pytest.mark.parametrize("survives", [False, True], ids=["RAM", "FRAM"])
def test_two_boards_swap_their_lines(survives: bool) -> None:
    for seed in range(3):
        faults = Faults(5e-4, 1e-3, 0.0, 0.05, 0.05, 0.1, 0.3)
        World(seed, faults, survives=survives, boards=2).run()


def test_the_oldest_are_gone_before_a_start_is_welcomed() -> None:
    """Numbers do not move by that; who takes them for moved holds one reading's time against another's."""
    for seed in (1008, 1009):
        World(seed, KINDS["all at once"], survives=bool(seed % 2)).run()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_stories(kind: str) -> None:
    for seed in range(1000, 1100):
        here, far = seed // 4 % 3 == 1, seed // 4 % 3 == 2
        World(seed, KINDS[kind], survives=bool(seed % 2), boards=1 + seed // 2 % 2, here=here, far=far).run()

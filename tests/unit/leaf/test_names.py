"""Origins: a number for each cluster name in use."""

from phloem.shared.leaf.names import Origins


def test_one_number_for_one_name() -> None:
    origins = Origins()
    assert origins.take("A") == origins.take("A") != origins.take("B")


def test_no_name_is_no_origin() -> None:
    origins = Origins()
    assert origins.take("") == 0
    origins.give_back("")
    assert origins.take("A") != 0


def test_a_name_is_kept_until_its_last_link_is_gone() -> None:
    origins = Origins()
    first = origins.take("A")
    origins.take("A")
    origins.give_back("A")
    assert origins.take("A") == first
    origins.give_back("A")
    origins.give_back("A")
    assert origins.take("B") != first
    assert origins.take("A") != first

"""``each``: a table that is one case fails where its rows would have failed as cases, and names all of them."""

import inspect

import pytest

from tests.support.rows import TIMED_OUT, each


def _even(value: int, unit: str = "") -> None:
    assert value % 2 == 0, unit


def test_every_row_that_fails_is_named() -> None:
    with pytest.raises(ExceptionGroup, match="2 of 4 rows fail") as caught:
        each("value", [1, 2, 3, 4], ids=lambda value: f"number {value}")(_even)()
    assert [error.__notes__ for error in caught.value.exceptions] == [["row: number 1"], ["row: number 3"]]
    assert "\n    row: number 1\n    row: number 3" in str(caught.value)


async def test_the_same_of_a_coroutine() -> None:
    @each(("value", "unit"), [(2, "m"), (5, "s")])
    async def even(value: int, unit: str, fixture: str) -> None:
        assert fixture == "made"
        _even(value, unit)

    assert list(inspect.signature(even).parameters) == ["fixture"]
    with pytest.raises(ExceptionGroup) as caught:
        await even(fixture="made")
    assert [error.__notes__ for error in caught.value.exceptions] == [["row: 5, 's'"]]


def test_what_pytest_calls_failed_is_a_failure_as_well() -> None:
    def raises(value: str) -> None:
        with pytest.raises(ValueError, match="literal"):
            int(value)

    with pytest.raises(BaseExceptionGroup, match="1 of 2 rows fail"):
        each("value", ["x", "1"])(raises)()


def test_a_case_that_took_too_long_is_over() -> None:
    seen: list[int] = []

    def hangs(value: int) -> None:
        seen.append(value)
        pytest.fail(f"{TIMED_OUT} (>120.0s) from pytest-timeout.")

    with pytest.raises(pytest.fail.Exception, match=TIMED_OUT):
        each("value", [1, 2])(hangs)()
    assert seen == [1]


def test_a_table_without_rows_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="without rows"):
        each("value", [])

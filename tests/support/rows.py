"""A table that one case goes through: each row as a case of its own would be, without what pytest does around one.

``pytest.mark.parametrize`` makes a case of each row, which costs milliseconds in each worker and in the process that
they report to, more than most rows take themselves. Use :func:`each` where hundreds of rows check one table and a row
leaves nothing behind that the next one could see. A case that fails names all rows that do, each with its own error.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

ID_LENGTH = 100
TIMED_OUT = "Timeout"  # how pytest-timeout's words begin; it looks after a whole case, and only once
Test = Callable[..., Any]


def each(
    names: str | tuple[str, ...], rows: Iterable[Any], ids: Callable[[Any], object] = repr
) -> Callable[[Test], Test]:
    """The test takes these arguments of each row, in order; everything else that it takes are fixtures, made once.

    ``names`` is one name and a row one value, or both are tuples. ``ids`` says what a value is called in a failure.
    """
    table = list(rows)
    assert table, "a table without rows checks nothing"

    def arguments(row: Any) -> dict[str, Any]:
        return {names: row} if isinstance(names, str) else dict(zip(names, row, strict=True))

    def failed(error: BaseException, row: Any, errors: list[BaseException]) -> None:
        if isinstance(error, pytest.fail.Exception) and str(error).startswith(TIMED_OUT):
            raise error
        values = [row] if isinstance(names, str) else row
        error.add_note(f"row: {', '.join(str(ids(value)) for value in values)[:ID_LENGTH]}")
        errors.append(error)

    def tell(errors: list[BaseException]) -> None:
        if errors:
            rows = "".join(f"\n    {error.__notes__[-1]}" for error in errors)
            raise BaseExceptionGroup(f"{len(errors)} of {len(table)} rows fail{rows}", errors)

    def decorate(test: Test) -> Test:
        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def through(**fixtures: Any) -> None:
                errors: list[BaseException] = []
                for row in table:
                    try:
                        await test(**fixtures, **arguments(row))
                    except (Exception, pytest.fail.Exception) as error:
                        failed(error, row, errors)
                tell(errors)

        else:

            @functools.wraps(test)
            def through(**fixtures: Any) -> None:
                errors: list[BaseException] = []
                for row in table:
                    try:
                        test(**fixtures, **arguments(row))
                    except (Exception, pytest.fail.Exception) as error:
                        failed(error, row, errors)
                tell(errors)

        signature = inspect.signature(test)
        taken = [names] if isinstance(names, str) else names
        fixtures = [parameter for name, parameter in signature.parameters.items() if name not in taken]
        through.__signature__ = signature.replace(parameters=fixtures)  # type: ignore[attr-defined]
        return through

    return decorate

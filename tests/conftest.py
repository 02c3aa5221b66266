"""What all tests share: hypothesis finds the same examples every time, on a slow machine as well; and each file
answers for what its tests leave behind.
"""

import gc
from collections.abc import Generator

import pytest
from _pytest.unraisableexception import collect_unraisable
from hypothesis import HealthCheck, settings

settings.register_profile(
    "phloem", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("phloem")


def pytest_collection_finish() -> None:
    """What there is now stays: no collection looks at it again, which makes each one cheap."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Function, nextitem: pytest.Item | None) -> Generator[None]:
    """A socket that nobody closed is an error in its own file, not in whichever runs when it is collected."""
    yield
    if nextitem is None or nextitem.path != item.path:
        item.funcargs.clear()
        if logged := item.config.pluginmanager.get_plugin("logging-plugin"):
            for handler in (logged.caplog_handler, logged.report_handler):
                handler.reset()  # records of what went wrong hold on to sockets
        gc.collect()
        collect_unraisable(item.config)

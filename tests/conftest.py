"""What all tests share: hypothesis finds the same examples every time, on a slow machine as well; and each file
answers for what its tests leave behind. With several workers a file's tests run in one of them, so that servers that
they share are started once. What tests write is in memory where there is enough of it: thousands of waits for a disk
are no test of it, and what a power cut leaves is made from recorded writes.
"""

import gc
import os
import shutil
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.unraisableexception import collect_unraisable
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

from tests.support.compiling import compile_share
from tests.support.examples import WHOLE

PROFILES = {"phloem": 24, "long": WHOLE}  # examples; make test has a share of what make test-long looks at
for _name, _count in PROFILES.items():
    settings.register_profile(
        _name,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
        max_examples=_count,
    )
settings.load_profile("phloem")

MEMORY, MEMORY_LEAST = (
    "/dev/shm",
    4 << 30,
)  # a folder, and bytes that have to be free there; far less is used at a time
TEMPORARY = (
    "PYTEST_DEBUG_TEMPROOT"  # where pytest makes folders; PYTEST_DEBUG_TEMPROOT=/tmp keeps them on the disk
)
if (
    TEMPORARY not in os.environ
    and os.access(MEMORY, os.W_OK)
    and shutil.disk_usage(MEMORY).free > MEMORY_LEAST
):
    os.environ[TEMPORARY] = MEMORY

# Workers and the programs that tests start find what the first of them has compiled; without that, a start of phloem
# costs seconds, and so does pytest's look at every assertion.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


class ByFile(LoadGroupScheduling):
    """Hands a worker a group of tests (``xdist_group``), or those of a file and one implementation, in their order."""

    def _split_scope(self, nodeid: str) -> str:
        scope = super()._split_scope(nodeid)
        if scope != nodeid:
            return scope
        file, _, case = nodeid.partition("::")
        return f"{file} {'phloem' if '[phloem' in case else ''}"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile | None:
    """For ``--dist loadgroup``. The order stays: implementations one after the other, and small files at the end."""
    if config.getoption("dist") != "loadgroup":
        return None
    config.option.loadscopereorder = False
    return ByFile(config, log)


def _only_what_is_shown(interactor: Any) -> None:
    """A worker tells of a case in six messages, which cost both sides more than a short case itself. Of those that say
    that nothing went wrong only one is shown: that of the case, not those of its set-up and of its end.
    """
    send = interactor.sendevent

    def sendevent(name: str, **told: Any) -> None:
        data = told.get("data", {})
        idle = name == "testreport" and data["outcome"] == "passed" and data["when"] != "call"
        if not idle and name not in ("logstart", "logfinish"):
            send(name, **told)

    interactor.sendevent = sendevent


def pytest_configure(config: pytest.Config) -> None:
    if config.option.verbose > 0 or config.option.durations is not None or config.option.xmlpath:
        return  # times of set-ups are asked for, or who is at what
    for plugin in config.pluginmanager.get_plugins():
        if type(plugin).__name__ == "WorkerInteractor":  # its module has no name in a worker
            _only_what_is_shown(plugin)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Nothing of what collecting makes goes away again: the garbage collector would look at it in vain."""
    gc.disable()
    worker: dict[str, Any] | None = getattr(session.config, "workerinput", None)
    if worker is not None:
        compile_share(session.config, int(worker["workerid"].removeprefix("gw")), worker["workercount"])


def pytest_collection_finish() -> None:
    """What there is now stays: no collection looks at it again, which makes each one cheap."""
    gc.enable()
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
        gc.freeze()  # what others use as well; else each collection takes longer than the one before

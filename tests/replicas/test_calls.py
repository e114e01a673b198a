"""A place is given back whatever happens to who waited for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from replicas.calls import Arrival, CallerGone, Calls
from replicas.errors import DeadlinePassed
from replicas.loaded import load
from replicas.settings import HostSettings
from tests.support.artifacts import make_artifact

PATIENCE_SECONDS = 20.0


@pytest.fixture
def calls(tmp_path: Path) -> Calls:
    """With a single place in each lane."""
    made = make_artifact(tmp_path, items=20, dimension=4)
    loaded = load(made.path, made.manifest_sha256, search_threads=1)
    return Calls(loaded, "r1", HostSettings(home=tmp_path, answer_threads=1))


def gone() -> bool:
    return False


def broken() -> bool:
    raise RuntimeError("the socket is no socket")


@pytest.mark.parametrize(("is_awaited", "raised"), [(gone, CallerGone), (broken, RuntimeError)])
def test_who_waited_and_is_not_served_leaves_the_place(
    calls: Calls, is_awaited: Callable[[], bool], raised: type[Exception]
) -> None:
    found: list[BaseException] = []

    def wait() -> None:
        try:
            with calls.place(Arrival(time.monotonic(), is_awaited=is_awaited)):
                pass
        except (CallerGone, RuntimeError) as error:
            found.append(error)

    waiter = threading.Thread(target=wait)
    with calls.place(Arrival(time.monotonic())):
        waiter.start()
        time.sleep(0.05)
    waiter.join(PATIENCE_SECONDS)
    assert [type(error) for error in found] == [raised]
    with calls.place(Arrival(time.monotonic(), time.monotonic() + PATIENCE_SECONDS)):
        pass


def test_who_works_and_fails_gives_it_back(calls: Calls) -> None:
    with pytest.raises(ZeroDivisionError), calls.place(Arrival(time.monotonic())):
        raise ZeroDivisionError
    with calls.place(Arrival(time.monotonic(), time.monotonic() + PATIENCE_SECONDS)):
        pass


def test_who_comes_too_late_takes_none(calls: Calls) -> None:
    with pytest.raises(DeadlinePassed), calls.place(Arrival(time.monotonic(), time.monotonic() - 1)):
        pass
    with calls.place(Arrival(time.monotonic(), time.monotonic() + PATIENCE_SECONDS)):
        pass

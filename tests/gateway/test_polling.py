"""When the loop goes round without sleeping: for a lone question, for a while, on a core that nobody wants."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway import polling
from gateway.polling import Poller

LONG_SECONDS = 20.0
WAIT_SECONDS = 0.2


@pytest.fixture(autouse=True)
def nobody_wants_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test's machine is busy as a rule."""
    monkeypatch.setattr(polling, "TAKEN_SECONDS", LONG_SECONDS)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When each was gone."""
    gone: list[float] = []
    go_round = Poller._go_round

    def counted(poller: Poller) -> None:
        gone.append(time.monotonic())
        go_round(poller)

    monkeypatch.setattr(Poller, "_go_round", counted)
    return gone


async def test_a_lone_question_keeps_the_loop_awake_until_its_reply(rounds: list[float]) -> None:
    with Poller(LONG_SECONDS):
        await asyncio.sleep(WAIT_SECONDS)
    assert len(rounds) > 100
    await asyncio.sleep(0.01)
    replied = len(rounds)
    await asyncio.sleep(WAIT_SECONDS)
    assert len(rounds) == replied


async def test_two_questions_let_it_sleep(rounds: list[float]) -> None:
    poller = Poller(LONG_SECONDS)
    with poller, poller:
        await asyncio.sleep(WAIT_SECONDS)
    assert len(rounds) <= 1


async def test_it_sleeps_after_a_while(rounds: list[float]) -> None:
    begun = time.monotonic()
    with Poller(WAIT_SECONDS / 2):
        await asyncio.sleep(5 * WAIT_SECONDS)
    assert len(rounds) > 100
    # A busy machine may keep the last one waiting.
    assert rounds[-1] - begun < 4 * WAIT_SECONDS


async def test_each_lone_question_is_waited_for_anew(rounds: list[float]) -> None:
    poller = Poller(LONG_SECONDS)
    for _ in range(3):
        before = len(rounds)
        with poller:
            await asyncio.sleep(WAIT_SECONDS / 4)
        assert len(rounds) > before + 10
        await asyncio.sleep(0)


async def test_a_core_that_others_want_is_left_to_them_for_a_while(
    rounds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "TAKEN_SECONDS", 0.01)
    monkeypatch.setattr(polling, "REST_SECONDS", LONG_SECONDS)
    poller = Poller(LONG_SECONDS)
    with poller:
        time.sleep(0.05)  # noqa: ASYNC251 (the loop's thread has not the core meanwhile)
        await asyncio.sleep(WAIT_SECONDS)
    with poller:
        await asyncio.sleep(WAIT_SECONDS)
    assert len(rounds) == 1


async def test_work_of_its_own_is_no_sign_of_others(rounds: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "TAKEN_SECONDS", 0.5)
    with Poller(LONG_SECONDS):
        until = time.thread_time() + 0.6
        while time.thread_time() < until:
            pass
        await asyncio.sleep(WAIT_SECONDS)
    assert len(rounds) > 10


async def test_zero_lets_it_sleep_always(rounds: list[float]) -> None:
    with Poller(0.0):
        await asyncio.sleep(WAIT_SECONDS)
    assert rounds == []

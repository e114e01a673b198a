"""The doorbell: rung after the commit, and never waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from celery import current_app
from django.db import transaction

from common.dispatch import QUEUES, RING_TIMEOUT_SECONDS, after_commit, call_after_commit, ring
from tests.support.valkey import Valkey, running_valkey


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Valkey]:
    """A broker of this test's own."""
    with running_valkey() as valkey:
        monkeypatch.setitem(current_app.conf, "broker_url", valkey.url)
        monkeypatch.setitem(current_app.conf, "broker_write_url", valkey.url)
        yield valkey


def messages(broker: Valkey, queue: str) -> list[dict[str, object]]:
    return [json.loads(each) for each in broker.client().lrange(queue, 0, -1)]


@pytest.mark.parametrize("name", QUEUES)
def test_it_sends_each_message_to_its_queue_with_ids_only(broker, name):
    ring(name, 7)
    (message,) = messages(broker, QUEUES[name])
    assert message["headers"]["task"] == name
    assert message["headers"]["argsrepr"] == "[7]"


@pytest.mark.django_db(transaction=True)
def test_it_rings_only_when_the_transaction_commits(broker):
    with transaction.atomic():
        after_commit("routes.publish", 1)
        transaction.set_rollback(True)
    assert messages(broker, "control") == []
    with transaction.atomic():
        after_commit("routes.publish", 2)
        assert messages(broker, "control") == []
    assert [message["headers"]["argsrepr"] for message in messages(broker, "control")] == ["[2]"]


def test_it_waits_for_no_broker(broker, caplog):
    ring("build.run", 1)
    broker.freeze()
    began = time.monotonic()
    ring("build.run", 2)
    broker.thaw()
    broker.kill()
    ring("build.run", 3)
    assert time.monotonic() - began < 10 * RING_TIMEOUT_SECONDS
    assert [record.args[:2] for record in caplog.records] == [("build.run", (2,)), ("build.run", (3,))]
    broker.start()
    ring("build.run", 4)
    assert [message["headers"]["argsrepr"] for message in messages(broker, "builds")] == ["[4]"]


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_refuses_to_write_undoes_nothing_and_leaves_the_other_work_after_the_commit(broker, caplog):
    done = []
    broker.client().config_set("maxmemory-policy", "noeviction")
    broker.client().config_set("maxmemory", 1)
    with transaction.atomic():
        after_commit("build.run", 1)
        call_after_commit(lambda: done.append(1))
    assert done == [1]
    (record,) = caplog.records
    assert record.args[:2] == ("build.run", (1,))
    broker.client().config_set("maxmemory", 0)
    ring("build.run", 2)
    assert [message["headers"]["argsrepr"] for message in messages(broker, "builds")] == ["[2]"]

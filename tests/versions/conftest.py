"""A Valkey for the tests of what travels between the planes; emptied before each test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import Valkey, running_valkey


@pytest.fixture(scope="module")
def shared_valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server


@pytest.fixture
def valkey(shared_valkey: Valkey, settings) -> Valkey:
    """Running and empty, and the platform's Redis for this test."""
    shared_valkey.client().flushall()
    settings.REDIS_URL = shared_valkey.url
    return shared_valkey

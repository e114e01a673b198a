"""Fixtures of the replica's tests. Everything is real: artifacts, engines, processes, sockets, Valkey."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import Valkey, running_valkey


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with running_valkey() as server:
        yield server

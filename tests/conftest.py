"""The cast. Nothing here touches the database unless a test asks for one of them.

Alice owns the tenant `films`, Bob is its operator, Victor its viewer. Charlie owns the tenant `books` and must never
see anything of films. Dana is a platform administrator and a member of nothing.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.db import connection

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django.plugin import DjangoDbBlocker

    from catalog.models import Service
    from tenants.models import Tenant
    from tests.api.gateway import RunningGateway
    from tests.support.milvus import MilvusServer


# An engine that asks a server: tests with this parameter have one.
MILVUS = "milvus"
milvus_key = pytest.StashKey["MilvusServer"]()


def pytest_configure(config: pytest.Config) -> None:
    """Names an instance of Milvus to all tests and their children, on a port that is kept free for it; it is started
    for the first test that needs it, and ends with the run.

    RECALL_TEST_MILVUS=real has all of them be real ones instead of milvus-lite, as `make test-milvus` does; an address,
    http://127.0.0.1:19530, has tests ask a server that somebody else has started there.
    """
    from tests.support.milvus import milvus_server, others_address

    folder = tempfile.TemporaryDirectory(prefix="recall-milvus-")
    server = config.stash[milvus_key] = milvus_server(Path(folder.name))
    os.environ["RECALL_MILVUS_INSTANCES"] = f"lite={others_address() or server.uri}"
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(server.stop)
    # It runs first: that this server is away at the end is no news, and nobody hears it any more.
    config.add_cleanup(lambda: logging.getLogger("engines.milvus").setLevel(logging.CRITICAL))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    from tests.support.milvus import lacks, others_address

    if not _asks_milvus(item):
        return
    if lack := lacks():
        pytest.skip(lack)
    server = item.config.stash[milvus_key]
    if not server.runs and not others_address():
        server.start()


def _asks_milvus(item: pytest.Item) -> bool:
    if "milvus" in getattr(item, "fixturenames", ()):
        return True
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    words = [word for value in params for word in (value if isinstance(value, tuple) else (value,))]
    return any(isinstance(word, str) and word == MILVUS for word in words)


@pytest.fixture(scope="session")
def milvus(pytestconfig: pytest.Config) -> MilvusServer:
    """The instance `lite` of all tests; who kills it has it started again."""
    return pytestconfig.stash[milvus_key]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start servers come first: they are the long ones, and at the end short ones fill both workers.

    By itself pytest-xdist begins with the files that have the most tests, and ends with a minute for a single one.
    """
    for item in items:
        if _asks_milvus(item):
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.milvus)
    starts_servers = {item.path for item in items if item.get_closest_marker("servers")}
    items.sort(key=lambda item: item.path not in starts_servers)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """The test database, in which the audit trail can be emptied after a test; its own tests put the guards back."""
    from audit import guards

    with django_db_blocker.unblock():
        guards.remove(connection)


@pytest.fixture
def alice(db: None) -> User:
    from tests.factories import make_user

    return make_user("alice")


@pytest.fixture
def films(alice: User) -> Tenant:
    from tests.factories import make_tenant

    return make_tenant("films", owner=alice)


@pytest.fixture
def bob(films: Tenant) -> User:
    from tests.factories import make_member, make_user

    user = make_user("bob")
    make_member(films, user, "operator")
    return user


@pytest.fixture
def victor(films: Tenant) -> User:
    from tests.factories import make_member, make_user

    user = make_user("victor")
    make_member(films, user, "viewer")
    return user


@pytest.fixture
def charlie(db: None) -> User:
    from tests.factories import make_user

    return make_user("charlie")


@pytest.fixture
def books(charlie: User) -> Tenant:
    from tests.factories import make_tenant

    return make_tenant("books", owner=charlie)


@pytest.fixture
def dana(db: None) -> User:
    from tests.factories import make_user

    return make_user("dana", admin=True)


@pytest.fixture
def films_service(films: Tenant) -> Service:
    """Alice's service `films/movies`, never built."""
    from tests.factories import make_service

    return make_service(films, "movies")


@pytest.fixture
def books_service(books: Tenant) -> Service:
    """Charlie's service `books/novels`, never built."""
    from tests.factories import make_service

    return make_service(books, "novels")


@pytest.fixture(scope="module")
def shared_gateway(django_db_setup: None) -> Iterator[RunningGateway]:
    """One for all tests of a file: each of them publishes the route that it asks."""
    from tests.api.gateway import running_gateway

    with running_gateway() as gateway:
        yield gateway

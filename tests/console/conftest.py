"""What several files of the console's tests stand on."""

from __future__ import annotations

from typing import Any

import pytest

from tenants.models import Tenant
from tests.api.gateway import DIMENSION, RunningGateway
from tests.factories import make_service
from tests.support.history import activated, made_version
from versions.models import Projection
from workers.children.projecting import project


@pytest.fixture
def projected_gateway(shared_gateway: RunningGateway, settings: Any, films: Tenant) -> RunningGateway:
    """Serves version 1 of films/movies, whose projection was drawn from what it serves."""
    settings.GATEWAY_ADDRESS = shared_gateway.address
    shared_gateway.publish()
    schema = {"dimension": DIMENSION, "metric": "ip", "attributes": [{"name": "year", "type": "int64"}]}
    version = activated(made_version(make_service(films, schema=schema)))
    projection = project(shared_gateway.made.path, shared_gateway.made.manifest["searchable_items"])
    assert projection is not None
    Projection.objects.create(version=version, **projection)
    return shared_gateway

"""What the API says of itself."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from jsonschema import Draft202012Validator

from tests.api.conftest import Caller
from tests.api.described import document

PATHS: list[tuple[str, str, dict[str, Any]]] = [
    (path, method, operation)
    for path, operations in document()["paths"].items()
    for method, operation in operations.items()
]
# What is posted without a body.
BODILESS = r":(revoke|cancel|retry|count|acknowledge)$|webhookSecret:rotate$"
PUBLIC = {"/api/v1/health"}


def test_the_description_is_made_without_a_warning() -> None:
    out = io.StringIO()
    call_command("spectacular", fail_on_warn=True, validate=True, stdout=out)
    assert yaml.safe_load(out.getvalue())["info"]["title"] == "Recall platform"


def test_it_knows_the_operations_of_the_contract() -> None:
    assert len(PATHS) == 50
    assert len({operation["operationId"] for _, _, operation in PATHS}) == len(PATHS)


@pytest.mark.parametrize(("path", "method", "operation"), PATHS)
def test_every_operation_says_what_it_takes_gives_and_refuses(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert "Base of" not in operation["description"]
    good = [status for status in operation["responses"] if status.startswith("2")]
    assert len(good) == 1
    assert good == ["204"] or "schema" in operation["responses"][good[0]]["content"]["application/json"]
    expected = {"500", "503"} if path in PUBLIC else {"400", "401", "500", "503"}
    if "{" in path:
        expected |= {"403", "404"}
    assert expected <= set(operation["responses"])
    for status in set(operation["responses"]) - set(good):
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorBody"}
    if method in {"post", "patch"} and not re.search(BODILESS, path):
        assert operation["requestBody"]["content"]["application/json"]["schema"]
    if path not in PUBLIC:
        assert operation["security"] == [{"key": []}, {"session": []}]


def test_a_spec_is_described_down_to_its_fields() -> None:
    schemas = document()["components"]["schemas"]
    assert set(schemas["ServiceSpec"]["required"]) == {"name", "schema", "source"}
    assert schemas["SpecGuards"]["properties"]["max_drop_percent"]["default"] == 20


def test_a_query_is_described_as_the_proto_has_it() -> None:
    operation = document()["paths"]["/api/v1/tenants/{tenant}/services/{service}:recall"]["post"]
    query = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"vectors", "top_k", "filter", "exclude", "model_version"} <= set(query)
    assert "service" not in query
    assert query["merge"]["enum"] == ["MAX", "WEIGHTED_SUM", "ROUND_ROBIN"]


EXAMPLES = [
    (f"{path} {name}", content["schema"], example["value"])
    for path, _, operation in PATHS
    for content in (
        *operation.get("requestBody", {}).get("content", {}).values(),
        *(content for each in operation["responses"].values() for content in each.get("content", {}).values()),
    )
    for name, example in content.get("examples", {}).items()
]


@pytest.mark.parametrize(("schema", "value"), [pytest.param(*found, id=name) for name, *found in EXAMPLES])
def test_an_example_is_of_the_shape_that_it_is_an_example_of(schema: dict[str, Any], value: Any) -> None:
    described = {**schema, "components": document()["components"]}
    assert [fault.message for fault in Draft202012Validator(described).iter_errors(value)] == []


def test_every_kind_of_query_has_an_example() -> None:
    shown = [name for name, _, _ in EXAMPLES]
    for verb, at_least in ((":recall", 7), (":batchRecall", 2), (":count", 1)):
        assert sum(f"{verb} " in name for name in shown) >= at_least


def test_a_call_from_swagger_ui_brings_the_token_that_a_session_needs(owner: Caller) -> None:
    """The script that the page loads puts it into a header; without it a session's POST is refused."""
    client = Client(enforce_csrf_checks=True)
    client.cookies = owner.client.cookies
    page = client.get("/api/v1/docs").content.decode()
    script = re.search(r'src="([^"]*script=[^"]*)"', page)
    assert script
    body = client.get(script[1].replace("&amp;", "&")).content.decode()
    header = re.search(r'request\.headers\["([^"]+)"\] = "(\w+)"', body)
    assert header
    path = "/api/v1/tenants/films/services/nothing:count"
    assert client.post(path, {}, "application/json").status_code == 403
    allowed = client.post(path, {}, "application/json", headers={header[1]: header[2]})
    assert (allowed.status_code, allowed.json()["error"]["reason"]) == (404, "SERVICE_NOT_FOUND")


def test_swagger_ui_loads_nothing_from_outside_and_its_policy_allows_what_it_loads() -> None:
    client = Client()
    page = client.get("/api/v1/docs")
    html = page.content.decode()
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert len(loaded) >= 4
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)
    # No script stands in the page itself, so scripts of our own address are enough.
    assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy + ";"
    assert "'unsafe-inline'" in policy.split("style-src", 1)[1].split(";")[0]
    script = next(address for address in loaded if "script=" in address)
    body = client.get(script.replace("&amp;", "&")).content.decode()
    assert "SwaggerUIBundle" in body
    assert '"validatorUrl": null' in body
    assert "http" not in body.replace('"http"', "")


def test_the_description_is_served_as_json_and_yaml() -> None:
    found = Client().get("/api/v1/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert found.json()["openapi"].startswith("3.1")
    assert yaml.safe_load(Client().get("/api/v1/schema").content)["openapi"].startswith("3.1")


def test_other_pages_keep_the_strict_policy() -> None:
    policy = Client().get("/login/").headers["Content-Security-Policy"]
    assert "unsafe-inline" not in policy

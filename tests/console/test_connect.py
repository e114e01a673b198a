"""Connecting a program: everything on the page is what it would be for this service, and what it offers works."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from catalog.models import Service
from console.connecting import EXAMPLE_DEADLINE_MS
from console.snippets import request_of
from recall_client import endpoints
from tenants.actions import Use, key_create, keys_used
from tenants.permissions import caller_of_user
from tests.api.gateway import IDS_PER_VERSION, RunningGateway
from tests.console.test_home import text_of
from tests.console.test_pages import signed_in
from tests.factories import TESTER
from versions.queries import recall

ROOT = Path(__file__).resolve().parents[2]
CONNECT = "/t/films/s/movies/connect/"
LANGUAGES = ("python", "java", "grpcurl", "cli", "curl")
NOBODY = "127.0.0.1:1"


@pytest.fixture
def gateway_away(settings: Any) -> None:
    settings.GATEWAY_ADDRESS = NOBODY


@pytest.mark.usefixtures("gateway_away")
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_snippet_carries_the_real_endpoint_and_service(victor: User, films_service: Service, language: str) -> None:
    page = signed_in(victor).get(f"{CONNECT}?in={language}")
    snippet = page.context["snippet"].text
    assert "films" in snippet
    assert "movies" in snippet
    assert (NOBODY in snippet) == (language != "curl")
    assert ("http://testserver/api/v1/tenants/films" in snippet) == (language == "curl")
    assert "rk_" not in snippet, "the key comes from the environment"
    assert "RECALL_API_KEY" in snippet + page.context["install"].text


@pytest.mark.usefixtures("gateway_away")
def test_before_the_first_version_the_example_is_made_up_and_says_so(alice: User, films_service: Service) -> None:
    page = signed_in(alice).get(CONNECT)
    [vector] = page.context["example"].question.vectors
    assert len(vector) == films_service.spec["schema"]["dimension"]
    assert "Until the first version is live a call is answered by FAILED_PRECONDITION" in text_of(page.content)


@pytest.mark.usefixtures("gateway_away")
def test_with_the_gateway_away_the_page_is_there_and_says_so(alice: User, films_service: Service) -> None:
    Service.objects.update(live_version=1)
    assert "No item could be looked up at this moment" in text_of(signed_in(alice).get(CONNECT).content)


@pytest.mark.usefixtures("gateway_away")
def test_who_may_make_keys_has_the_button_and_others_hear_whom_to_ask(
    alice: User, victor: User, films_service: Service
) -> None:
    assert "/t/films/keys/?service=movies" in signed_in(alice).get(CONNECT).content.decode()
    page = signed_in(victor).get(CONNECT).content
    assert b"/t/films/keys/" not in page
    assert "An owner of films makes it: alice." in text_of(page)


@pytest.mark.usefixtures("gateway_away")
def test_who_reads_it_from_afar_hears_that_a_loopback_address_is_of_no_use(
    alice: User, films_service: Service, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["recall.example", "127.0.0.1"]
    client = signed_in(alice)
    assert "RECALL_GATEWAY" in text_of(client.get(CONNECT, headers={"host": "recall.example"}).content)
    here = text_of(client.get(CONNECT, headers={"host": "127.0.0.1:8000"}).content)
    assert "An administrator says with" not in here


@pytest.mark.usefixtures("gateway_away")
def test_what_it_says_of_the_python_client_is_so(alice: User, films_service: Service) -> None:
    text = text_of(signed_in(alice).get(CONNECT).content)
    assert f"takes {endpoints.DEADLINE_MS} ms for a whole call" in text
    assert f"after {endpoints.RETRY_PAUSE_MS} ms" in text
    assert endpoints.ATTEMPTS_MAX == 3, "at most twice more"


@pytest.mark.usefixtures("gateway_away")
def test_the_box_waits_for_the_first_call_by_a_key_and_then_stops_asking(victor: User, films_service: Service) -> None:
    client = signed_in(victor)
    waiting = client.get(f"{CONNECT}status/").content
    assert b"hx-trigger" in waiting
    assert b"hx-trigger" in client.get(CONNECT).content
    key = key_create(actor=TESTER, tenant=films_service.tenant, scope="read", name="ranker").key
    keys_used(uses=[Use(key.prefix, "films", "movies", timezone.now(), "10.0.0.7")])
    seen = client.get(f"{CONNECT}status/").content
    assert b"hx-trigger" not in seen
    told = rf"First call seen at \d{{4}}-.* UTC with the key rk_{key.prefix}_… \(ranker\) from 10\.0\.0\.7"
    assert re.search(told, text_of(seen))


@pytest.mark.servers
@pytest.mark.parametrize("by", ["item", "vector"])
def test_the_example_names_an_item_of_the_live_version_and_is_answered(
    alice: User, films_service: Service, shared_gateway: RunningGateway, settings: Any, by: str
) -> None:
    settings.GATEWAY_ADDRESS = shared_gateway.address
    shared_gateway.publish()
    spec = {**films_service.spec, "schema": {**films_service.spec["schema"], "dimension": 8}}
    Service.objects.filter(pk=films_service.pk).update(live_version=1, spec=spec)
    page = signed_in(alice).get(f"{CONNECT}?by={by}")
    example = page.context["example"]
    assert example.is_real
    films_service.refresh_from_db()
    answer = recall(caller=caller_of_user(alice), service=films_service, request=request_of(example.question))
    assert answer["ids"]
    if by == "item":
        [item] = example.question.items
        assert 0 <= item.id < 10 * IDS_PER_VERSION


def test_the_client_that_it_offers_is_ours_file_for_file(client: Client) -> None:
    content = client.get("/clients/recall-client.tar.gz").getvalue()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = {entry.name.partition("/")[2]: archive.extractfile(entry) for entry in archive}
        found = {name: file.read() for name, file in files.items() if file is not None}
    root = ROOT / "clients/python"
    tracked = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False).stdout.split()
    expected = tracked or [str(path.relative_to(root)) for path in root.rglob("*.py")]
    assert {name for name in expected if not name.startswith(".")} <= set(found)
    assert all((root / name).read_bytes() == data for name, data in found.items())


def test_pip_takes_the_client_that_it_offers(client: Client, tmp_path: Path) -> None:
    file, here = tmp_path / "recall-client.tar.gz", tmp_path / "here"
    file.write_bytes(client.get("/clients/recall-client.tar.gz").getvalue())
    pip = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--python", sys.executable]
    # What builds it is in uv's cache since the environment was made: a test asks nobody outside the machine.
    pip += ["--quiet", "--offline", "--no-deps", "--target", str(here), str(file)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert (here / "recall_client/client.py").exists()
    assert (here / "recallpb/v1/recall_pb2.py").exists()


def test_the_proto_that_it_offers_is_the_contract(client: Client) -> None:
    assert client.get("/clients/recall.proto").content == (ROOT / "proto/recallpb/v1/recall.proto").read_bytes()


@pytest.mark.servers
def test_a_gateway_that_hangs_costs_the_page_half_a_second_and_its_example(
    alice: User, films_service: Service, shared_gateway: RunningGateway, settings: Any
) -> None:
    settings.GATEWAY_ADDRESS = shared_gateway.address
    shared_gateway.publish()
    Service.objects.filter(pk=films_service.pk).update(live_version=1)
    client = signed_in(alice)
    shared_gateway.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    try:
        page = client.get(CONNECT)
    finally:
        shared_gateway.process.send_signal(signal.SIGCONT)
    assert page.status_code == 200
    assert not page.context["example"].is_real
    assert time.monotonic() - started < 10 * EXAMPLE_DEADLINE_MS / 1_000

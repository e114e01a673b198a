"""The playground: what people type, what a real gateway answers, and what the page makes of it."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client

from catalog.models import Service
from recallpb.v1 import recall_pb2
from tenants.models import Tenant
from tests.api.gateway import DIMENSION, HIDDEN, ITEMS, RunningGateway
from tests.client.scripted import refuse, serving
from tests.console.test_pages import signed_in
from tests.factories import make_service
from tests.support.artifacts import exact_ids
from tests.support.history import activated, made_version, refreshed
from versions.models import Version

PAGE = "/t/films/s/movies/playground/"
VECTOR = "1, -0.5, 0.25, 0, 2, -1, 0.5, 3"
SCHEMA = {"dimension": DIMENSION, "metric": "ip", "attributes": [{"name": "year", "type": "int64"}]}
INPUTS = [
    {"name": "hist_item", "type": "int64", "max_length": 20},
    {"name": "age", "type": "float32"},
    {"name": "city", "type": "string"},
    {"name": "is_new", "type": "bool"},
]


@pytest.fixture
def movies(films: Tenant) -> Service:
    """Alice's service, of which version 2 is live and version 1 the one before."""
    service = make_service(films, "movies", schema=SCHEMA, limits={"allow_exact": True, "max_top_k": 50})
    for number in (1, 2):
        activated(made_version(service, model_version=f"tower-{number}"))
    return refreshed(service)


@pytest.fixture
def gateway(shared_gateway: RunningGateway, settings: Any, movies: Service) -> RunningGateway:
    settings.GATEWAY_ADDRESS = shared_gateway.address
    shared_gateway.publish(versions=(2, 1), allow_exact=True)
    return shared_gateway


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


def words(response: Any) -> str:
    """What a person reads, on one line."""
    text = re.sub(r"<(script|style|head)\b.*?</\1>", " ", response.content.decode(), flags=re.DOTALL)
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))


def ids_of(response: Any) -> list[list[int]]:
    """The ids of each table of the page, from the top."""
    tables = response.content.decode().split('<section class="card mb-3" aria-label="Answer of')[1:]
    return [[int(number) for number in re.findall(r"<code>(\d+)</code></a>", table)] for table in tables]


def expected(gateway: RunningGateway, version: int, top_k: int) -> list[int]:
    made = {1: gateway.made, 2: gateway.newer}[version]
    ids, _ = exact_ids(made, np.array([float(part) for part in VECTOR.split(",")], np.float32), top_k)
    return [int(number) for number in ids]


def fault(response: Any, field: str) -> str:
    found = re.search(rf'id="fault-{re.escape(html.escape(field))}" role="alert">([^<]*)<', response.content.decode())
    return html.unescape(found[1]) if found else ""


def test_a_question_by_vector_is_answered_with_attributes_and_where_the_time_went(
    client: Client, gateway: RunningGateway
) -> None:
    page = client.get(PAGE, {"vector": VECTOR, "k": "5"})
    assert ids_of(page) == [expected(gateway, 2, 5)]
    text = words(page)
    assert "Live, version 2" in text
    assert "model tower-2" in text
    assert re.search(r"\d\.\d\d ms search", text)
    assert "in the platform" in text
    assert "# Id Score year" in text
    assert "Where the time went:" in page.content.decode()
    assert "Larger scores are better." in text


def test_the_address_of_a_short_question_is_the_question(client: Client, gateway: RunningGateway) -> None:
    typed = {"by": "vector", "vector": VECTOR, "k": "3", "filter": "year >= 1960", "ef": "", "on": "live", "more": "x"}
    response = client.post(PAGE, typed)
    assert response.status_code == 302
    assert response.url == f"{PAGE}?vector=1,+-0.5,+0.25,+0,+2,+-1,+0.5,+3&filter=year+%3E%3D+1960&k=3"
    assert len(ids_of(client.get(response.url))[0]) == 3
    part = client.post(PAGE, typed, headers={"HX-Request": "true"})
    assert part["HX-Push-Url"] == response.url
    assert part.content.decode().lstrip().startswith('<div id="playground">')
    assert ids_of(part) == ids_of(client.get(response.url))


def test_a_page_that_htmx_restores_is_a_whole_page(client: Client, gateway: RunningGateway) -> None:
    headers = {"HX-Request": "true", "HX-History-Restore-Request": "true"}
    assert b"<html" in client.get(PAGE, {"vector": VECTOR}, headers=headers).content


def test_a_long_question_is_answered_and_keeps_out_of_the_address(client: Client, gateway: RunningGateway) -> None:
    many = "\n".join([VECTOR] * 64)
    page = client.post(PAGE, {"by": "vector", "vector": many, "k": "5"})
    assert page.status_code == 200
    assert ids_of(page) == [expected(gateway, 2, 5)]
    assert "cannot be shared" in words(page)
    assert client.post(PAGE, {"vector": many}, headers={"HX-Request": "true"})["HX-Push-Url"] == "false"


def test_several_vectors_are_merged_and_each_item_says_which_found_it(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"vector": f"{VECTOR}\n{VECTOR.replace('3', '-3')}", "k": "6", "merge": "ROUND_ROBIN"})
    assert "# Id Score Vector year" in words(page)
    assert len(ids_of(page)[0]) == 6
    one_line = client.get(PAGE, {"vector": f"[[{VECTOR}], [{VECTOR}]]", "k": "2"})
    assert ids_of(one_line) == [expected(gateway, 2, 2)]


def test_a_question_by_items_tells_which_are_known(client: Client, gateway: RunningGateway) -> None:
    first, second = gateway.newer.ids[1:3]
    page = client.get(PAGE, {"by": "items", "items": f"{first}, {second}:0.5, 77:0.5", "k": "4"})
    text = words(page)
    assert "2 of 3 items asked by are known, with 75% of the weight; this version does not hold 77." in text
    assert first not in ids_of(page)[0]
    # Nothing is nearer to the longest vector than itself.
    lengths = np.linalg.norm(gateway.newer.vectors[: ITEMS - HIDDEN], axis=1)
    longest = gateway.newer.ids[lengths.argmax()]
    kept = client.get(PAGE, {"by": "items", "items": str(longest), "keep": "1", "k": "1"})
    assert "The item asked by is known." in words(kept)
    assert ids_of(kept) == [[longest]]


def test_what_a_filter_leaves_too_little_of_is_told(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"vector": VECTOR, "k": "10", "filter": "year in [1951, 1953]"})
    assert f"{len(ids_of(page)[0])} of 10 items:" in words(page)
    assert "fewer than asked for" in words(page)
    nothing = client.get(PAGE, {"vector": VECTOR, "filter": "year > 3000"})
    assert "No item is answered. Does the filter leave any?" in words(nothing)


def test_two_versions_side_by_side_tell_what_they_share(client: Client, gateway: RunningGateway) -> None:
    """The two hold other items, so that they share nothing; a version beside itself shares all."""
    page = client.get(PAGE, {"vector": VECTOR, "k": "4", "on": "1", "beside": "live"})
    assert ids_of(page) == [expected(gateway, 1, 4), expected(gateway, 2, 4)]
    text = words(page)
    assert "overlap@4: 0.00" in text
    assert text.count("only here") == 8
    same = words(client.get(PAGE, {"vector": VECTOR, "k": "4", "on": "live", "beside": "2"}))
    assert "overlap@4: 1.00" in same
    assert same.count("same rank") == 8


def test_the_answer_is_held_to_exact_search(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"vector": VECTOR, "k": "5", "check": "1"})
    assert "recall@5: 1.000 against exact search of the same version" in words(page)
    assert "not exact" not in words(page)
    gateway.publish(versions=(2, 1), allow_exact=False)
    page = client.get(PAGE, {"vector": VECTOR, "k": "5", "check": "1"})
    assert "limits.allow_exact" in fault(page, "check")
    assert ids_of(page) == [expected(gateway, 2, 5)]


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"vector": "1, 2, 3"}, "vector", "the vector has 3 values; the dimension is 8"),
        ({"vector": "1, two, 3"}, "vector", "“two” is no number that a float32 can hold."),
        ({"vector": "1e39"}, "vector", "“1e39” is no number"),
        ({"vector": "[1, 2"}, "vector", "It begins like JSON and is none"),
        ({"vector": "[[1], 2]"}, "vector", "several are a list of such lists"),
        ({"by": "items", "items": "a:1"}, "items", "An id of this service is a whole number"),
        ({"by": "items", "items": "9223372036854775808"}, "items", "whole number of 64 bits"),
        ({"by": "items", "items": "77, 78"}, "items", ""),
        ({"by": "items", "items": '"1" 2'}, "items", "stands behind a text in quotes"),
        ({"vector": VECTOR, "filter": "year >> 3"}, "filter", ""),
        ({"vector": VECTOR, "filter": "yeer > 3"}, "filter", "yeer"),
        ({"vector": VECTOR, "k": "51"}, "k", "top_k is 51; it must be 1 to 50"),
        ({"vector": VECTOR, "k": "-1"}, "k", "no whole number"),
        ({"vector": VECTOR, "k": "99999999999"}, "k", "no whole number"),
        ({"vector": VECTOR, "ef": "501"}, "ef", "params.ef is 501"),
        ({"vector": VECTOR, "on": "9" * 5000}, "on", "is no version: say live, or its number."),
        ({"vector": VECTOR, "beside": "-1"}, "beside", "is no version"),
        ({"vector": VECTOR, "on": "9"}, "on", "version 9 is not loaded; version 2 is live"),
    ],
)
def test_what_is_wrong_stands_beside_the_field_it_is_about(
    client: Client, gateway: RunningGateway, typed: dict[str, str], field: str, said: str
) -> None:
    page = client.get(PAGE, typed)
    assert page.status_code == 200
    assert fault(page, field)
    assert said in fault(page, field)
    assert page.content.decode().count('role="alert">') <= 2


def test_nothing_typed_is_told_only_to_who_asks(client: Client, gateway: RunningGateway) -> None:
    assert 'role="alert"' not in client.get(PAGE).content.decode()
    assert "Type a vector" in fault(client.post(PAGE, {"by": "vector"}, follow=True), "vector")
    assert "Type the ids of items" in fault(client.post(PAGE, {"by": "items"}, follow=True), "items")


def test_a_random_vector_is_a_first_question(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"random": "1", "k": "7"}, follow=True)
    assert page.redirect_chain
    assert len(ids_of(page)[0]) == 7


def test_an_id_of_an_answer_asks_by_that_item(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"vector": VECTOR, "k": "3", "filter": "year > 1950"})
    [first, *_] = ids_of(page)[0]
    [address] = re.findall(rf'<a href="(\?[^"]*items={first})"', page.content.decode())
    assert html.unescape(address) == f"?by=items&filter=year+%3E+1950&k=3&items={first}"
    assert len(ids_of(client.get(PAGE + html.unescape(address)))[0]) == 3


def test_copy_as_is_the_question_that_was_typed(client: Client, gateway: RunningGateway) -> None:
    page = client.get(PAGE, {"vector": VECTOR, "k": "3", "on": "1", "filter": "year > 1950"})
    texts = {
        name: html.unescape(text)
        for name, text in re.findall(r'<code id="copy-(\w+)">(.*?)</code>', page.content.decode(), re.DOTALL)
    }
    assert set(texts) == {"python", "java", "grpcurl", "cli", "curl"}
    assert f'Client("{gateway.address}"' in texts["python"]
    assert "http://testserver/api/v1/tenants/films/services/movies:recall" in texts["curl"]
    assert "--require-version 1" in texts["cli"]
    assert '"filter": "year > 1950"' in texts["grpcurl"]
    assert "rk_" not in page.content.decode()
    assert "$RECALL_API_KEY" in texts["curl"]


def test_only_who_may_see_keys_is_led_to_them(client: Client, gateway: RunningGateway, victor: User) -> None:
    for whose, is_led in ((client, True), (signed_in(victor), False)):
        page = whose.get(PAGE, {"vector": VECTOR}).content.decode()
        assert "Copy as" in page
        assert ('href="/t/films/keys/"' in page.split('id="playground"')[1]) is is_led


def test_features_are_fields_with_their_types_and_their_errors_stand_beside_them(
    client: Client, films: Tenant, settings: Any
) -> None:
    asked: list[Any] = []

    def answer(request: Any, context: Any) -> Any:
        asked.append(request)
        if "age" not in request.features.features:
            refuse(context, grpc_invalid(), "the query model needs the feature \"age\"", reason="FEATURE_MISSING",
                   field='features.features["age"]')  # fmt: skip
        return recall_pb2.RecallResponse(version=1, ids=[42], scores=[0.5])

    model = {"vectors": 1, "inputs": INPUTS}
    activated(made_version(make_service(films, "movies", schema={"dimension": DIMENSION, "query_model": model})))
    typed = {"by": "features", "f.hist_item": "3, 4", "f.age": "31", "f.city": "L'Aquila, IT", "f.is_new": "true"}
    with serving(answer) as scripted:
        settings.GATEWAY_ADDRESS = scripted.address
        form = words(client.get(PAGE, {"by": "features"}))
        assert "hist_item list of int64" in form
        assert "age float32" in form
        page = client.post(PAGE, typed, follow=True)
        assert ids_of(page) == [[42]]
        wrong = client.get(PAGE, {**typed, "f.age": ""})
        nonsense = client.get(PAGE, {**typed, "f.hist_item": "3, x"})
    sent = asked[0].features.features
    assert list(sent["hist_item"].ints.values) == [3, 4]
    assert list(sent["age"].floats.values) == [31.0]
    assert list(sent["city"].strings.values) == ["L'Aquila, IT"]
    assert list(sent["is_new"].ints.values) == [1]
    assert fault(wrong, "f.age") == 'the query model needs the feature "age"'
    assert "“x” is not" in fault(nonsense, "f.hist_item")
    assert "FeatureQuery" in page.content.decode()


def grpc_invalid() -> Any:
    import grpc

    return grpc.StatusCode.INVALID_ARGUMENT


def test_pictures_are_shown_only_from_where_the_policy_allows(client: Client, films: Tenant, settings: Any) -> None:
    addresses = [
        "data:image/png;base64,iVBORw0KGgo=",
        "/static/console/icon.svg",
        "http://testserver/static/console/icon.svg",
        "https://elsewhere.example.org/a.png",
        "//elsewhere.example.org/a.png",
        "javascript:alert(1)",
        "data:text/html,<script>1</script>",
        "/\\elsewhere.example.org/a.png",
    ]
    posters = recall_pb2.AttributeColumn(name="poster", strings=recall_pb2.StringList(values=addresses))

    def answer(request: Any, _context: Any) -> Any:
        ids = range(len(addresses))
        return recall_pb2.RecallResponse(version=1, ids=ids, scores=[0.5 for _ in ids], attributes=[posters])

    declared = [{"name": "poster", "type": "string", "display": "image"}]
    activated(made_version(make_service(films, "movies", schema={"dimension": DIMENSION, "attributes": declared})))
    with serving(answer) as scripted:
        settings.GATEWAY_ADDRESS = scripted.address
        page = client.get(PAGE, {"vector": VECTOR}).content.decode()
    pictures = re.findall(r'<img class="picture" src="([^"]*)"', page)
    links = re.findall(r'<a href="([^"]*)" rel="noopener noreferrer"', page)
    assert [html.unescape(each) for each in pictures] == addresses[:3]
    assert links == [addresses[3]]
    assert "<script>1" not in page


def test_text_ids_with_commas_and_colons_can_be_asked_by(client: Client, films: Tenant, settings: Any) -> None:
    asked: list[Any] = []

    def answer(request: Any, _context: Any) -> Any:
        asked.append(request)
        return recall_pb2.RecallResponse(version=1, text_ids=['a,b:2 "c"', "plain"], scores=[0.5, 0.25])

    activated(made_version(make_service(films, "movies", schema={"dimension": DIMENSION, "id_type": "string"})))
    with serving(answer) as scripted:
        settings.GATEWAY_ADDRESS = scripted.address
        page = client.get(PAGE, {"by": "items", "items": 'x, "a,b:2 \\"c\\"":0.5, y:2'})
        links = re.findall(r'<a href="(\?[^"]*)" title="Ask by this item"', page.content.decode())
        client.get(PAGE + html.unescape(links[0]))
    first, second = ([(item.text_id, item.weight) for item in request.items.items] for request in asked)
    assert first == [("x", 0.0), ('a,b:2 "c"', 0.5), ("y", 2.0)]
    assert second == [('a,b:2 "c"', 0.0)]


def test_without_a_live_version_the_page_says_what_to_do(client: Client, films_service: Service) -> None:
    assert "There is nothing to ask yet" in words(client.get(PAGE))
    assert client.post(PAGE, {"vector": "1"}, follow=True).status_code == 200


def test_a_gateway_that_is_away_is_told(client: Client, movies: Service, settings: Any) -> None:
    settings.GATEWAY_ADDRESS = "127.0.0.1:9"
    page = client.get(PAGE, {"vector": VECTOR})
    assert page.status_code == 200
    assert "The gateway does not answer." in words(page)


def test_a_service_page_leads_to_the_playground(client: Client, movies: Service) -> None:
    assert f'href="{PAGE}"' in client.get("/t/films/s/movies/").content.decode()
    assert Version.objects.count() == 2

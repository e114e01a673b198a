"""A service's spec: what it takes, what it fills in, and that it names every fault at once."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from catalog import blocks
from catalog.spec import NOT_YET, ServiceSpec, parse_spec
from common.errors import InvalidArgument
from engines import registry
from tests.factories import make_spec

# CONTRACT section 2 with every default written out; only what a later release brings is left out.
CONTRACT_SPEC: dict[str, Any] = {
    "name": "films",
    "schema": {
        "id_type": "int64",
        "dimension": 64,
        "metric": "ip",
        "normalize": False,
        "attributes": [{"name": "genre", "type": "list<string>"}, {"name": "year", "type": "int64"}],
    },
    "source": {
        "uri": "file:films/",
        "files": ["items-*.parquet", "part-*.parquet"],
        "columns": {"id": "id", "vector": "vector"},
        "notice": "marker",
        "expect_every": None,
    },
    "engine": {"name": "auto", "partitions": 1, "params": {}},
    "search": {"recall_target": 0.98, "at": 100},
    "guards": {
        "min_items": 1,
        "max_items": None,
        "max_drop_percent": 20,
        "max_drop_items": None,
        "max_growth_percent": 300,
        "max_growth_items": None,
        "max_bad_row_percent": 1,
        "min_id_overlap_percent": 50,
        "max_norm_drift_percent": 50,
        "min_recall": 0.95,
        "min_overlap_at_k": None,
        "max_score_drift_percent": None,
        "max_p99_ratio": 1.3,
        "p99_floor_ms": 5,
    },
    "versions": {"keep": 2, "standby": "hot", "activate": "auto", "rollout": "together"},
    "replicas": {"count": 1, "zones": []},
    "limits": {"qps": 1000, "concurrency": 64, "max_top_k": 1000, "max_ef": 2000, "allow_exact": False},
    "notify": {"webhook": None, "email": []},
}


def faults(data: object) -> dict[str, str]:
    """Field -> message of every fault that the spec has."""
    with pytest.raises(InvalidArgument) as caught:
        parse_spec(data)
    assert caught.value.details
    assert caught.value.field == caught.value.details[0]["field"]
    return {fault["field"]: fault["message"] for fault in caught.value.details}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The contract's spec with one field set."""
    spec = copy.deepcopy(CONTRACT_SPEC)
    block, _, field = path.partition(".")
    spec[block][field] = value
    return spec


def test_it_takes_a_spec_written_to_the_contract():
    spec = parse_spec(CONTRACT_SPEC)
    assert spec.name == "films"
    assert spec.schema_.attributes[1] == blocks.Attribute(name="year", type="int64")


def test_it_fills_in_the_contracts_defaults():
    least = {"name": "films", "schema": {"dimension": 64}, "source": {"uri": "file:films/"}}
    full = parse_spec({**CONTRACT_SPEC, "schema": {"dimension": 64}})
    assert parse_spec(least).stored() == full.stored()
    assert full.stored()["guards"] == CONTRACT_SPEC["guards"]
    assert full.stored()["limits"] == CONTRACT_SPEC["limits"]


def test_it_takes_what_it_stores():
    for spec in (CONTRACT_SPEC, make_spec(engine="hnsw", search={"params": {"ef": 50}}), make_spec()):
        stored = parse_spec(spec).stored()
        assert parse_spec({"name": "films", **stored}).stored() == stored
        assert "name" not in stored


def test_it_takes_an_engine_by_its_bare_name():
    assert parse_spec(make_spec(engine="hnsw")).engine == parse_spec(make_spec(engine={"name": "hnsw"})).engine


def test_it_fills_in_the_engines_own_parameters():
    spec = parse_spec(make_spec(engine={"name": "hnsw", "params": {"M": 32}}, search={"params": {}}))
    assert spec.engine.params["M"] == 32
    assert set(spec.engine.params) == set(registry.describe("hnsw").params_model.model_fields)
    assert spec.search.params == registry.describe("hnsw").search_params_model().model_dump()
    assert spec.search.recall_target is None


@pytest.mark.parametrize("engine", registry.names())
def test_it_takes_every_engine_with_every_metric_that_it_knows(engine):
    for metric in registry.describe(engine).metrics:
        assert parse_spec(make_spec(engine=engine, schema={"dimension": 8, "metric": metric})).engine.name == engine


@pytest.fixture
def an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_MILVUS_INSTANCES", "blue=http://127.0.0.1:1")


def at_a_server(dimension: int, **params: object) -> dict[str, Any]:
    schema = {"dimension": dimension, "metric": "ip"}
    return make_spec(engine={"name": "milvus", "params": params}, schema=schema)


@pytest.mark.parametrize(
    ("dimension", "codes", "near"),
    [(32, 5, "2, 4, 8, 16"), (7, 2, "1, 7"), (32, 64, "16, 32"), (30, 4, "2, 3, 5, 6")],
)
def test_codes_that_do_not_divide_the_dimension_are_refused_with_some_that_do(an_instance, dimension, codes, near):
    told = faults(at_a_server(dimension, index_type="IVF_PQ", pq_codes=codes))
    message = f"The dimension, {dimension}, is no multiple of {codes}. Leave it at 0, or take one of {near}."
    assert told == {"engine.params.pq_codes": message}


@pytest.mark.parametrize(("dimension", "codes"), [(32, 0), (32, 8), (7, 0), (7, 7)])
def test_codes_that_divide_the_dimension_are_taken(an_instance, dimension, codes):
    spec = parse_spec(at_a_server(dimension, index_type="IVF_PQ", pq_codes=codes))
    assert spec.engine.params["pq_codes"] == codes


def test_parameters_that_the_index_has_not_are_refused_unless_they_are_at_their_defaults(an_instance):
    told = faults(at_a_server(32, nlist=10, pq_codes=5, M=8))
    assert told == {
        "engine.params.nlist": "HNSW has no nlist, only IVF_FLAT and IVF_PQ. Leave it out, or at 1024.",
        "engine.params.pq_codes": "HNSW has no pq_codes, only IVF_PQ. Leave it out, or at 0.",
    }
    assert parse_spec(at_a_server(32, nlist=1_024, pq_codes=0, M=8)).engine.params["M"] == 8


def test_a_spec_cannot_be_changed():
    spec = parse_spec(make_spec())
    with pytest.raises(ValueError, match="frozen"):
        spec.limits.qps = 5


def test_it_reports_every_fault_at_once():
    found = faults(
        {
            "name": "Films",
            "schema": {
                "dimension": 0,
                "metric": "dot",
                "attributes": [{"name": "year", "type": "int64"}, {"name": "genre", "type": "text"}, {"name": "id"}],
            },
            "source": {"uri": "s3a://bucket/films/", "files": [], "columns": {"id": "x", "vector": "x"}},
            "engine": "hnws",
            "search": {"recall_target": 0.9, "params": {"ef": 10}},
            "guards": {"min_items": 10, "max_items": 5},
            "limits": {"qps": "fast"},
            "versions": {"keep": 0},
        }
    )
    assert list(found) == [
        "name",
        "schema.dimension",
        "schema.metric",
        "schema.attributes[1].type",
        "schema.attributes[2].name",
        "schema.attributes[2].type",
        "source.uri",
        "source.files",
        "source.columns.vector",
        "engine.name",
        "search.params",
        "guards.max_items",
        "versions.keep",
        "limits.qps",
    ]


def test_it_reports_faults_between_blocks_beside_those_within():
    found = faults(
        make_spec(
            engine={"name": "hnsw", "params": {"M": 1}},
            search={"params": {"ef": 600}},
            limits={"max_ef": 500},
            versions={"keep": 0},
        )
    )
    assert set(found) == {"engine.params.M", "search.params.ef", "versions.keep"}
    assert found["search.params.ef"] == "ef is 600, above limits.max_ef, 500."


@pytest.mark.parametrize(
    ("spec", "field", "hint"),
    [
        ({**make_spec(), "schema": {"dimesion": 4}}, "schema.dimesion", "did you mean dimension?"),
        ({**make_spec(), "limit": {}}, "limit", "did you mean limits?"),
        ({**make_spec(), "dimension": 4}, "dimension", "did you mean schema.dimension?"),
        (make_spec(guards={"min_item": 1}), "guards.min_item", "did you mean min_items?"),
        (make_spec(source={"uri": "file:a/", "columns": {"ids": "i"}}), "source.columns.ids", "did you mean id?"),
        (make_spec(engine={"name": "hnsw", "params": {"m": 8}}), "engine.params.m", "did you mean M?"),
        (make_spec(replicas={"zzz": 1}), "replicas.zzz", "there are count, zones."),
        (make_spec(engine="hsnw"), "engine.name", "Did you mean hnsw?"),
        (
            make_spec(schema={"dimension": 4, "attributes": [{"name": "year", "typ": "int64"}]}),
            "schema.attributes[0].typ",
            "did you mean type?",
        ),
    ],
)
def test_it_says_what_was_probably_meant(spec, field, hint):
    assert faults(spec)[field].endswith(hint)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("versions.rollout", "zone_by_zone"),
        ("replicas.zones", ["a", "b"]),
    ],
)
def test_it_says_what_this_release_does_not_serve_yet(path, value):
    found = faults(changed(path, value))
    assert list(found) == [path]
    assert found[path].startswith("This is not available in this release. Leave it out, or write ")


def test_an_index_may_be_divided_and_not_into_dust():
    assert parse_spec(changed("engine.partitions", 4)).engine.partitions == 4
    for value in (0, registry.PARTITIONS_MAX + 1):
        assert list(faults(changed("engine.partitions", value))) == ["engine.partitions"]


def test_the_fields_that_are_not_served_yet_exist_and_have_values_that_are():
    for path, allowed in NOT_YET.items():
        block, _, field = path.partition(".")
        assert field in getattr(blocks, block.capitalize()).model_fields
        for value in allowed:
            assert parse_spec(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema.dimension", 4_097),
        ("schema.dimension", -1),
        ("schema.dimension", 64.0),
        ("schema.dimension", "64"),
        ("schema.dimension", True),
        ("schema.id_type", "uuid"),
        ("schema.normalize", "yes"),
        ("schema.attributes", [{"name": "v1", "type": "int64"}]),
        ("schema.attributes", [{"name": "Score", "type": "int64"}]),
        ("schema.attributes", [{"name": "NOT", "type": "bool"}]),
        ("schema.attributes", [{"name": "a b", "type": "bool"}]),
        ("schema.attributes", [{"name": "год", "type": "int64"}]),
        ("schema.attributes", [{"name": f"a{n}", "type": "bool"} for n in range(101)]),
        ("schema.attributes", {"name": "a", "type": "bool"}),
        ("source.uri", "file:../books/"),
        ("source.uri", "s3://bucket/films/../books/"),
        ("source.uri", "gs://bucket/films/"),
        ("source.uri", "file:a::s3:b"),
        ("source.uri", "https://example.org/films"),
        ("source.uri", ""),
        ("source.files", ["/etc/passwd"]),
        ("source.files", ["../*.parquet"]),
        ("source.files", [""]),
        ("source.files", "items-*.parquet"),
        ("source.columns", {"id": "a\0"}),
        ("engine.params", {"M": 16}),
        ("engine.params", []),
        ("search.recall_target", 0),
        ("search.recall_target", 1.5),
        ("search.recall_target", None),
        ("search.at", 0),
        ("guards.max_drop_percent", 101),
        ("guards.min_recall", 2),
        ("guards.min_recall", None),
        ("guards.max_p99_ratio", 0),
        ("guards.min_items", -1),
        ("guards.min_items", 10**30),
        ("guards.p99_floor_ms", float("nan")),
        ("versions.keep", 11),
        ("replicas.count", 0),
        ("limits.qps", 0),
        ("limits.qps", 1.5),
        ("limits.concurrency", 0),
        ("limits.max_top_k", 10_001),
        ("limits.max_ef", 0),
        ("limits.allow_exact", 1),
    ],
)
def test_it_refuses_a_value_out_of_range_and_names_the_field(path, value):
    found = faults(changed(path, value))
    assert all(field.startswith(path) or field == "search.params" for field in found), found


def test_it_refuses_two_attributes_of_one_name():
    attributes = [
        {"name": "year", "type": "int64"},
        {"name": "genre", "type": "string"},
        {"name": "year", "type": "bool"},
    ]
    found = faults(changed("schema.attributes", attributes))
    assert found == {"schema.attributes": "attributes[2] is the second one with the name year."}


def test_it_refuses_a_recall_that_no_tuned_index_would_reach():
    found = faults(make_spec(search={"recall_target": 0.9}))
    assert list(found) == ["guards.min_recall"]
    assert parse_spec(make_spec(search={"recall_target": 0.9}, guards={"min_recall": 0.85}))


def test_it_refuses_parameters_for_an_engine_that_is_not_chosen_yet():
    assert "Name an engine" in faults(make_spec(engine={"name": "auto", "params": {"M": 8}}))["engine.params"]


def test_it_refuses_a_search_effort_for_an_engine_that_has_none():
    assert list(faults(make_spec(engine="flat", search={"params": {"ef": 10}}))) == ["search.params.ef"]


def test_it_keeps_a_fixed_effort_for_the_engine_that_auto_will_choose():
    assert parse_spec(make_spec(engine="auto", search={"params": {"ef": 70}})).search.params == {"ef": 70}


@pytest.mark.parametrize("data", [None, [], "films", 7, True])
def test_it_refuses_what_is_no_object(data):
    with pytest.raises(InvalidArgument, match="A spec is an object"):
        parse_spec(data)


def test_it_asks_for_the_three_fields_that_have_no_default():
    assert faults({}) == dict.fromkeys(("name", "schema", "source"), "This field is required.")


def test_it_does_not_change_what_it_is_given():
    data = changed("versions.rollout", "zone_by_zone")
    before = copy.deepcopy(data)
    faults(data)
    assert data == before


def test_its_message_is_short_however_many_faults_there_are():
    data = {f"field{n}": n for n in range(500)}
    with pytest.raises(InvalidArgument, match=r"and 500 more") as caught:
        parse_spec(data)
    assert len(caught.value.details) == 50
    assert len(caught.value.message) < 500


def test_it_has_a_schema_for_the_api():
    properties = ServiceSpec.model_json_schema(by_alias=True)["properties"]
    assert list(properties) == list(CONTRACT_SPEC)


def test_an_engine_that_lacks_something_here_cannot_be_chosen_and_says_what_to_do(monkeypatch):
    monkeypatch.delenv("RECALL_MILVUS_INSTANCES")
    told = faults(make_spec(engine="milvus"))["engine.name"]
    assert told.startswith("The engine milvus cannot be chosen: No Milvus instance is configured here.")
    assert "RECALL_MILVUS_INSTANCES" in told
    assert told.endswith("and restarts them: processes read it when they start.")

"""Whatever a caller sends, to a real gateway process with real replicas: an answer, or an error of the contract.

Never INTERNAL, never a deadline that passes for nothing, and nobody dies. The requests come from the proto itself, so a
field or an RPC that is added is fuzzed without a line here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio
import numpy as np
import psutil
import pytest
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recallpb.v1 import recall_pb2
from tests.gateway.harness import ALICES_KEY, FILMS, Caller, Harness, Refused, limits, packed, query, route
from tests.gateway.messages import ANY_TEXT, messages
from tests.gateway.real import by_vectors, route_of
from tests.support.artifacts import MadeArtifact, make_artifact
from tests.support.query_models import Tower
from tests.support.replica_hosts import Host, running_host

pytestmark = pytest.mark.servers

Code = grpc.StatusCode
DIMENSION = 8
ITEMS = 200
TOP_K_MAX = 100
CALL_SECONDS_MAX = 10.0
TEXTS = "tenants/films/services/texts"
SERVICE = recall_pb2.DESCRIPTOR.services_by_name["RecallService"]
RPCS = [method.name for method in SERVICE.methods]

# What the contract gives to a caller with a good key whose request is at fault; a batch names them by number.
REFUSALS = {Code.INVALID_ARGUMENT, Code.PERMISSION_DENIED, Code.FAILED_PRECONDITION, Code.RESOURCE_EXHAUSTED}
REFUSAL_NUMBERS = {code.value[0] for code in REFUSALS}
# A whole message that nobody can read has no field to name.
WITHOUT_FIELD = {"REQUEST_UNREADABLE"}

ATTRIBUTES = {
    "title": ("string", [None if row % 5 == 0 else f"film {row}" for row in range(ITEMS)]),
    "year": ("int64", [None if row % 7 == 0 else 1900 + row for row in range(ITEMS)]),
    "rating": ("float64", [row / 7 for row in range(ITEMS)]),
    "seen": ("bool", [row % 2 == 0 for row in range(ITEMS)]),
    "genres": ("list<string>", [["noir", f"g{row % 3}"][: row % 3] for row in range(ITEMS)]),
}
FILTERS = [
    "year >= 1950",
    "year >= 1950 and not seen == true or genres contains 'noir'",
    "title in ['film 1', 'film 2'] and rating < 9.5",
    "genres contains_any ['g1', 'g2'] or title is null",
    "year == 'text'",
    "colour == 'red'",
    "year >=",
    "(" * 1_000 + "year > 1" + ")" * 1_000,
    "not " * 1_000 + "seen == true",
    " and ".join(["year > 1900"] * 800),
    "year > 99999999999999999999999999",
    "rating > 1e999",
    "title == '" + "x" * 10_000 + "'",
]

floats = st.floats(-10, 10, width=32) | st.floats(width=32)
packed_vectors = st.lists(floats, min_size=DIMENSION, max_size=DIMENSION).map(lambda v: np.array(v, "<f4").tobytes())
HINTS: dict[str, st.SearchStrategy[Any]] = {
    **{f"{method.input_type.full_name}.service": st.sampled_from([FILMS, FILMS, TEXTS]) for method in SERVICE.methods},
    "recallpb.v1.RecallRequest.query": st.nothing(),
    "recallpb.v1.RecallRequest.top_k": st.integers(1, TOP_K_MAX),
    "recallpb.v1.RecallRequest.filter": st.sampled_from([*[""] * 2 * len(FILTERS), *FILTERS]),
    "recallpb.v1.RecallRequest.return_attributes": st.sampled_from(list(ATTRIBUTES)),
    "recallpb.v1.GetItemsRequest.return_attributes": st.sampled_from(list(ATTRIBUTES)),
    "recallpb.v1.RecallRequest.require_version": st.sampled_from([0, 1]),
    "recallpb.v1.RecallRequest.model_version": st.sampled_from(["", "mind-7"]),
    "recallpb.v1.RecallRequest.min_token": st.just(""),
    "recallpb.v1.RecallRequest.merge": st.integers(0, 2),
    "recallpb.v1.SearchParams.ef": st.integers(1, 500),
    "recallpb.v1.SearchParams.nprobe": st.integers(1, 100),
    "recallpb.v1.Vector.packed": packed_vectors,
    "recallpb.v1.VectorQuery.weights": st.just(1.0),
    "recallpb.v1.ItemIds.ids": st.integers(990, 1_700),
    "recallpb.v1.ItemIds.text_ids": st.integers(990, 1_700).map(lambda number: f"film-{number}"),
    "recallpb.v1.WeightedItem.id": st.integers(990, 1_700),
    "recallpb.v1.WeightedItem.text_id": st.integers(990, 1_700).map(lambda number: f"film-{number}"),
    "recallpb.v1.FeatureQuery.FeaturesEntry.key": st.sampled_from(["history", "age", "history_length", "city"]),
}
# Half of the queries ask by something that can be answered, so that the rest of the request matters.
good_vectors = st.lists(
    st.lists(st.floats(-10, 10, width=32), min_size=DIMENSION, max_size=DIMENSION).map(packed), min_size=1, max_size=3
).map(lambda vectors: recall_pb2.VectorQuery(vectors=vectors))
good_items = st.lists(
    st.integers(333, 400).map(lambda number: recall_pb2.WeightedItem(id=number * 3 + 1)), min_size=1, max_size=4
).map(lambda items: recall_pb2.ItemQuery(items=items))
# The tower's table has 50 rows; beyond them is what the model itself refuses.
good_features = st.tuples(st.lists(st.integers(0, 50), max_size=7), st.floats(0, 99, width=32)).map(
    lambda history_and_age: recall_pb2.FeatureQuery(
        features={
            "history": recall_pb2.Feature(ints=recall_pb2.Int64List(values=history_and_age[0])),
            "age": recall_pb2.Feature(floats=recall_pb2.FloatList(values=[history_and_age[1]])),
        }
    )
)
seen = st.lists(st.integers(990, 1_700), max_size=5).map(lambda ids: recall_pb2.ItemIds(ids=ids))
HINTS |= {
    "recallpb.v1.RecallRequest.vectors": good_vectors | messages(recall_pb2.VectorQuery.DESCRIPTOR, HINTS),
    "recallpb.v1.RecallRequest.items": good_items | messages(recall_pb2.ItemQuery.DESCRIPTOR, HINTS),
    "recallpb.v1.RecallRequest.features": good_features | messages(recall_pb2.FeatureQuery.DESCRIPTOR, HINTS),
    "recallpb.v1.RecallRequest.exclude": seen | messages(recall_pb2.ItemIds.DESCRIPTOR, HINTS),
}
FUZZING = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.large_base_example],
)


# Of each RPC, how often it was answered (under OK) and how often refused for each reason.
OUTCOMES: dict[str, Counter[str]] = defaultdict(Counter)
# How often a query of each kind was answered.
ANSWERED: Counter[str] = Counter()


class Fuzzed:
    """The gateway process, the replicas behind it, and a caller with a good key."""

    def __init__(self, harness: Harness, hosts: dict[str, Host], gateway: psutil.Process) -> None:
        self.hosts = hosts
        self.gateway = gateway
        self.caller: Caller = harness.caller()

    async def ask(self, rpc: str, request: Any) -> Any:
        """The answer, or None after a refusal of the contract; anything else fails."""
        try:
            answer = await self.caller.call(rpc, request, seconds=CALL_SECONDS_MAX)
        except Refused as refused:
            check_refusal(refused)
            OUTCOMES[rpc][refused.reason] += 1
            return None
        OUTCOMES[rpc]["OK"] += 1
        return answer

    async def send(self, rpc: str, payload: bytes) -> None:
        """The same for bytes that may be no request at all."""
        call = self.caller.channel.unary_unary(f"/recallpb.v1.RecallService/{rpc}")
        try:
            await call(payload, metadata=(("authorization", f"Bearer {ALICES_KEY}"),), timeout=CALL_SECONDS_MAX)
        except grpc.aio.AioRpcError as error:
            check_refusal(Refused(error))

    async def is_well(self) -> None:
        """Nobody has died, and a plain query is answered."""
        assert self.gateway.is_running()
        assert [host.process.poll() for host in self.hosts.values()] == [None, None]
        for service in self.hosts:
            answer = await self.caller.recall(by_vectors(np.ones(DIMENSION), service=service))
            assert len(answer.scores) == 10


def check_refusal(refused: Refused) -> None:
    """An error of the contract: its code, a stable reason, words, and what is invalid has a field."""
    assert refused.code in REFUSALS, refused
    assert refused.reason.isupper(), refused
    assert refused.domain == "recall"
    assert refused.details
    named = bool(refused.fields) or refused.reason in WITHOUT_FIELD
    assert named or refused.code is not Code.INVALID_ARGUMENT, refused


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[MadeArtifact, Host]]]:
    """One service with numbers as ids and a query model, and one with texts and without."""
    with ExitStack() as stack:
        found = {}
        for name in (FILMS, TEXTS):
            service = name.rpartition("/")[2]
            made = make_artifact(
                tmp_path_factory.mktemp(service),
                items=ITEMS,
                hidden=20,
                dimension=DIMENSION,
                service=service,
                text_ids=name == TEXTS,
                attributes=ATTRIBUTES,
                tower=Tower.of(1, dimension=DIMENSION, vectors=2) if name == FILMS else None,
            )
            found[name] = made, stack.enter_context(running_host(made))
        yield found


@pytest.fixture
async def fuzzed(harness: Harness, hosts: dict[str, tuple[MadeArtifact, Host]]) -> Fuzzed:
    for name, (made, host) in hosts.items():
        harness.publish(route(route_of(made, host), name=name, limits=limits(allow_exact=True, max_top_k=TOP_K_MAX)))
    process = await harness.start_process()
    fuzzed = Fuzzed(harness, {name: host for name, (_, host) in hosts.items()}, psutil.Process(process.pid))
    # The routes come with the first poll.
    await fuzzed.is_well()
    return fuzzed


def check_answer(answer: Any, top_k: int) -> None:
    """Columns of one length, no more than was asked for, and numbers that are numbers."""
    count = len(answer.scores)
    assert count == len(answer.ids) + len(answer.text_ids) <= top_k
    assert answer.shortfall == top_k - count
    assert np.isfinite(np.array(answer.scores)).all()
    assert len(answer.found_by) in (0, count)
    assert len(answer.vectors) in (0, count)
    assert len(set(answer.ids)) + len(set(answer.text_ids)) == count


@given(request=messages(SERVICE.methods_by_name["Recall"].input_type, HINTS))
@settings(FUZZING, max_examples=400)
async def test_a_query_is_answered_or_refused(fuzzed: Fuzzed, request: Any) -> None:
    answer = await fuzzed.ask("Recall", request)
    if answer is not None:
        ANSWERED[request.WhichOneof("query")] += 1
        check_answer(answer, request.top_k)


@given(request=messages(SERVICE.methods_by_name["BatchRecall"].input_type, HINTS))
@settings(FUZZING, max_examples=150)
async def test_each_query_of_a_batch_is_answered_or_refused(fuzzed: Fuzzed, request: Any) -> None:
    answer = await fuzzed.ask("BatchRecall", request)
    if answer is None:
        return
    for asked, result in zip(request.requests, answer.results, strict=True):
        if result.WhichOneof("result") == "response":
            check_answer(result.response, asked.top_k)
        else:
            assert result.error.code in REFUSAL_NUMBERS, result.error
            assert result.error.reason.isupper()
            assert result.error.message
            assert result.error.field or result.error.code != Code.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize("rpc", RPCS)
@given(data=st.data())
@settings(FUZZING, max_examples=100)
async def test_every_rpc_answers_or_refuses(fuzzed: Fuzzed, rpc: str, data: st.DataObject) -> None:
    method = SERVICE.methods_by_name[rpc]
    answer = await fuzzed.ask(rpc, data.draw(messages(method.input_type, HINTS)))
    assert answer is None or isinstance(answer, GetMessageClass(method.output_type))


@given(rpc=st.sampled_from(RPCS), payload=st.binary(max_size=200))
@settings(FUZZING, max_examples=150)
async def test_bytes_that_are_no_request_are_refused(fuzzed: Fuzzed, rpc: str, payload: bytes) -> None:
    await fuzzed.send(rpc, payload)


@given(
    request=messages(SERVICE.methods_by_name["Recall"].input_type, HINTS),
    other=messages(SERVICE.methods_by_name["Recall"].input_type, HINTS),
    cut=st.integers(0, 300),
    flipped=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 255)), max_size=4),
)
@settings(FUZZING, max_examples=250)
async def test_a_request_that_is_cut_garbled_or_two_in_one_is_answered_or_refused(
    fuzzed: Fuzzed, request: Any, other: Any, cut: int, flipped: list[tuple[int, int]]
) -> None:
    """Two messages in a row are one whose fields are set twice: both members of a oneof, say."""
    payload = bytearray(request.SerializeToString())
    await fuzzed.send("Recall", bytes(payload[:cut]))
    for place, bits in flipped:
        if place < len(payload):
            payload[place] ^= bits
    await fuzzed.send("Recall", bytes(payload))
    await fuzzed.send("Recall", request.SerializeToString() + other.SerializeToString())


@pytest.mark.parametrize("filter_by", FILTERS, ids=range(len(FILTERS)))
async def test_a_filter_however_odd_is_answered_or_refused(fuzzed: Fuzzed, filter_by: str) -> None:
    answer = await fuzzed.ask("Recall", by_vectors(np.ones(DIMENSION), filter=filter_by))
    if answer is not None:
        check_answer(answer, 10)
    await fuzzed.is_well()


WORDS = [*"()[],'\"\\", *ATTRIBUTES, *FILTERS[:3], "and", "or", "not", "in", "==", "1", "'x'"]


@given(filter_by=ANY_TEXT | st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join))
@settings(FUZZING, max_examples=150)
async def test_any_text_as_a_filter_is_answered_or_refused(fuzzed: Fuzzed, filter_by: str) -> None:
    await fuzzed.ask("Recall", by_vectors(np.ones(DIMENSION), filter=filter_by))


HUGE: dict[str, recall_pb2.RecallRequest] = {
    "top_k": query(top_k=2**31 - 1),
    "excluded ids": query(exclude=recall_pb2.ItemIds(ids=range(10_001))),
    "excluded ids of the greatest numbers": query(exclude=recall_pb2.ItemIds(ids=range(2**63 - 10_000, 2**63))),
    "excluded texts": query(service=TEXTS, exclude=recall_pb2.ItemIds(text_ids=["x" * 500] * 9_000)),
    "vectors": by_vectors(*np.ones((65, DIMENSION))),
    "a vector": by_vectors(np.ones(1_000_000)),
    "weights": recall_pb2.RecallRequest(
        service=FILMS, top_k=5, vectors=recall_pb2.VectorQuery(weights=[1.0] * 1_000_000)
    ),
    "attributes": query(return_attributes=["year"] * 100_000),
    "a model's name": query(model_version="x" * 2**20),
    "a token": query(min_token="x" * 2**20),
    "ef": query(params=recall_pb2.SearchParams(ef=2**31 - 1)),
    "items": recall_pb2.RecallRequest(
        service=FILMS, top_k=5, items=recall_pb2.ItemQuery(items=[recall_pb2.WeightedItem(id=1_000)] * 200_000)
    ),
    "features": recall_pb2.RecallRequest(
        service=FILMS,
        top_k=5,
        features=recall_pb2.FeatureQuery(
            features={"history": recall_pb2.Feature(ints=recall_pb2.Int64List(values=range(500_000)))}
        ),
    ),
}


@pytest.mark.parametrize("what", HUGE)
async def test_too_much_of_anything_is_answered_or_refused(fuzzed: Fuzzed, what: str) -> None:
    answer = await fuzzed.ask("Recall", HUGE[what])
    if answer is not None:
        check_answer(answer, HUGE[what].top_k)
    await fuzzed.is_well()


@pytest.mark.parametrize("rpc", RPCS)
async def test_a_message_of_100_mb_is_refused_and_costs_the_gateway_no_such_memory(fuzzed: Fuzzed, rpc: str) -> None:
    before = fuzzed.gateway.memory_info().rss
    payload = bytes(100 * 2**20)
    call = fuzzed.caller.channel.unary_unary(f"/recallpb.v1.RecallService/{rpc}")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(payload, metadata=(("authorization", f"Bearer {ALICES_KEY}"),), timeout=CALL_SECONDS_MAX)
    assert caught.value.code() is Code.RESOURCE_EXHAUSTED
    assert fuzzed.gateway.memory_info().rss - before < 50 * 2**20
    await fuzzed.is_well()


def test_what_was_fuzzed_got_past_the_first_check_and_met_the_others() -> None:
    """Runs after the others: requests that all failed for one reason would have shown nothing."""
    outcomes = OUTCOMES["Recall"]
    if outcomes:
        assert outcomes["OK"] > outcomes.total() / 50, outcomes
        assert len(outcomes) >= 12, outcomes
        assert set(ANSWERED) == {"vectors", "items", "features"}, ANSWERED

"""Names at an instance: no two services share one, and none looks like a collection's."""

from __future__ import annotations

import re

from hypothesis import assume, given
from hypothesis import strategies as st

from engines.base import ServiceName
from engines.milvus.aliases import alias_of
from engines.milvus.reference import NAME

# As the platform allows them.
NAMES = st.from_regex(re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII), fullmatch=True)
SERVICES = st.builds(ServiceName, NAMES, NAMES)


def test_people_can_read_it() -> None:
    assert alias_of(ServiceName("films", "movie-night")) == "recall_T_films_S_movie_night"


@given(SERVICES)
def test_an_instance_takes_it_and_no_collection_of_ours_has_it(service: ServiceName) -> None:
    alias = alias_of(service)
    assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", alias)
    assert not re.fullmatch(NAME, alias)


@given(SERVICES, SERVICES)
def test_no_two_services_have_the_same(one: ServiceName, other: ServiceName) -> None:
    assume(one != other)
    assert alias_of(one) != alias_of(other)


def test_where_one_name_ends_and_the_next_begins_is_no_riddle() -> None:
    services = [("a", "b--c"), ("a--b", "c"), ("a-b", "c"), ("a", "b-c"), ("a", "s-b"), ("a-s", "b"), ("a-s-b", "c")]
    assert len({alias_of(ServiceName(*service)) for service in services}) == len(services)

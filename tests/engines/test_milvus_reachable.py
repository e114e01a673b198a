"""An errand to many instances, of which several are silent, ends in time and tells what was done for the others."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from engines import registry
from engines.base import IndexSpec
from engines.errors import EngineUnavailable
from engines.milvus import connection, reachable, removal
from engines.milvus.reachable import Reachable, in_any_order
from engines.milvus.reference import Reference, references_in
from tests.support.milvus import running_milvus

SILENT = 4
CONNECT_SECONDS = 0.5
MEETING_SECONDS = 0.5
FLAT = IndexSpec("ip", 4, params={"index_type": "FLAT"})
SETTING = "RECALL_MILVUS_INSTANCES"


@pytest.fixture
def silent() -> Iterator[str]:
    """Instances as the setting names them, to which one connects, and which never say anything."""
    with ExitStack() as open_ones:
        sockets = [open_ones.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(SILENT)]
        yield ",".join(f"silent-{number}=http://127.0.0.1:{s.getsockname()[1]}" for number, s in enumerate(sockets))


def index_at_silent(number: int, folder: Path) -> Path:
    folder.mkdir()
    names = {"instance": f"silent-{number}", "collection": f"recall_{number:020x}"}
    Reference(**names, index_type="FLAT", metric="ip", dimension=4, rows=4).write(folder)
    return folder


def remove(going: list[Path], monkeypatch: pytest.MonkeyPatch) -> dict[Path, str]:
    """In this order."""
    monkeypatch.setattr(removal, "in_any_order", list)
    return removal.remove(going, [])


@pytest.mark.servers
def test_what_is_to_be_removed_at_others_waits_for_silent_instances_by_chance_and_not_for_ever(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_SECONDS_MAX", CONNECT_SECONDS)
    monkeypatch.setattr(reachable, "MEETING_SECONDS_MAX", MEETING_SECONDS)
    with running_milvus() as server:
        monkeypatch.setenv(SETTING, f"well={server.uri},{silent}")
        well = tmp_path / "well"
        well.mkdir()
        registry.builder("milvus").build(FLAT, np.eye(4, dtype=np.float32), well, int)
        assert [each.instance for each in references_in(well)] == ["well"]
        away = [index_at_silent(number, tmp_path / f"silent-{number}") for number in range(SILENT)]
        left = remove([*away, well], monkeypatch)
        assert set(left) == {*away, well}
        assert "the instance silent-0: " in left[away[0]]
        assert left[well] == "the instance well was not asked this time: others were silent for too long"
        assert set(remove([well, *away], monkeypatch)) == set(away)


def test_a_name_that_is_not_configured_any_more_is_left_with_what_to_do_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "green=http://127.0.0.1:1")
    folder = index_at_silent(0, tmp_path / "index")
    assert removal.remove([folder], []) == {
        folder: "the instance silent-0, where the index is, is not one of RECALL_MILVUS_INSTANCES in this process. "
        "An administrator has to name it again in RECALL_MILVUS_INSTANCES; if it is gone for good, point its name at "
        "any instance that is there: what is not found counts as removed."
    }


def test_one_that_was_met_in_time_is_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "blue=http://127.0.0.1:1,green=http://127.0.0.1:1")
    errand = Reachable()
    with errand.at("blue"):
        pass
    late = time.monotonic() + reachable.MEETING_SECONDS_MAX + 1
    monkeypatch.setattr(time, "monotonic", lambda: late)
    with errand.at("blue") as blue:
        assert blue.name == "blue"
    with pytest.raises(EngineUnavailable, match="green was not asked"), errand.at("green"):
        pass


def test_the_order_is_another_one_each_time() -> None:
    things: Iterable[int] = range(20)
    orders = {tuple(in_any_order(things)) for _ in range(20)}
    assert len(orders) > 1
    assert {tuple(sorted(order)) for order in orders} == {tuple(things)}

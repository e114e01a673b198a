"""Where the instances are is one setting, and no password in it is ever shown. No server is asked here."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines import registry, settings
from engines.base import IndexSpec
from engines.errors import EngineUnavailable, ParamsInvalid
from engines.milvus.connection import instance
from engines.milvus.instances import Address, SettingWrong, configured, lacks
from engines.milvus.params import REFERENCE_FILE
from engines.milvus.placing import building_instance, refuses_connections
from engines.milvus.reference import Reference

SETTING = "RECALL_MILVUS_INSTANCES"
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    monkeypatch.delenv(f"{SETTING}_FILE", raising=False)


def test_without_an_instance_a_build_is_refused_with_the_field_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ParamsInvalid, match=rf"No Milvus instance.*{SETTING}, such as blue=http://") as refused:
        registry.builder("milvus").build(IndexSpec("ip", 4), np.eye(4, dtype=np.float32), tmp_path, int)
    assert refused.value.field == "engine"
    assert registry.describe("milvus").lacks() == refused.value.message


def test_no_other_engine_lacks_anything() -> None:
    assert {name for name in registry.names() if registry.describe(name).lacks()} == {"milvus"}


def test_instances_have_names_and_addresses_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "green=tcp://[::1]:19530, blue=https://u:p%40ss%2C@milvus.example.org:443/films ,")
    found = list(configured().values())
    assert [(each.name, each.uri, each.database) for each in found] == [
        ("green", "tcp://[::1]:19530", ""),
        ("blue", "https://milvus.example.org:443", "films"),
    ]
    assert [each.token for each in found] == ["", "u:p@ss,"]
    assert lacks() == ""


def test_the_setting_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "instances"
    monkeypatch.setenv(f"{SETTING}_FILE", str(file))
    assert "No such file" in lacks()
    file.write_text("blue=http://127.0.0.1:19530\n")
    assert list(configured()) == ["blue"]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (f"http://u:{SECRET}@10.0.0.5:19530", "entry 1 is not a name and an address"),
        (f"Blue=http://u:{SECRET}@10.0.0.5:19530", "entry 1 is not a name"),
        (f"a=http://h:1,a=http://u:{SECRET}@h:2", "entry 2 names a once more"),
        (f"blue=redis://u:{SECRET}@10.0.0.5:19530", "the address of blue is not http://"),
        (f"blue=http://u:{SECRET}@10.0.0.5", "with a host and a port"),
        (f"blue=http://u:{SECRET}@10.0.0.5:port", "with a host and a port"),
        (f"blue=./{SECRET}.db", "the address of blue is not"),
    ],
)
def test_a_wrong_setting_is_named_and_never_quoted(value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, value)
    with pytest.raises(SettingWrong, match=says) as wrong:
        configured()
    assert SETTING in lacks()
    assert settings.wrong() == f"{wrong.value}."
    assert SECRET not in str(wrong.value) + lacks()


def test_what_is_not_set_is_not_wrong_and_who_looks_imports_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.wrong() == ""
    monkeypatch.setenv(SETTING, "blue=http://10.0.0.5:19530")
    assert settings.wrong() == ""
    code = (
        "import sys\n"
        "from engines import settings\n"
        "settings.wrong()\n"
        "print(*(name in sys.modules for name in ('numpy', 'pydantic', 'pymilvus')))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False"] * 3


def test_a_password_is_neither_in_what_an_address_shows_nor_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from engines.milvus.connection import instance

    monkeypatch.setenv(SETTING, f"blue=http://user:{SECRET}@127.0.0.1:1")
    assert SECRET not in repr(configured())
    with pytest.raises(EngineUnavailable, match="the instance blue: Fail connecting") as refused:
        instance("blue").ask(lambda client: client.list_collections())
    assert SECRET not in str(refused.value)


def test_the_library_brings_no_pandas_which_every_process_with_an_array_would_import() -> None:
    code = (
        "import sys, pyarrow, engines.milvus.library\n"
        "pyarrow.array([1, 2])\n"
        "print('pymilvus' in sys.modules, 'pandas' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["True", "False"]


@pytest.mark.parametrize(
    ("beside", "chosen"),
    [
        ((), "blue"),
        (("blue",), "green"),
        (("green",), "blue"),
        (("blue", "green"), "red"),
        # All of them serve: the one of what is least needed, and never that of what is live.
        (("blue", "green", "red"), "red"),
        (("red", "green", "blue"), "blue"),
        (("blue", "green", "red", "red", "green"), "red"),
        (("elsewhere",), "blue"),
    ],
)
def test_a_build_is_made_where_nothing_serves_or_else_what_is_least_needed(
    beside: tuple[str, ...], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, ",".join(f"{name}=http://127.0.0.1:1" for name in ("blue", "green", "red")))
    folders = [index_on(name, tmp_path / str(place)) for place, name in enumerate(beside)]
    assert building_instance([str(folder) for folder in folders]) == chosen


def refusing(*names: str) -> Callable[[Address], bool]:
    return lambda address: address.name in names


@pytest.mark.parametrize(
    ("live", "away", "chosen"),
    [
        ((), ("red",), "blue"),
        # All that is free is away, or is none: others' callers come before a build that cannot be.
        (("blue",), ("green",), "red"),
        (("green", "blue"), ("red",), "blue"),
        # But the service's own do not.
        (("blue", "green"), ("red", "green"), "red"),
        (("blue",), ("red", "green"), "green"),
        # Where none answers the choice is what it was, and so is what the build says.
        (("blue",), ("blue", "green", "red"), "green"),
    ],
)
def test_an_instance_that_refuses_connections_is_passed_over_and_not_for_that_of_the_own_live_version(
    live: tuple[str, ...], away: tuple[str, ...], chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, ",".join(f"{name}=http://127.0.0.1:1" for name in ("blue", "green", "red")))
    folders = [str(index_on(name, tmp_path / name)) for name in live]
    assert building_instance(folders, (), folders[:1], refuses=refusing(*away)) == chosen


def test_builds_under_way_are_not_joined_where_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "blue=http://127.0.0.1:1,green=http://127.0.0.1:2")
    group = [str(index_on("green", tmp_path / "group"))]
    assert building_instance((), group) == "green"
    assert building_instance((), group, refuses=refusing("green")) == "blue"


def test_whether_an_instance_refuses_is_tried_by_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address("blue", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert not refuses_connections(address)
    assert refuses_connections(address)
    assert Address("blue", "tcp://[::1]:19530").endpoint == ("::1", 19530)


def test_a_build_that_reaches_nobody_leaves_no_name_of_a_collection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can have been made there, so that nothing is to be removed, also where nobody knows it any more."""
    monkeypatch.setenv(SETTING, "red=http://127.0.0.1:1")
    with pytest.raises(EngineUnavailable, match="the instance red: Fail connecting to server on its address"):
        registry.builder("milvus").build(IndexSpec("ip", 4), np.eye(4, dtype=np.float32), tmp_path, int)
    assert not registry.is_more_than_files(tmp_path)


def test_the_only_instance_builds_also_what_it_serves_and_other_engines_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "blue=http://127.0.0.1:1,green=http://127.0.0.1:2")
    other, torn = tmp_path / "other", tmp_path / "torn"
    for folder in (other, torn):
        folder.mkdir()
    (other / "index.bin").write_bytes(b"a graph")
    (torn / REFERENCE_FILE).write_text("{")
    assert building_instance([str(other), str(torn), str(tmp_path / "nowhere")]) == "blue"
    monkeypatch.setenv(SETTING, "blue=http://127.0.0.1:1")
    assert building_instance([str(index_on("blue", tmp_path / "live"))]) == "blue"


def index_on(instance: str, folder: Path) -> Path:
    """Where an index says that it is."""
    folder.mkdir()
    Reference(instance=instance, collection="recall_00", index_type="FLAT", metric="ip", dimension=4, rows=1).write(
        folder
    )
    return folder


def test_an_error_names_the_instance_and_not_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody listens on a port of this number.
    monkeypatch.setenv(SETTING, f"blue=http://user:{SECRET}@127.0.0.1:1")
    with pytest.raises(EngineUnavailable) as refused:
        instance("blue").ask(lambda client: client.list_collections())
    assert refused.value.message.startswith("the instance blue: Fail connecting to server on its address")
    for secret in ("127.0.0.1", SECRET):
        assert secret not in refused.value.message

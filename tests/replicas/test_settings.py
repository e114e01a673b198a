from __future__ import annotations

from pathlib import Path

import pytest

from replicas.logs import cap_log
from replicas.settings import SOCKET_PATH_BYTES_MAX, AgentSettings, HostSettings, make_run_dir


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = ("RECALL_SEARCH_THREADS", "RECALL_ANSWER_THREADS")
    for name in ("RECALL_HOME", "RECALL_RUN_DIR", "RECALL_NODE", "RECALL_REDIS_URL", *threads):
        monkeypatch.delenv(name, raising=False)


def test_everything_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = AgentSettings()

    assert settings.home == tmp_path / "var"
    assert settings.node == "local"
    assert HostSettings().search_threads >= 1


@pytest.mark.parametrize(
    ("cores", "given", "search_threads"),
    [
        (8, {}, 4),
        (1, {}, 1),
        (8, {"RECALL_ANSWER_THREADS": "8"}, 1),
        (8, {"RECALL_ANSWER_THREADS": "1"}, 8),
        (8, {"RECALL_ANSWER_THREADS": "16"}, 1),
        (8, {"RECALL_SEARCH_THREADS": "3", "RECALL_ANSWER_THREADS": "8"}, 3),
    ],
)
def test_calls_share_the_cores_unless_they_are_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, cores: int, given: dict[str, str], search_threads: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert HostSettings().search_threads == search_threads


def test_the_run_dir_is_short_however_long_the_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_HOME", str(tmp_path / ("deep/" * 40)))

    run_dir = AgentSettings().run_dir

    assert len(str(run_dir / "r123456789.sock")) < SOCKET_PATH_BYTES_MAX
    assert run_dir == HostSettings().run_dir


def test_two_homes_have_two_run_dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_HOME", str(tmp_path / "a"))
    first = AgentSettings().run_dir
    monkeypatch.setenv("RECALL_HOME", str(tmp_path / "b"))

    assert AgentSettings().run_dir != first


def test_the_redis_address_follows_the_launchers_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_HOME", str(tmp_path))
    settings = AgentSettings()
    assert settings.redis_address() == ""

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "redis.url").write_text("redis://127.0.0.1:7001/0\n")
    assert settings.redis_address() == "redis://127.0.0.1:7001/0"

    monkeypatch.setenv("RECALL_REDIS_URL", "redis://127.0.0.1:7002/0")
    assert AgentSettings().redis_address() == "redis://127.0.0.1:7002/0"


@pytest.mark.parametrize("node", ["../x", "", "a/b", ".hidden"])
def test_a_node_name_cannot_leave_its_folder(node: str) -> None:
    with pytest.raises(ValueError, match="node"):
        AgentSettings(node=node)


def test_it_refuses_a_run_dir_that_others_may_enter(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(tmp_path)

    make_run_dir(tmp_path / "closed")
    assert (tmp_path / "closed").stat().st_mode & 0o777 == 0o700
    for path in ("open", "link"):
        with pytest.raises(PermissionError):
            make_run_dir(tmp_path / path)


def test_a_log_keeps_its_newest_part(tmp_path: Path) -> None:
    log = tmp_path / "replica-r1.log"
    log.write_bytes(b"old" * 100 + b"new" * 100)

    cap_log(log, 1_000)
    assert log.stat().st_size == 600

    with log.open("ab") as writer:
        cap_log(log, 300)
        writer.write(b"next")
    assert (tmp_path / "replica-r1.log.1").read_bytes() == b"new" * 100
    assert log.read_bytes() == b"next"

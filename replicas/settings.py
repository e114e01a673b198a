"""Settings of the replica host and of the agent, from RECALL_* in the environment. Everything has a default."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 2**20
UNIX = "unix:"
# The query model's time, unless it is set: of one run, for one query or for some together.
MODEL_MS_MAX = 250
# A unix socket's path ends at 107 bytes; longer ones are cut or refused.
SOCKET_PATH_BYTES_MAX = 107


def _cores_of_a_call(given: dict[str, Any]) -> int:
    """The cores, shared among the calls that are worked on at once.

    More threads only take turns: 256 callers on 2 cores had a sixth more answers with 1 thread than with 2.
    """
    answer_threads: int = given["answer_threads"]
    return max(1, len(os.sched_getaffinity(0)) // answer_threads)


class NodeSettings(BaseSettings):
    """Where a node's things are; shared by host and agent."""

    model_config = SettingsConfigDict(env_prefix="RECALL_", extra="ignore", frozen=True)

    home: Path = Path("var")
    node: str = Field(default="local", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    # Empty: a short folder under /tmp that belongs to this user and this RECALL_HOME.
    run_dir: Path = Field(default=Path(), validate_default=True)

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.resolve()

    @field_validator("run_dir")
    @classmethod
    def _default_run_dir(cls, run_dir: Path, info: ValidationInfo) -> Path:
        if run_dir != Path():
            return run_dir.resolve()
        home = info.data.get("home", Path("var")).resolve()
        return Path("/tmp") / f"recall-{os.getuid()}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"  # noqa: S108


class HostSettings(NodeSettings):
    """Of one replica process."""

    # Calls of each lane worked on at once; a gateway keeps two of each to a replica under way.
    answer_threads: int = Field(default=2, ge=1, le=64)
    # Of each call. Its default follows from the setting above, which must stand before it.
    search_threads: int = Field(default_factory=_cores_of_a_call, ge=1, le=1024)
    # gRPC calls under way at once, waiting ones included; more are refused.
    replica_calls_max: int = Field(default=64, ge=1)
    # Gateways' connections, idle ones included: each gateway keeps as many as it ever had calls under way.
    replica_connections_max: int = Field(default=1024, ge=1)
    # A gateway's full batch of the largest requests, and all answers of a batch.
    replica_request_bytes_max: int = Field(default=128 * MIB, ge=MIB)
    replica_answer_bytes_max: int = Field(default=64 * MIB, ge=MIB)
    replica_drain_seconds_max: float = Field(default=10.0, gt=0)
    replica_top_k_max: int = Field(default=10_000, ge=1)
    replica_ef_max: int = Field(default=10_000, ge=1)
    # These can only be lowered: gateways refuse what is above their defaults before a replica sees it.
    replica_vectors_max: int = Field(default=64, ge=1, le=64)
    replica_exclude_ids_max: int = Field(default=10_000, ge=0, le=10_000)
    # For so long a replica looks for the next question of who asks one after the other, before it sleeps; 0: never.
    # The gateway reads the same setting, for a reply.
    poll_us_max: int = Field(default=1_000, ge=0, le=5_000)
    # In one query by items. The gateway reads the same setting.
    query_items_max: int = Field(default=1_000, ge=1, le=100_000)
    # After which a run of the query model is stopped.
    replica_model_ms_max: int = Field(default=MODEL_MS_MAX, ge=1)
    # Callers' queries that are kept for the builds of later versions, for 12 hours each; 0: none.
    query_samples: int = Field(default=1_000, ge=0, le=10_000)
    # Where they are kept; builds read it. Empty: below `home`.
    samples: Path = Field(default=Path(), validate_default=True)

    @field_validator("samples")
    @classmethod
    def _below_home(cls, samples: Path, info: ValidationInfo) -> Path:
        home: Path = info.data.get("home", Path("var")).resolve()
        return home / "samples" if samples == Path() else samples.resolve()


class AgentSettings(NodeSettings):
    """Of the agent, one per node."""

    redis_url: str = ""
    redis_seconds_max: float = Field(default=1.0, gt=0)

    # A replica comes back after 0.2 s, then after twice as long each time.
    respawn_seconds_min: float = Field(default=0.2, gt=0)
    respawn_seconds_max: float = Field(default=30.0, gt=0)
    # So many deaths within the window make a replica FAILED; it is still tried every respawn_seconds_max.
    respawn_deaths_max: int = Field(default=5, ge=1)
    respawn_window_seconds: float = Field(default=60.0, gt=0)

    probes_at_once_max: int = Field(default=2, ge=1)
    probe_seconds_max: float = Field(default=900.0, gt=0)
    load_seconds_max: float = Field(default=900.0, gt=0)
    describe_every_seconds: float = Field(default=1.0, gt=0)
    describe_seconds_max: float = Field(default=5.0, gt=0)
    # So many Describes in a row without an answer: the process is frozen and is killed.
    describe_failures_max: int = Field(default=3, ge=1)
    # Each ready replica is asked known-answer queries so often; one that says nothing for so long is silent.
    audit_every_seconds: float = Field(default=1.0, gt=0)
    audit_seconds_max: float = Field(default=1.0, gt=0)
    order_seconds_max: float = Field(default=600.0, gt=0)
    order_attempts_max: int = Field(default=3, ge=1)
    stop_seconds_max: float = Field(default=15.0, gt=0)
    replica_log_bytes_max: int = Field(default=16 * MIB, ge=4096)

    def redis_address(self) -> str:
        """The URL in force now: the launcher's file may name another port after a restart. Empty: none is known."""
        if self.redis_url:
            return self.redis_url
        path = self.home / "run" / "redis.url"
        return path.read_text().partition("\n")[0].strip() if path.is_file() else ""

    @property
    def agent_dir(self) -> Path:
        return self.home / "agent" / self.node

    @property
    def log_dir(self) -> Path:
        return self.home / "logs"


def make_run_dir(path: Path) -> None:
    """A folder that only this user enters. Raises PermissionError when somebody else prepared it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} must be a folder of uid {os.getuid()} with mode 0700")

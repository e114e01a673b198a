"""The gateway's settings, read once from the environment. With nothing set it serves 127.0.0.1 from ./var."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_BYTES_MIN = 16


class SettingsError(Exception):
    """A setting is missing; the text says which and how to give it."""


class Settings(BaseSettings):
    """Names are those of the environment without `RECALL_`, in lower case."""

    model_config = SettingsConfigDict(env_prefix="RECALL_", frozen=True, extra="ignore")

    home: Path = Path("var")
    bind: str = "127.0.0.1"
    node: str = "local"
    console_url: str = "http://127.0.0.1:8000"
    redis_url: str = ""
    key_pepper: SecretStr | None = None
    key_pepper_file: Path | None = None
    internal_token: SecretStr | None = None
    internal_token_file: Path | None = None

    gateway_name: str = ""
    gateway_port: int = Field(default=50051, ge=0, le=65535)
    gateway_workers: int = Field(default=1, ge=1, le=64)
    # Whether each process keeps to one core; auto: where there are few. See `workers.keep_to_a_core`.
    gateway_pin: bool | Literal["auto"] = "auto"
    gateway_reflection: bool = True
    gateway_deadline_ms_default: int = Field(default=1_000, ge=1)
    gateway_deadline_ms_max: int = Field(default=10_000, ge=1)
    gateway_receive_bytes_max: int = Field(default=8 * 2**20, ge=1)
    gateway_send_bytes_max: int = Field(default=64 * 2**20, ge=1)
    gateway_concurrent_rpcs_max: int = Field(default=4_000, ge=1)
    gateway_streams_per_connection_max: int = Field(default=1_000, ge=1)
    # For so long the gateway looks for the reply to a lone question before it sleeps; 0: never. Replicas read it, too.
    poll_us_max: int = Field(default=1_000, ge=0, le=100_000)
    # In one query by items. Replicas read the same setting.
    query_items_max: int = Field(default=1_000, ge=1, le=100_000)
    gateway_drain_seconds: float = Field(default=10.0, gt=0)
    # Between NOT_SERVING and the first refusal, so that balancers may turn away.
    gateway_drain_notice_seconds: float = Field(default=0.2, ge=0)
    # 0: a free port, written to RECALL_HOME/run/gateway-<worker>.json.
    metrics_port: int = Field(default=0, ge=0, le=65535)

    def secret(self, name: str) -> bytes:
        """The secret `key_pepper` or `internal_token`. Raises SettingsError when it is nowhere or too short."""
        found = self._find_secret(name)
        if len(found) < SECRET_BYTES_MIN:
            # With an empty secret anybody could sign.
            raise SettingsError(f"RECALL_{name.upper()} must have at least {SECRET_BYTES_MIN} characters")
        return found

    def _find_secret(self, name: str) -> bytes:
        value: SecretStr | None = getattr(self, name)
        if value is not None and value.get_secret_value():
            return value.get_secret_value().encode()
        given: Path | None = getattr(self, f"{name}_file")
        path = given or self.home / "secrets" / name
        try:
            return path.read_text().strip().encode()
        except OSError as error:
            variable = f"RECALL_{name.upper()}"
            message = f"{path} cannot be read ({error.strerror}); set {variable} or {variable}_FILE"
            raise SettingsError(message) from error

    def find_redis_url(self) -> str:
        """RECALL_REDIS_URL, else the launcher's note; empty when there is neither. Read again when Redis is away."""
        if self.redis_url:
            return self.redis_url
        try:
            return (self.home / "run" / "redis.url").read_text().split("\n", 1)[0].strip()
        except FileNotFoundError:
            return ""

    def lease_name(self, port: int, worker: int) -> str:
        """Stable across restarts, so that a killed gateway's lease is taken up again by its successor."""
        return f"{self.gateway_name or f'{self.node}-{port}'}-{worker}"

    def snapshot_path(self) -> Path:
        return self.home / "gateway" / "routes.snapshot"

    def run_file(self, worker: int) -> Path:
        return self.home / "run" / f"gateway-{worker}.json"

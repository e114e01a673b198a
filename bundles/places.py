"""Which remote places a tenant's sources may name, and with which credential: the file RECALL_SOURCES_FILE.

The file is TOML, belongs to administrators and has mode 0600, because it holds secrets. It is read anew whenever a
source is looked up, so a change needs no restart. Secrets stay in the process that talks to the place: orders, rows,
logs and messages carry a `Source`, which has none.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from bundles import uris
from bundles.errors import SourceError, UriError

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1 << 20
SECRET_BYTES_MAX = 64 << 10
FAULTS_LOGGED_MAX = 10
PORT_MAX = 65_535

_HOST_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*.-]*:[0-9]{1,5}", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A source as a tenant wrote it, and where the platform says what it may name. Goes into orders; has no secrets."""

    uri: str
    tenant: str
    root: str
    settings_file: str

    def to_dict(self) -> dict[str, str]:
        return asdict(self)

    @property
    def is_remote(self) -> bool:
        """Raises UriError."""
        return uris.parse_remote(self.uri) is not None


def _check_bucket(bucket: str) -> str:
    if _parsed(f"s3://{bucket}/") != uris.RemoteUri("s3", bucket, ""):
        raise ValueError("This is no bucket's name.")
    return bucket


def _check_prefix(prefix: str) -> str:
    if prefix and not prefix.endswith("/"):
        raise ValueError("A prefix ends with a slash, else it would also open what only begins like it.")
    if _parsed(f"s3://bucket/{prefix}") != uris.RemoteUri("s3", "bucket", prefix):
        raise ValueError("A prefix is written plainly: no empty part, no `.` or `..`, no query.")
    return prefix


def _check_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("A path begins with a slash.")
    return f"/{_check_prefix(path[1:])}"


def _check_namenode(host: str) -> str:
    if _parsed(f"webhdfs://{host}/") != uris.RemoteUri("webhdfs", host.lower(), ""):
        raise ValueError("A name node is `host:port`.")
    return host.lower()


def _check_datanode(host: str) -> str:
    name, _, port = host.partition(":")
    if not _HOST_PATTERN.fullmatch(host) or not name.strip("*.") or int(port) > PORT_MAX:
        raise ValueError("A data node is `host:port`; `*` may stand for a part of the host and never for all of it.")
    return host.lower()


def _as_pattern(host: str) -> str:
    return "[^.:]*".join(re.escape(part) for part in host.split("*"))


def _parsed(uri: str) -> uris.RemoteUri | None:
    try:
        return uris.parse_remote(uri)
    except UriError:
        return None


class _Block(BaseModel):
    # Without the second, a fault's text would quote what stands there, which may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class S3Place(_Block):
    """One bucket and prefix with its own credential. No prefix: the whole bucket."""

    bucket: Annotated[str, AfterValidator(_check_bucket)]
    prefix: Annotated[str, AfterValidator(_check_prefix)]
    access_key_id: str = Field(min_length=1)
    secret_access_key: SecretStr | None = None
    secret_access_key_file: Path | None = None
    # Of another server than AWS: MinIO, Ceph, a test's.
    endpoint_url: str | None = Field(default=None, pattern=r"^https?://[^/?#@]+/?$")
    region: str | None = None
    addressing: Literal["auto", "path", "virtual"] | None = None
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> S3Place:
        if (self.secret_access_key is None) == (self.secret_access_key_file is None):
            raise ValueError("Give secret_access_key or secret_access_key_file.")
        return self

    def secret(self) -> str:
        """Raises SourceError source.bad_settings."""
        return _secret(self.secret_access_key, self.secret_access_key_file) or ""


class WebhdfsPlace(_Block):
    """A name node, the paths below which the tenant's sources may lie, and the data nodes that it may send us to."""

    namenode: Annotated[str, AfterValidator(_check_namenode)]
    prefixes: tuple[Annotated[str, AfterValidator(_check_path)], ...] = Field(min_length=1)
    datanodes: tuple[Annotated[str, AfterValidator(_check_datanode)], ...] = ()
    tls: bool = False
    ca_file: Path | None = None
    user: str | None = None
    delegation_token: SecretStr | None = None
    delegation_token_file: Path | None = None

    @model_validator(mode="after")
    def _has_one_identity(self) -> WebhdfsPlace:
        if sum(each is not None for each in (self.user, self.delegation_token, self.delegation_token_file)) != 1:
            raise ValueError("Give user, delegation_token or delegation_token_file.")
        return self

    def has_datanode(self, host: str) -> bool:
        """Whether `host:port` is one; a `*` stands for letters within one part of a name."""
        return any(re.fullmatch(_as_pattern(each), host) for each in self.datanodes)

    def token(self) -> str | None:
        """Raises SourceError source.bad_settings."""
        return _secret(self.delegation_token, self.delegation_token_file)


class _TenantPlaces(_Block):
    s3: tuple[S3Place, ...] = ()
    webhdfs: tuple[WebhdfsPlace, ...] = ()


class _Places(_Block):
    tenants: dict[str, _TenantPlaces] = {}


@dataclass(frozen=True)
class S3Location:
    """`prefix` is empty or ends with a slash."""

    place: S3Place
    prefix: str

    @property
    def name(self) -> str:
        return self.prefix.rstrip("/").rpartition("/")[2] or self.place.bucket


@dataclass(frozen=True)
class WebhdfsLocation:
    """`path` begins and ends with a slash."""

    place: WebhdfsPlace
    path: str

    @property
    def name(self) -> str:
        return self.path.rstrip("/").rpartition("/")[2] or "root"


RemoteLocation = S3Location | WebhdfsLocation


def locate(source: Source, *, field: str = "source.uri") -> Path | RemoteLocation:
    """Where a source lies, if its tenant may read there; asks nobody over the network.

    Raises UriError (uri.not_allowed for what is configured for another tenant as for what is not configured at all),
    SourceError source.bad_settings.
    """
    remote = uris.parse_remote(source.uri, field=field)
    if remote is None:
        return uris.resolve(source.uri, Path(source.root), field=field)
    own = _read(Path(source.settings_file)).tenants.get(source.tenant, _TenantPlaces())
    found = _find_s3(own, remote) if remote.protocol == "s3" else _find_webhdfs(own, remote)
    if found is None:
        where = "bucket and prefix" if remote.protocol == "s3" else "name node and path"
        raise UriError(
            "uri.not_allowed",
            f"{field} {source.uri!r} lies in no place that is configured for tenant {source.tenant}.",
            remedy=f"Ask an administrator to add its {where} in the file that RECALL_SOURCES_FILE names.",
            field=field,
        )
    return found


def _find_s3(own: _TenantPlaces, wanted: uris.RemoteUri) -> S3Location | None:
    fitting = [each for each in own.s3 if each.bucket == wanted.host and wanted.path.startswith(each.prefix)]
    # The narrowest has the credential that was made for it.
    narrowest = max(fitting, key=lambda each: len(each.prefix), default=None)
    return S3Location(narrowest, wanted.path) if narrowest else None


def _find_webhdfs(own: _TenantPlaces, wanted: uris.RemoteUri) -> WebhdfsLocation | None:
    path = f"/{wanted.path}"
    for place in own.webhdfs:
        if place.namenode == wanted.host and any(path.startswith(prefix) for prefix in place.prefixes):
            return WebhdfsLocation(place, path)
    return None


def _read(path: Path) -> _Places:
    """A file that is not there configures nothing."""
    try:
        return _Places.model_validate(tomllib.loads(_private_text(path, FILE_BYTES_MAX)))
    except FileNotFoundError:
        return _Places()
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_input=False)]
        raise _bad_settings(path, "; ".join(faults[:FAULTS_LOGGED_MAX])) from None
    except UnicodeDecodeError:
        raise _bad_settings(path, "it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _bad_settings(path, f"it is not TOML: {error}") from None


def _private_text(path: Path, bytes_max: int) -> str:
    """Raises FileNotFoundError, SourceError for a file that others may read."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise _bad_settings(path, "others than its owner may read it; give it mode 0600")
            if status.st_size > bytes_max:
                raise _bad_settings(path, f"it has more than {bytes_max} bytes")
            return file.read(bytes_max).decode()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _bad_settings(path, error.strerror or "it cannot be read") from None


def _secret(value: SecretStr | None, path: Path | None) -> str | None:
    if path is None:
        return value.get_secret_value() if value else None
    try:
        return _private_text(path, SECRET_BYTES_MAX).strip()
    except FileNotFoundError:
        raise _bad_settings(path, "it is not there") from None
    except UnicodeDecodeError:
        raise _bad_settings(path, "it is not UTF-8") from None


def _bad_settings(path: Path, why: str) -> SourceError:
    """What is wrong is told to the log only: the file speaks of every tenant."""
    log.error("The settings of remote sources in %s cannot be used: %s.", path, why)
    return SourceError(
        "source.bad_settings",
        "The platform's settings of remote sources cannot be used.",
        remedy="An administrator finds in the platform's log what is wrong with the file of RECALL_SOURCES_FILE.",
    )


def source_from(order: Mapping[str, str]) -> Source:
    """The other way of `Source.to_dict`."""
    return Source(**order)

"""What can be wrong with a source, a drop or an artifact.

    BundleError             reason (a stable id), message, owner ("user" or "platform"), details
    ├── UriError            uri.*        a source address that is not allowed; also field and remedy
    ├── SourceError         source.*     a remote place that does not give what it should; also remedy and temporary
    ├── DropError           drop.*       what the training job delivered cannot be imported; the user's
    ├── ArtifactError       artifact.*   a version's files cannot be published or trusted; the platform's
    └── SamplesError        samples.*    a file of sampled queries that cannot be used; the platform's

`reason` and `details` are for programs and are stable, `message` is for people and names both what was found
and what was expected.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Owner = Literal["user", "platform"]


class BundleError(Exception):
    """Base of the errors of this package; never raised itself."""

    owner: Owner = "platform"

    def __init__(self, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details: dict[str, Any] = dict(details or {})


class UriError(BundleError):
    """A source address that is not allowed; `remedy` says what to write instead.

    Reasons: uri.bad_syntax, uri.chained, uri.bad_protocol, uri.parent, uri.outside_root, uri.not_allowed.
    """

    owner: Owner = "user"

    def __init__(self, reason: str, message: str, *, remedy: str, field: str = "source.uri") -> None:
        super().__init__(reason, message, {"field": field, "remedy": remedy})
        self.field = field
        self.remedy = remedy


# What another try may mend.
TEMPORARY_REASONS = frozenset({"source.unreachable", "source.timeout", "source.busy"})


class SourceError(BundleError):
    """A remote place that cannot be read. The message ends with the remedy and never quotes a server or a library.

    Reasons: source.unreachable, source.timeout, source.busy, source.forbidden, source.not_found,
    source.redirect_refused, source.failed, source.bad_settings, source.not_installed, source.no_room.
    """

    def __init__(self, reason: str, message: str, *, remedy: str = "", owner: Owner = "platform") -> None:
        super().__init__(reason, f"{message} {remedy}".strip(), {"remedy": remedy})
        self.owner = owner

    @property
    def temporary(self) -> bool:
        return self.reason in TEMPORARY_REASONS


class DropError(BundleError):
    """A drop that cannot be imported.

    Reasons: drop.not_found, drop.incomplete, drop.empty, drop.dimension_mismatch, drop.missing_column,
    drop.bad_id_type, drop.bad_column_type, drop.unreadable, drop.unsafe_npy, drop.unsafe_path,
    drop.count_mismatch, drop.bad_manifest, drop.changed_while_read, drop.too_large, drop.missing_model,
    drop.missing_vocabulary, and those of `querymodel.errors.ModelRefused`.
    """

    owner: Owner = "user"


class ArtifactError(BundleError):
    """An artifact that cannot be published, or that must not be loaded.

    Reasons: artifact.exists, artifact.publish_failed, artifact.not_durable, artifact.not_found, artifact.unsafe_path,
    artifact.bad_manifest, artifact.unknown_format, artifact.unlisted_file, artifact.missing_file,
    artifact.size_mismatch, artifact.checksum_mismatch, artifact.inconsistent.
    """


class SamplesError(BundleError):
    """A file of sampled queries that nobody can use; whoever reads it goes on without.

    Reasons: samples.unreadable, samples.foreign.
    """

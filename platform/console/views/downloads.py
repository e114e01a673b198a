"""What callers install: our Python client as pip takes it, and the proto. Open to anybody, as published ones are."""

from __future__ import annotations

import gzip
import io
import tarfile
from functools import cache
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

CLIENT_FOLDER = Path("clients/python")
PROTO_FILE = Path("proto/recallpb/v1/recall.proto")
# What belongs to the client, and nothing that lies beside it.
CLIENT_FILES = ("pyproject.toml", "README.md", "recall_client/**/*", "pb/**/*")
SUFFIXES = (".py", ".pyi", ".toml", ".md", ".typed")


@require_GET
def python_client(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  (Django names it)
    return _file(_client_archive(), "recall-client.tar.gz", "application/gzip")


@require_GET
def proto(request: HttpRequest) -> HttpResponse:  # noqa: ARG001  (Django names it)
    return _file((settings.BASE_DIR / PROTO_FILE).read_bytes(), "recall.proto", "text/plain; charset=utf-8")


@cache
def _client_archive() -> bytes:
    """The same bytes for the same files, so that a checksum may be pinned."""
    root = settings.BASE_DIR / CLIENT_FOLDER
    found = {path for pattern in CLIENT_FILES for path in root.glob(pattern) if path.suffix in SUFFIXES}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(found):
            content = path.read_bytes()
            entry = tarfile.TarInfo(f"recall-client/{path.relative_to(root)}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def _file(content: bytes, name: str, kind: str) -> HttpResponse:
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})

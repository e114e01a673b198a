"""WebHDFS through fsspec. A name node sends readers on to data nodes; they are followed only where the settings allow.

Every request passes `_Guarded`, whoever made it: other hosts are refused, and no other answer leads on.
"""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import requests
from fsspec.implementations.webhdfs import WebHDFS
from requests.adapters import HTTPAdapter

from bundles.errors import BundleError, SourceError
from bundles.places import WebhdfsLocation, WebhdfsPlace
from bundles.stores import base
from bundles.stores.base import Entry, Store

HTTP_ERROR = 400
BUSY_STATUSES = (429, 500, 502, 503, 504)
OPEN = ("op", "OPEN")
FORBIDDEN_STATUSES = (401, 403)


class WebhdfsStore(Store):
    def __init__(self, location: WebhdfsLocation) -> None:
        """Raises SourceError source.bad_settings."""
        place = location.place
        host, _, port = place.namenode.partition(":")
        self._path = location.path
        self._files: Any = WebHDFS(
            host,
            port=int(port),
            user=place.user,
            token=place.token(),
            use_https=place.tls,
            session_verify=str(place.ca_file) if place.ca_file else True,
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        session = self._files.session
        # Neither ~/.netrc nor a proxy from the environment has a part in this.
        session.trust_env = False
        guard = _Guarded(place)
        session.mount("http://", guard)
        session.mount("https://", guard)

    def _list(self, folder: str) -> list[Entry]:
        found = self._files.ls(self._path + folder, detail=True)
        if len(found) > base.FOLDER_ENTRIES_MAX:
            raise base.too_many(folder)
        if len(found) == 1 and not found[0]["pathSuffix"]:
            raise NotADirectoryError(folder)
        entries = [_entry(each) for each in found]
        return [entry for entry in entries if entry]

    def _open(self, path: str, entry: Entry, block_bytes: int) -> IO[bytes]:
        file: Any = self._files.open(self._path + path, "rb", block_size=block_bytes, cache_type="readahead")
        found = _entry(file.details)
        if found is None or (found.tag, found.bytes) != (entry.tag, entry.bytes):
            raise base.changed(path)
        opened: IO[bytes] = file
        return opened

    def _told(self, error: Exception, path: str) -> BundleError | None:
        if isinstance(error, NotADirectoryError):
            return base.not_found(path)
        if isinstance(error, requests.Timeout):
            return base.timed_out()
        if isinstance(error, requests.HTTPError) and error.response is not None:
            return _by_status(error.response.status_code, path)
        if isinstance(error, (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            return base.unreachable()
        if isinstance(error, RuntimeError):
            # fsspec makes one of every fault of the name node's own, among them being the standby.
            return base.busy()
        return None


class _Guarded(HTTPAdapter):
    """Sends requests to the configured hosts only, each with a time-out; only a name node's OPEN may lead on."""

    def __init__(self, place: WebhdfsPlace) -> None:
        super().__init__()
        self._place = place

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Raises SourceError source.redirect_refused."""
        parts = urlsplit(request.url or "")
        host = f"{parts.hostname}:{parts.port}"
        is_namenode = host == self._place.namenode
        if not is_namenode and not self._place.has_datanode(host):
            raise _redirect_refused()
        if self._place.tls and parts.scheme != "https":
            raise _redirect_refused()
        kwargs["timeout"] = (base.CONNECT_SECONDS_MAX, base.READ_SECONDS_MAX)
        response = super().send(request, *args, **kwargs)
        if response.is_redirect and not (is_namenode and OPEN in parse_qsl(parts.query)):
            raise _redirect_refused()
        if not is_namenode and response.status_code >= HTTP_ERROR:
            # fsspec would take a data node's error for the file's bytes.
            response.raise_for_status()
        return response


def _redirect_refused() -> SourceError:
    return SourceError(
        "source.redirect_refused",
        "The name node sends readers to a host that is not among its configured data nodes.",
        remedy="An administrator adds the data nodes to `datanodes` of this place, if they are the right ones.",
    )


def _by_status(status: int, path: str) -> SourceError:
    if status in FORBIDDEN_STATUSES:
        return base.forbidden()
    if status in BUSY_STATUSES:
        return base.busy()
    return base.not_found(path) if status == requests.codes.not_found else base.failed()


def _entry(status: dict[str, Any]) -> Entry | None:
    """None for a link, which may lead anywhere."""
    name = status["pathSuffix"] or status["name"].rpartition("/")[2]
    if status["type"] == "directory":
        return Entry(name, is_folder=True)
    if status["type"] != "file":
        return None
    tag = f"{status['modificationTime']}-{status.get('fileId', 0)}"
    return Entry(name, is_folder=False, bytes=int(status["length"]), tag=tag)

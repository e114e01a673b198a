"""S3 through s3fs: the credential and the endpoint are the configured ones, and never what the environment offers."""

from __future__ import annotations

from typing import IO, Any

from bundles.errors import BundleError, SourceError
from bundles.places import S3Location
from bundles.stores import base
from bundles.stores.base import Entry, Store

PAGE_ENTRIES = 1_000


class S3Store(Store):
    def __init__(self, location: S3Location) -> None:
        """Raises SourceError: source.not_installed, source.bad_settings."""
        self._place = location.place
        self._prefix = location.prefix
        self._files = _file_system(location)

    def _list(self, folder: str) -> list[Entry]:
        prefix = f"{self._prefix}{folder}/" if folder else self._prefix
        found: dict[str, Entry] = {}
        token: dict[str, str] = {}
        while True:
            page = self._files.call_s3(
                "list_objects_v2",
                Bucket=self._place.bucket,
                Prefix=prefix,
                Delimiter="/",
                MaxKeys=PAGE_ENTRIES,
                **token,
            )
            for each in page.get("CommonPrefixes", []):
                name = each["Prefix"][len(prefix) : -1]
                found[f"{name}/"] = Entry(name, is_folder=True)
            for each in page.get("Contents", []):
                name = each["Key"][len(prefix) :]
                found[name] = Entry(name, is_folder=False, bytes=int(each["Size"]), tag=_tag(each["ETag"]))
            if len(found) > base.FOLDER_ENTRIES_MAX:
                raise base.too_many(folder)
            if not page.get("IsTruncated"):
                return list(found.values())
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _open(self, path: str, entry: Entry, block_bytes: int) -> IO[bytes]:
        # s3fs asks for the file as it is now and reads only that one (If-Match); it must be the one that was listed.
        file: Any = self._files.open(
            f"{self._place.bucket}/{self._prefix}{path}", "rb", block_size=block_bytes, cache_type="readahead"
        )
        if _tag(file.details.get("ETag", "")) != entry.tag or file.size != entry.bytes:
            raise base.changed(path)
        opened: IO[bytes] = file
        return opened

    def _told(self, error: Exception, path: str) -> BundleError | None:
        from botocore import exceptions as boto
        from s3fs.utils import FileExpired

        if isinstance(error, FileExpired):
            return base.changed(path)
        if isinstance(error, (boto.ConnectTimeoutError, boto.ReadTimeoutError)):
            return base.timed_out()
        if isinstance(error, (boto.HTTPClientError, boto.ConnectionError)):
            return base.unreachable()
        return None


def _file_system(location: S3Location) -> Any:
    try:
        from s3fs import S3FileSystem
    except ImportError:
        raise SourceError(
            "source.not_installed",
            "This platform is installed without S3.",
            remedy="An administrator installs the extra `s3` (s3fs).",
        ) from None
    place = location.place
    addressing = place.addressing or ("path" if place.endpoint_url else "auto")
    client: dict[str, Any] = {"region_name": place.region} if place.region else {}
    if place.ca_file:
        client["verify"] = str(place.ca_file)
    files = S3FileSystem(
        anon=False,
        key=place.access_key_id,
        secret=location.place.secret(),
        endpoint_url=place.endpoint_url,
        client_kwargs=client,
        config_kwargs={
            "connect_timeout": base.CONNECT_SECONDS_MAX,
            "read_timeout": base.READ_SECONDS_MAX,
            "s3": {"addressing_style": addressing},
            # The attempts are counted in one place, in Store.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
        use_listings_cache=False,
        skip_instance_cache=True,
    )
    files.retries = 1
    return files


def _tag(etag: str) -> str:
    return etag.strip('"')

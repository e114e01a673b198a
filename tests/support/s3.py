"""A real S3 server (moto's) on loopback that checks signatures and policies, and the settings that name it.

Alice's tenant `films` has the credential of a user who may read `recsys/films/` and nothing else, Charlie's `books`
one for `recsys/books/`. The bucket `vault` is the administrator's.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
import httpx

from tests.support.valkey import free_port

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 10
BUCKET = "recsys"
FOREIGN_BUCKET = "vault"
REGION = "us-east-1"


@dataclass(frozen=True)
class Credential:
    key: str
    secret: str = field(repr=False)


class S3Server:
    """Started and with its users; what a test writes, it writes as the administrator."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        nobody = Credential("setup", "setup")
        self._session = botocore.session.get_session()
        self._iam = self.client("iam", nobody)
        self.admin = self._user("admin", "s3:*", ["*"], ["*"])
        self.users = {
            tenant: self._user(
                tenant, "s3:GetObject", [f"arn:aws:s3:::{BUCKET}/{tenant}/*"], [f"arn:aws:s3:::{BUCKET}"]
            )
            for tenant in ("films", "books")
        }
        # One for all, because making a client takes long.
        self.files = self.client("s3", self.admin)
        for bucket in (BUCKET, FOREIGN_BUCKET):
            self.files.create_bucket(Bucket=bucket)
        # From here on nothing goes without a signature and a policy.
        httpx.post(f"{url}/moto-api/reset-auth", content="0").raise_for_status()

    def client(self, service: str, credential: Credential) -> Any:
        return self._session.create_client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=credential.key,
            aws_secret_access_key=credential.secret,
        )

    def put(self, key: str, payload: bytes, bucket: str = BUCKET) -> None:
        self.files.put_object(Bucket=bucket, Key=key, Body=payload)

    def delete(self, key: str) -> None:
        self.files.delete_object(Bucket=BUCKET, Key=key)

    def upload(self, folder: Path, prefix: str) -> None:
        """The files below `folder`; the marker last, as a training job does."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name in ("manifest.json", "_SUCCESS")):
            self.put(f"{prefix}{path.relative_to(folder).as_posix()}", path.read_bytes())

    def asked(self) -> list[str]:
        """The requests so far, as the server logged them."""
        return [line for line in self._log.read_text().splitlines() if "HTTP/1.1" in line]

    def _user(self, name: str, action: str, objects: list[str], buckets: list[str]) -> Credential:
        iam = self._iam
        iam.create_user(UserName=name)
        statements = [
            {"Effect": "Allow", "Action": action, "Resource": objects},
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": buckets},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=policy)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return Credential(made["AccessKeyId"], made["SecretAccessKey"])

    def place(self, tenant: str, **changes: Any) -> dict[str, Any]:
        """A table of the settings file."""
        credential = self.users[tenant]
        place = {
            "bucket": BUCKET,
            "prefix": f"{tenant}/",
            "endpoint_url": self.url,
            "region": REGION,
            "access_key_id": credential.key,
            "secret_access_key": credential.secret,
        }
        return {**place, **changes}


@contextlib.contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server in a process of its own, gone afterwards."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="recall-s3-") as folder:
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                url = f"http://127.0.0.1:{port}"
                _await(url, process)
                yield S3Server(url, log)
            finally:
                process.terminate()
                process.wait(STOP_SECONDS_MAX)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS_MAX
    while True:
        assert process.poll() is None, "moto's server ended"
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/moto-api/data.json").raise_for_status()
            return
        assert time.monotonic() < until, "moto's server did not start"
        time.sleep(0.1)

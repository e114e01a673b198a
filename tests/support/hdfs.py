"""A real HDFS of one machine: Hadoop's MiniDFSCluster, whose jars tools/hadoop.sh brings."""

from __future__ import annotations

import contextlib
import getpass
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.cache import CACHE

SOURCE = Path(__file__).parent / "minidfs" / "MiniDfs.java"
JARS = CACHE / "hadoop-3.4.2"
START_SECONDS_MAX = 240.0
STOP_SECONDS_MAX = 60
CALL_SECONDS_MAX = 60.0
# Hadoop's WebHDFS server needs the second since Java 16.
OPTIONS = ("-Xmx512m", "--add-opens=java.base/java.lang=ALL-UNNAMED")


@dataclass(frozen=True)
class Hdfs:
    """`namenode` and `datanode` are host:port of their HTTP; the one who started it is its superuser."""

    namenode: str
    datanode: str

    def put(self, path: str, payload: bytes, user: str = "") -> None:
        """Writes a file, with its folders; it is its writer's."""
        created = self._call("PUT", path, op="CREATE", overwrite="true", user=user)
        httpx.put(created.headers["Location"], content=payload, timeout=CALL_SECONDS_MAX).raise_for_status()

    def upload(self, folder: Path, path: str) -> None:
        files = [each for each in folder.rglob("*") if each.is_file()]
        for each in sorted(files, key=lambda each: each.name in ("manifest.json", "_SUCCESS")):
            self.put(f"{path}{each.relative_to(folder).as_posix()}", each.read_bytes())

    def give(self, path: str, user: str) -> None:
        """Makes a folder one user's alone."""
        self._call("PUT", path, op="SETOWNER", owner=user)
        self._call("PUT", path, op="SETPERMISSION", permission="700")

    def delete(self, path: str) -> None:
        self._call("DELETE", path, op="DELETE", recursive="true")

    def place(self, **changes: Any) -> dict[str, Any]:
        """A table of the settings file."""
        place = {"namenode": self.namenode, "prefixes": ["/data/films/"], "datanodes": [self.datanode], "user": "films"}
        return {**place, **changes}

    def _call(self, method: str, path: str, *, user: str = "", **parameters: str) -> httpx.Response:
        named = {"user.name": user or getpass.getuser(), **parameters}
        url = f"http://{self.namenode}/webhdfs/v1{path}"
        answer = httpx.request(method, url, params=named, timeout=CALL_SECONDS_MAX)
        assert answer.status_code < 400, answer.text
        return answer


@contextlib.contextmanager
def running_hdfs() -> Iterator[Hdfs]:
    """A cluster that is gone afterwards. Skips, and says why, where Java or Hadoop's jars are missing."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("MiniDFSCluster needs Java, and there is no `java` here.")
    if not JARS.is_dir():
        pytest.skip("Hadoop's jars are not here; tools/hadoop.sh brings them from Maven Central.")
    with tempfile.TemporaryDirectory(prefix="recall-hdfs-") as folder, (Path(folder) / "log").open("w+b") as log:
        process = subprocess.Popen(
            [java, *OPTIONS, "-cp", f"{JARS}/*", str(SOURCE), f"{folder}/data"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            yield _ready(process, Path(log.name))
        finally:
            # The end of its input is its end.
            process.communicate(timeout=STOP_SECONDS_MAX)


def _ready(process: subprocess.Popen[bytes], log: Path) -> Hdfs:
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(START_SECONDS_MAX), f"MiniDFSCluster did not start: {log.read_text()[-2_000:]}"
    words = process.stdout.readline().decode().split()
    assert words[:1] == ["READY"], log.read_text()[-2_000:]
    return Hdfs(namenode=words[1].removeprefix("http://"), datanode=words[2])

"""A real Milvus 2.3.5, standalone, of PyPI's `milvus`: one process with everything in it, data in a folder.

python -m tests.support.real_milvus PARENT_PID CPUS PROGRAM ...

It listens on every address, so that it starts in a network of the tests' own only (tests/support/own_network.py). The
package's own Python is not used: it has one instance in mind, and unpacks 246 MB for each.
"""

from __future__ import annotations

import lzma
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support import own_network
from tests.support.cache import CACHE
from tests.support.server_process import ServerProcess

HOST: Final = "127.0.0.1"
VERSION: Final = "2.3.5"
UNPACKED: Final = CACHE / f"milvus-{VERSION}"
PROGRAM: Final = "milvus"
# Where it keeps files by the numbers of its processes, whatever it is told.
RUN: Final = Path("/tmp/milvus")
HEALTH_SECONDS_MAX: Final = 5.0
# `{{ proxy_port(int): 19530 }}` in the package's template.
PLACE: Final = re.compile(r"\{\{\s*(\w+)(?:\(\w+\))?\s*(?::\s*(.*?))?\s*\}\}")

# Its defaults are for days and for many machines: a collection of some rows would take 8 s to build, and an instance
# that was killed 35 s to answer again. With these it is 3 s and 14 s.
QUICK: Final[Mapping[str, Any]] = {
    # A flush waits until rows that are under way have come, which it knows by their allotment's end.
    "dataCoord.segment.assignmentExpiration": 200,
    "proxy.timeTickInterval": 50,
    "indexCoord.scheduler.interval": 100,
    # A load is done by rounds of comparing what is wanted with what is there.
    "queryCoord.checkInterval": 100,
    "queryCoord.checkSegmentInterval": 100,
    "queryCoord.checkChannelInterval": 100,
    "queryCoord.checkIndexInterval": 100,
    "queryCoord.distPullInterval": 50,
    "queryCoord.checkHandoffInterval": 500,
    "queryCoord.updateNextTargetInterval": 1,
    # Now and then a round goes astray when several load at once, and is begun again after this.
    "queryCoord.channelTaskTimeout": 5_000,
    "queryCoord.segmentTaskTimeout": 10_000,
    # Its parts take what was killed for alive as long as this, in seconds; one that was frozen for longer ends itself.
    "common.session.ttl": 10,
    "grpc.client.initialBackOff": 0.1,
    "grpc.client.maxBackoff": 0.5,
    "log.level": "warn",
}


class RealMilvus(ServerProcess):
    """`uri` is known before the server starts, and stays the same over `kill` and `start`, as do its collections.

    `cpus` are the cores that it keeps to; it makes its threads by their number. `settings` go before its own defaults,
    by their names in milvus.yaml with dots.
    """

    start_seconds_max = 120.0

    def __init__(self, folder: Path, cpus: Collection[int] = (), settings: Mapping[str, Any] = QUICK) -> None:
        super().__init__(folder)
        self.cpus = cpus
        self._settings = settings
        self._ports = _Ports()
        self.port: Final[int] = self._ports.of("proxy_port")
        self.uri: Final = f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Returns when it answers. Refuses where somebody else could reach it."""
        if reachable := own_network.others():
            raise AssertionError(
                f"a real Milvus listens on every address, and {', '.join(reachable)} would be among them: "
                "run this by `python -m tests.support.own_network ...`, as `make test-milvus` does"
            )
        if lack := lacks():
            raise AssertionError(lack)
        _share_run_folder()
        self._write_settings(unpacked())
        super().start()

    def stop(self) -> None:
        # Its own way to end takes up to ten seconds, and nobody reads what it leaves.
        self.kill()
        self._ports.close()

    def _command(self) -> Sequence[str]:
        wrapper = [sys.executable, "-m", "tests.support.real_milvus", str(os.getpid()), _listed(self.cpus)]
        return [*wrapper, str(UNPACKED / PROGRAM), "run", "standalone"]

    def _environment(self) -> Mapping[str, str]:
        """All of it: the server takes any variable for one of its settings."""
        return {
            "PATH": os.defpath,
            "DEPLOY_MODE": "STANDALONE",
            "LD_LIBRARY_PATH": str(UNPACKED),
            "MILVUSCONF": str(self.folder / "configs"),
            "ETCD_CONFIG_PATH": str(self.folder / "configs" / "etcd.yaml"),
            "METRICS_PORT": str(self._ports.of("metrics_port")),
        }

    def _answers(self) -> bool:
        # A client of httpx makes a TLS context, which takes 20 ms of a process that may be about to measure something.
        health = HTTPConnection(HOST, self._ports.of("metrics_port"), timeout=HEALTH_SECONDS_MAX)
        try:
            health.request("GET", "/healthz")
            return b"OK" in health.getresponse().read()
        except (OSError, HTTPException):
            return False
        finally:
            health.close()

    def _write_settings(self, data: Path) -> None:
        folder = self.folder / "configs"
        folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "data").mkdir(exist_ok=True)
        told = yaml.safe_load(PLACE.sub(self._filled_in, (data / "config.yaml.template").read_text()))
        for name, value in self._settings.items():
            *path, last = name.split(".")
            _put(told, path, last, value)
        (folder / "milvus.yaml").write_text(yaml.safe_dump(told))
        shutil.copy(data / "glog.conf", folder)
        (folder / "etcd.yaml").write_text(yaml.safe_dump(self._etcd()))

    def _filled_in(self, place: re.Match[str]) -> str:
        name, default = place[1], place[2] or ""
        if name.endswith("_port"):
            return str(self._ports.of(name))
        return {
            "etcd_data_dir": str(self.folder / "etcd"),
            "etcd_log_path": str(self.folder / "etcd.log"),
            "local_storage_dir": str(self.folder / "data"),
            "rocksmq_data_dir": str(self.folder / "rocksmq"),
            # Everything goes to standard output, which is server.log.
            "system_log_path": '""',
        }.get(name, default or '""')

    def _etcd(self) -> Mapping[str, str]:
        """It is inside the server, and knows no other."""
        clients = f"http://{HOST}:{self._ports.of('etcd_port')}"
        peers = f"http://{HOST}:{self._ports.of('etcd_peer_port')}"
        return {
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
        }


class _Ports:
    """Ports of one instance, by name. Nobody else is given them while they are kept; the server may take them over."""

    def __init__(self) -> None:
        self._kept: dict[str, socket.socket] = {}

    def of(self, name: str) -> int:
        if name not in self._kept:
            self._kept[name] = _kept_port()
        return int(self._kept[name].getsockname()[1])

    def close(self) -> None:
        for kept in self._kept.values():
            kept.close()


def _kept_port() -> socket.socket:
    """Bound and not listened on: whoever says so, too, as the server does, may bind it and listen."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind((HOST, 0))
    return kept


def lacks() -> str:
    """Why there is no real Milvus here, and the remedy; empty when there is."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return f"PyPI has the server of Milvus {VERSION} for Linux on x86_64, and this is {platform.platform()}."
    if find_spec("milvus") is None:
        return f"The server of Milvus {VERSION} is not installed; `make test-milvus` does it (58 MB)."
    return ""


def _share_run_folder() -> None:
    """Lets other users of this machine run one, too; as it makes the folder itself, only the first one could."""
    RUN.mkdir(exist_ok=True)
    if RUN.stat().st_uid == os.getuid():
        RUN.chmod(0o1777)
    elif not os.access(RUN, os.W_OK):
        raise AssertionError(f"a Milvus writes to {RUN}, which is another user's: `sudo chmod 1777 {RUN}`")


def unpacked() -> Path:
    """The package's data; its program and libraries are unpacked to where they stay for the next run."""
    spec = find_spec("milvus")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    data = Path(spec.submodule_search_locations[0]) / "data"
    if not UNPACKED.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{UNPACKED.name}.", dir=CACHE))
        for packed in (data / "bin").glob("*.lzma"):
            with lzma.open(packed) as source, (fresh / packed.stem).open("wb") as target:
                shutil.copyfileobj(source, target)
            (fresh / packed.stem).chmod(0o755)
        _publish(fresh)
    return data


def _publish(fresh: Path) -> None:
    try:
        fresh.rename(UNPACKED)
    except OSError:
        # Somebody else was quicker.
        shutil.rmtree(fresh)
        assert UNPACKED.is_dir()


def _put(settings: dict[str, Any], path: Sequence[str], last: str, value: object) -> None:
    for part in path:
        settings = settings.setdefault(part, {})
    settings[last] = value


def _listed(cpus: Collection[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def main() -> None:
    from engines.leash import die_with_parent

    parent_pid, cpus, *command = sys.argv[1:]
    die_with_parent(int(parent_pid))
    if cpus:
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    os.execv(command[0], command)  # noqa: S606 - a list, and no shell


if __name__ == "__main__":
    main()

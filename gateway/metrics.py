"""Prometheus metrics of one gateway process, served on a port of its own.

Labels are bounded: a service is named only after its route was resolved for the caller, and codes and RPCs are few.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY_SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    10,
)
LOOPBACK = "127.0.0.1"
STOP_POLL_SECONDS = 0.05
SCRAPE_SECONDS_MAX = 5.0
BATCH_QUERIES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms written on the request's path; their children are looked up once."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "recall_gateway_requests", "Calls ended, by gRPC code.", ("rpc", "service", "code"), registry=self.registry
        )
        self._seconds = Histogram(
            "recall_gateway_request_seconds",
            "Time from a call's arrival to its answer.",
            ("rpc", "service"),
            buckets=LATENCY_SECONDS,
            registry=self.registry,
        )
        self.batch_queries = Histogram(
            "recall_gateway_batch_queries",
            "Queries in one call to a replica.",
            buckets=BATCH_QUERIES,
            registry=self.registry,
        )
        self.ejections = Counter("recall_gateway_ejections", "Failed calls to replicas.", registry=self.registry)
        self.retries = Counter("recall_gateway_retries", "Queries sent once more.", registry=self.registry)
        self.routes_applied = Counter("recall_gateway_routes_applied", "Routes replaced.", registry=self.registry)
        self._counters: dict[tuple[str, str, str], Counter] = {}
        self._timers: dict[tuple[str, str], Histogram] = {}

    def ended(self, rpc: str, service: str, code: str, seconds: float) -> None:
        """One call's end. `service` is the name of a resolved route, or empty."""
        key = (rpc, service, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(*key)
        counter.inc()
        timer = self._timers.get(key[:2])
        if timer is None:
            timer = self._timers[key[:2]] = self._seconds.labels(*key[:2])
        timer.observe(seconds)

    def forget(self, service: str) -> None:
        """Drops the series of a service that is gone."""
        for key in [key for key in self._counters if key[1] == service]:
            del self._counters[key]
            self._requests.remove(*key)
        for pair in [pair for pair in self._timers if pair[1] == service]:
            del self._timers[pair]
            self._seconds.remove(*pair)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that is read when someone scrapes."""
        Gauge(f"recall_gateway_{name}", text, registry=self.registry).set_function(read)

    def per_service(self, name: str, text: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """A number per service that is read when someone scrapes."""
        self.registry.register(_PerService(f"recall_gateway_{name}", text, read))


class MetricsServer:
    """Serves /metrics on loopback from a thread, so that a slow scrape holds up no call. Port 0: a free one."""

    def __init__(self, metrics: Metrics, port: int) -> None:
        self._server = make_server(LOOPBACK, port, make_wsgi_app(metrics.registry), handler_class=_SilentHandler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(STOP_POLL_SECONDS,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _SilentHandler(WSGIRequestHandler):
    """A scrape is no news."""

    timeout = SCRAPE_SECONDS_MAX

    def log_message(self, format: str, *args: object) -> None:
        pass


class _PerService(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._name = name
        self._text = text
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=["service"])
        for service, value in list(self._read()):
            family.add_metric([service], value)
        yield family

"""Prometheus metrics of one gateway process, served on a port of its own.

Labels are bounded: a service is named only after its route was resolved for the caller, and codes and RPCs are few.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
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


class Series:
    """The calls of one RPC of one service. Plain numbers, because they are written on every request's path."""

    __slots__ = ("codes", "counts", "seconds")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.counts = [0] * (len(LATENCY_SECONDS) + 1)
        self.seconds = 0.0


class Metrics:
    """What the gateway counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.batch_queries = Histogram(
            "recall_gateway_batch_queries",
            "Queries in one call to a replica.",
            ["lane"],
            buckets=BATCH_QUERIES,
            registry=self.registry,
        )
        self.ejections = Counter("recall_gateway_ejections", "Failed calls to replicas.", registry=self.registry)
        self.retries = Counter("recall_gateway_retries", "Requests sent once more.", registry=self.registry)
        self.routes_applied = Counter("recall_gateway_routes_applied", "Routes replaced.", registry=self.registry)
        self._series: dict[tuple[str, str], Series] = {}
        self.registry.register(_Calls(self._series))

    def ended(self, rpc: str, service: str, code: str, seconds: float) -> None:
        """One call's end. `service` is the name of a resolved route, or empty."""
        series = self._series.get((rpc, service))
        if series is None:
            series = self._series[(rpc, service)] = Series()
        series.codes[code] = series.codes.get(code, 0) + 1
        series.counts[bisect_left(LATENCY_SECONDS, seconds)] += 1
        series.seconds += seconds

    def forget(self, service: str) -> None:
        """Drops the series of a service that is gone."""
        for key in [key for key in self._series if key[1] == service]:
            del self._series[key]

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A number that is read when someone scrapes."""
        Gauge(f"recall_gateway_{name}", text, registry=self.registry).set_function(read)

    def per(self, label: str, name: str, text: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        """A number for each value of the label (`service`, `lane`) that is read when someone scrapes."""
        self.registry.register(_Labelled(f"recall_gateway_{name}", text, label, read))


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


class _Calls(Collector):
    """Every call's end, as a counter by code and a histogram of seconds."""

    def __init__(self, series: dict[tuple[str, str], Series]) -> None:
        self._series = series

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "recall_gateway_requests", "Calls ended, by gRPC code.", labels=["rpc", "service", "code"]
        )
        seconds = HistogramMetricFamily(
            "recall_gateway_request_seconds", "Time from a call's arrival to its answer.", labels=["rpc", "service"]
        )
        # A copy, because this runs in the scrape's thread.
        for (rpc, service), series in list(self._series.items()):
            for code, count in list(series.codes.items()):
                requests.add_metric([rpc, service, code], count)
            seconds.add_metric([rpc, service], _buckets(series.counts), series.seconds)
        yield requests
        yield seconds


def _buckets(counts: list[int]) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    bounds = [*map(str, LATENCY_SECONDS), "+Inf"]
    return list(zip(bounds, accumulate(counts), strict=True))


class _Labelled(Collector):
    def __init__(self, name: str, text: str, label: str, read: Callable[[], Iterable[tuple[str, float]]]) -> None:
        self._name = name
        self._text = text
        self._label = label
        self._read = read

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label])
        for label, value in list(self._read()):
            family.add_metric([label], value)
        yield family

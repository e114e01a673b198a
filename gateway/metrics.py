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

from documents.traffic import LATENCY_SECONDS, Traffic

LOOPBACK = "127.0.0.1"
STOP_POLL_SECONDS = 0.05
SCRAPE_SECONDS_MAX = 5.0
BATCH_QUERIES = (1, 2, 4, 8, 16, 32, 64, 128)
# The calls that replicas answer; the others are looked up here and would make every service look quick.
ANSWERED_RPCS = frozenset({"Recall", "BatchRecall", "GetItems"})


class Series:
    """The calls of one RPC of one service. Plain numbers, because they are written on every request's path."""

    __slots__ = ("codes", "counts", "queries", "seconds")

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.counts = [0] * (len(LATENCY_SECONDS) + 1)
        self.queries = 0
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

    def ended(self, rpc: str, service: str, code: str, seconds: float, queries: int = 1) -> None:
        """The end of one call of so many queries. `service` is the name of a resolved route, or empty."""
        series = self._series.get((rpc, service))
        if series is None:
            series = self._series[(rpc, service)] = Series()
        series.codes[code] = series.codes.get(code, 0) + 1
        series.counts[bisect_left(LATENCY_SECONDS, seconds)] += 1
        series.seconds += seconds
        series.queries += queries

    def traffic(self) -> dict[str, Traffic]:
        """What was asked of each service since this process began."""
        asked: dict[str, Traffic] = {}
        for (rpc, service), series in self._series.items():
            if service and rpc in ANSWERED_RPCS:
                told = Traffic(queries=series.queries, codes=series.codes, counts=series.counts)
                asked.setdefault(service, Traffic()).add(told)
        return asked

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
        queries = CounterMetricFamily(
            "recall_gateway_queries", "Queries of ended calls; a batch has several.", labels=["rpc", "service"]
        )
        seconds = HistogramMetricFamily(
            "recall_gateway_request_seconds", "Time from a call's arrival to its answer.", labels=["rpc", "service"]
        )
        # A copy, because this runs in the scrape's thread.
        for (rpc, service), series in list(self._series.items()):
            for code, count in list(series.codes.items()):
                requests.add_metric([rpc, service, code], count)
            queries.add_metric([rpc, service], series.queries)
            seconds.add_metric([rpc, service], _buckets(series.counts), series.seconds)
        yield requests
        yield queries
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

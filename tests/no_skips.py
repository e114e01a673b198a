"""With RECALL_TEST_NO_SKIPS=1 a skipped test is a failed one: where everything is installed, nothing may be left out.

Loaded by `-p tests.no_skips` in pytest's addopts.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

ReportT = TypeVar("ReportT", pytest.TestReport, pytest.CollectReport)

FORBIDDEN = os.environ.get("RECALL_TEST_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _forbid(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _forbid(report)


def _forbid(report: ReportT) -> ReportT:
    # An expected failure is reported as skipped, too, and is none.
    if FORBIDDEN and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"Skips are forbidden in this run (RECALL_TEST_NO_SKIPS=1), and this one says: {reason}"
    return report

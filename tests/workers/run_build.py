"""A worker in a process of its own: `python -m tests.workers.run_build ID` runs one build."""

from __future__ import annotations

import sys

import django


def main(build_id: int) -> None:
    django.setup()
    from workers import pipeline

    pipeline.run(build_id)


if __name__ == "__main__":
    main(int(sys.argv[1]))

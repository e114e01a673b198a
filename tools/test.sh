#!/usr/bin/env bash
# Every test: first those that may run side by side, then the end-to-end tests, which need the machine for themselves.
set -uo pipefail
cd "$(dirname "$0")/.."

parallel_workers=${RECALL_TEST_WORKERS:-2}
pytest() { .venv/bin/python -m pytest -q "$@"; }

pytest -n "$parallel_workers" --dist loadfile -m "not e2e" "$@"
first=$?
pytest -p no:xdist -m e2e "$@"
second=$?

# 5: no test was selected, which is right when a path was given that holds tests of one kind only.
[ "$first" -eq 5 ] && [ "$second" -eq 5 ] && exit 5
[ "$first" -eq 5 ] && first=0
[ "$second" -eq 5 ] && second=0
exit $((first > second ? first : second))

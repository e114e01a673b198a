#!/usr/bin/env bash
# Every test: first those that may run side by side, then those of the database's rows once more on a real PostgreSQL,
# then the end-to-end tests, which need the machine for themselves.
set -uo pipefail
cd "$(dirname "$0")/.."

# Thousands of processes are started here. Where Python may keep nothing of what it compiles, which images of containers
# like to say, each of them would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE

# The order of files is that of tests/conftest.py.
side_by_side=(-n "${RECALL_TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder)
pytest() { .venv/bin/python -m pytest -q "$@"; }

pytest "${side_by_side[@]}" -m "not e2e" "$@"
first=$?
postgres=5
if [ "$#" -eq 0 ]; then
    # Of the workers, what claims, leases, and stands in line; their other tests are of files and processes.
    RECALL_TEST_POSTGRES=1 pytest "${side_by_side[@]}" -m "not servers and not e2e" \
        tests/{tenants,accounts,alerts,versions,control,api,console} tests/workers/test_{admission,lease,sweep,tasks}.py
    postgres=$?
fi
pytest -p no:xdist -m e2e "$@"
second=$?

# 5: no test was selected, which is right when a path was given that holds tests of one kind only.
[ "$first" -eq 5 ] && [ "$second" -eq 5 ] && exit 5
[ "$first" -eq 5 ] && first=0
[ "$postgres" -eq 5 ] && postgres=0
[ "$second" -eq 5 ] && second=0
worst=$((first > second ? first : second))
exit $((worst > postgres ? worst : postgres))

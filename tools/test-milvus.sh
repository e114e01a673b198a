#!/usr/bin/env bash
# What depends on the engine, on a real Milvus instead of milvus-lite, in a network of its own: the server listens on
# every address. The tests that it is asked for, or else those of the engine and of two instances from end to end.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=("$@")
if [ "$#" -eq 0 ]; then
    tests=(tests/engines tests/replicas/test_engine_away.py tests/workers/test_milvus_life.py)
fi

tools/milvus-server.sh
unset PYTHONDONTWRITEBYTECODE
export RECALL_TEST_MILVUS=real
exec .venv/bin/python -m tests.support.own_network .venv/bin/python -m pytest -q -m milvus \
    -n "${RECALL_TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder "${tests[@]}"

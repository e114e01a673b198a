#!/usr/bin/env bash
# Makes .venv from uv.lock. Runs again only when one of its inputs changed (the Makefile keeps a stamp).
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=$(tools/check-prerequisites.sh)

[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
fi

# hnswlib's own default ties the binary to the building machine. The level is part of the cache's key, so that a wheel
# which was built with other flags is never taken from a shared cache.
export HNSWLIB_NO_NATIVE=1
level=plain
if grep -qw avx2 /proc/cpuinfo 2>/dev/null; then
    level=x86-64-v3
    export CFLAGS="${CFLAGS:-} -march=$level" CXXFLAGS="${CXXFLAGS:-} -march=$level"
fi
.venv/bin/uv sync --frozen --quiet --config-settings-package "hnswlib:level=$level"

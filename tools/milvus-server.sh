#!/usr/bin/env bash
# Brings the server of Milvus 2.3.5 (58 MB) into the environment, which `make setup` leaves out; nothing when it is there.
# PyPI has it for Linux on x86_64 only: elsewhere there is nothing to bring, and who asks for the server is told why.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/uv sync --frozen --quiet --inexact --only-group milvus-server

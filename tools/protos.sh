#!/usr/bin/env bash
# Compiles the protos: proto/python for the platform, clients/python/pb for the client.
# The client's copy is made by an older protoc, so that services which pin an older protobuf runtime can use it.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-proto/python}
out_client=${2:-clients/python/pb}
mkdir -p "$out" "$out_client"
.venv/bin/python -m grpc_tools.protoc -Iproto --python_out="$out" --pyi_out="$out" \
    recallpb/v1/recall.proto recallpb/internal/v1/documents.proto recallpb/internal/v1/replica.proto
.venv/bin/python -m grpc_tools.protoc -Iproto --grpc_python_out="$out" recallpb/v1/recall.proto recallpb/internal/v1/replica.proto
.venv/bin/uv tool run --quiet --python .venv/bin/python --from grpcio-tools==1.62.3 --with 'setuptools<81' \
    python -m grpc_tools.protoc -Iproto --python_out="$out_client" --pyi_out="$out_client" --grpc_python_out="$out_client" \
    recallpb/v1/recall.proto

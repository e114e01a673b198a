#!/usr/bin/env bash
# Fails when the committed stubs differ from what the protos compile to.
set -euo pipefail
cd "$(dirname "$0")/.."
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
tools/protos.sh "$fresh/platform" "$fresh/client"
for pair in "platform proto/python" "client clients/python/pb"; do
    read -r made committed <<<"$pair"
    if ! diff -r --exclude=__pycache__ "$fresh/$made/recallpb" "$committed/recallpb"; then
        echo "The stubs in $committed are not what the protos compile to. Remedy: make protos" >&2
        exit 1
    fi
done

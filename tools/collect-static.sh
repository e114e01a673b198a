#!/usr/bin/env bash
# Collects the console's static files into static-collected/, compressed.
set -euo pipefail
cd "$(dirname "$0")/.."
# Settings make secrets on first use; collecting files needs none of a real RECALL_HOME.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
RECALL_HOME=$home .venv/bin/python manage.py collectstatic --noinput --clear --verbosity 0

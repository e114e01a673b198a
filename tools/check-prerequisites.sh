#!/usr/bin/env bash
# Says in one line what this machine lacks and how to get it; prints the Python to use when nothing is missing.
set -euo pipefail

# The system's own first: distributions build Python with profile-guided optimisation, version managers by default do
# not, which costs plain Python a fifth of its speed. PYTHON=... names another one.
python_names="${PYTHON:-/usr/bin/python3 python3 python3.11 python3.12 python3.13}"

# The first that has all we need; if none has, the first of a version that fits, so that its remedy can be told.
find_python() {
    local name first=""
    for name in $python_names; do
        fits "$name" || continue
        first="${first:-$(command -v "$name")}"
        if has_venv "$name" && has_headers "$name"; then
            command -v "$name"
            return
        fi
    done
    echo "$first"
}

fits() {
    command -v "$1" >/dev/null \
        && "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null
}

has_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

remedy() {
    local fedora_names
    if command -v apt-get >/dev/null; then
        echo "sudo apt-get install -y $*"
    elif command -v dnf >/dev/null; then
        fedora_names=$(sed -e 's/python3-venv//; s/python3-dev/python3-devel/; s/g++/gcc-c++/' <<<"$*")
        echo "sudo dnf install -y $fedora_names"
    else
        echo "install the packages that your system has for: $*"
    fi
}

missing=()
packages=()
python=$(find_python)
if [ -z "$python" ]; then
    missing+=("Python 3.11, 3.12 or 3.13")
    packages+=(python3 python3-venv python3-dev)
else
    if ! has_venv "$python"; then
        missing+=("Python's venv module")
        packages+=(python3-venv)
    fi
    if ! has_headers "$python"; then
        missing+=("Python's headers (Python.h)")
        packages+=(python3-dev)
    fi
fi
command -v "${CXX:-g++}" >/dev/null || { missing+=("a C++ compiler (g++)"); packages+=(g++); }
command -v make >/dev/null || { missing+=("make"); packages+=(make); }

if [ "${#missing[@]}" -gt 0 ]; then
    list=$(printf '%s, ' "${missing[@]}")
    echo "Missing: ${list%, }. Remedy: $(remedy "${packages[@]}")" >&2
    exit 1
fi
echo "$python"

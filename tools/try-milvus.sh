#!/usr/bin/env bash
# Two small servers of Milvus's protocol (milvus-lite), blue and green, to try the engine with: on loopback only, until
# Ctrl-C. Their data stay in var/try-milvus (TRY_MILVUS_HOME); ports are 19530 and 19531 (TRY_MILVUS_PORT, and the next).
# To try, not to serve: they answer one request at a time, and know no IVF_PQ.
set -euo pipefail
cd "$(dirname "$0")/.."

home=${TRY_MILVUS_HOME:-var/try-milvus}
first_port=${TRY_MILVUS_PORT:-19530}
answers_seconds_max=60

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

for port in "$first_port" $((first_port + 1)); do
    if is_open "$port"; then
        echo "Somebody listens on port $port already; TRY_MILVUS_PORT=29530 make try-milvus takes others." >&2
        exit 1
    fi
done

servers=()
trap 'kill "${servers[@]}" 2>/dev/null || true; wait' EXIT
port=$first_port
for name in blue green; do
    mkdir -p "$home/$name"
    # Each ends with this script, however that ends.
    .venv/bin/python -m tests.support.milvus "$home/$name" "$port" $$ >"$home/$name.log" 2>&1 &
    servers+=($!)
    until is_open "$port"; do
        if ! kill -0 "${servers[-1]}" 2>/dev/null || ((SECONDS > answers_seconds_max)); then
            echo "$name does not start:" >&2
            tail -5 "$home/$name.log" >&2
            exit 1
        fi
        sleep 0.2
    done
    port=$((port + 1))
done

cat <<TEXT
Two instances listen on this machine until Ctrl-C. Where the platform is started, before \`recall up\`:

  export RECALL_MILVUS_INSTANCES=blue=http://127.0.0.1:$first_port,green=http://127.0.0.1:$((first_port + 1))

and in a service: \`engine: milvus\`. The next steps: docs/operating/milvus.md
TEXT
wait

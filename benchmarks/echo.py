"""As little as a gRPC server in Python can do: every Recall is answered with the same bytes. The floor of a gateway.

    python -m benchmarks.echo --answer FILE --note FILE

Runs as a gateway does: grpc.aio on uvloop, pinned where a gateway would be. Writes its address to the note when it
serves; ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from pathlib import Path
from typing import Any

from gateway.workers import keep_to_a_core

LOOPBACK = "127.0.0.1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answer", required=True, type=Path)
    parser.add_argument("--note", required=True, type=Path)
    arguments = parser.parse_args()
    # Before grpc is imported, so that each of its threads is born there.
    keep_to_a_core(0, "auto")
    import uvloop

    uvloop.run(_serve(arguments.answer.read_bytes(), arguments.note))


async def _serve(answer: bytes, note: Path) -> None:
    import grpc
    import grpc.aio

    async def recall(_request: bytes, _context: Any) -> bytes:
        return answer

    handlers = {"Recall": grpc.unary_unary_rpc_method_handler(recall)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("recallpb.v1.RecallService", handlers),))
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    gc.freeze()
    unfinished = note.with_suffix(".unfinished")
    unfinished.write_text(f"{LOOPBACK}:{port}")
    unfinished.replace(note)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop(None)


if __name__ == "__main__":
    main()

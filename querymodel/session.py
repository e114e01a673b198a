"""One model in ONNX Runtime: loaded from bytes, on the thread that calls, and stopped when its time is up.

A model may loop, so each run has a budget of wall time: a watching thread asks the runtime to end the run, which it
does before its next operator. Memory that runs may take is bounded for the process; what one operator does with it
therefore ends, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from querymodel.errors import ModelFailed, ModelRefused, ModelTooSlow, library_words

# Of all runs under way in a process, beside the weights.
RUN_BYTES_MAX = 512 << 20
LOG_FATAL_ONLY = 4

Tensor = NDArray[Any]


class Slot(NamedTuple):
    """An input or the output of a model. `shape` holds a size, or None where it is not fixed."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class Session:
    """Threads may run it at once. `seconds_max` is the budget of a run."""

    def __init__(self, payload: bytes, seconds_max: float) -> None:
        """Raises ModelRefused drop.model_unreadable when the runtime does not take the model."""
        _bound_memory()
        try:
            self._session = onnxruntime.InferenceSession(payload, _options(), providers=["CPUExecutionProvider"])
        except Exception as error:
            message = f"ONNX Runtime {onnxruntime.__version__} does not take the query model: {library_words(error)}."
            raise ModelRefused("drop.model_unreadable", message) from error
        self.inputs = tuple(map(_slot, self._session.get_inputs()))
        self.outputs = tuple(map(_slot, self._session.get_outputs()))
        self.seconds_max = seconds_max
        self._watch = _Watch(seconds_max)
        self._output_names = [each.name for each in self.outputs[:1]]

    def run(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The first output. Raises ModelTooSlow, ModelFailed MODEL_REFUSED."""
        with _Run(self._watch) as run:
            try:
                found: Sequence[Any] = self._session.run(self._output_names, dict(tensors), run.options)
            except Exception as error:
                if run.stopped:
                    raise ModelTooSlow(self.seconds_max) from error
                message = f"the query model cannot compute these features: {library_words(error)}"
                raise ModelFailed("MODEL_REFUSED", message) from error
        return np.asarray(found[0])

    def close(self) -> None:
        """Ends the watching thread."""
        self._watch.close()


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Shapes follow the batch; planned memory would be kept for each of them.
    options.enable_mem_pattern = False
    options.log_severity_level = LOG_FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights are no run's memory.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


def _slot(described: Any) -> Slot:
    # A size that is not fixed has a name, or none.
    shape = tuple(size if isinstance(size, int) and size >= 0 else None for size in described.shape)
    return Slot(described.name, described.type.removeprefix("tensor(").removesuffix(")"), shape)


_memory_lock = threading.Lock()
_memory_is_bounded = False


def _bound_memory() -> None:
    """Once in a process: the runtime has one arena for all sessions."""
    global _memory_is_bounded
    with _memory_lock:
        if _memory_is_bounded:
            return
        kind = onnxruntime.OrtMemoryInfo(
            "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
        )
        onnxruntime.create_and_register_allocator(kind, onnxruntime.OrtArenaCfg({"max_mem": RUN_BYTES_MAX}))
        _memory_is_bounded = True


class _Run:
    """One run, watched for as long as the `with` lasts."""

    __slots__ = ("_watch", "ends_at", "options", "stopped")

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self.options = onnxruntime.RunOptions()
        self.ends_at = time.monotonic() + watch.seconds_max
        self.stopped = False

    def __enter__(self) -> _Run:
        self._watch.begin(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.end(self)

    def stop(self) -> None:
        self.stopped = True
        self.options.terminate = True


class _Watch:
    """Stops runs whose time is up. Its thread sleeps while nothing runs, and is woken only out of that sleep."""

    def __init__(self, seconds_max: float) -> None:
        self.seconds_max = seconds_max
        self._runs: set[_Run] = set()
        self._changed = threading.Condition()
        self._sleeps = self._closed = False
        self._thread = threading.Thread(target=self._watch, name="model-watch", daemon=True)
        self._thread.start()

    def begin(self, run: _Run) -> None:
        with self._changed:
            self._runs.add(run)
            if self._sleeps:
                self._changed.notify()

    def end(self, run: _Run) -> None:
        with self._changed:
            self._runs.discard(run)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                for run in [run for run in self._runs if run.ends_at <= now]:
                    run.stop()
                    self._runs.discard(run)
                # Budgets are equal, so no run that begins later ends sooner.
                next_end = min((run.ends_at for run in self._runs), default=None)
                self._sleeps = next_end is None
                self._changed.wait(None if next_end is None else next_end - now)

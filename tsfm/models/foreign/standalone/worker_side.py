"""The worker's side of the pipe: one file, Python 3.9 or later, pyarrow and numpy, nothing else.

``python worker_side.py DIRECTORY`` imports ``DIRECTORY/worker.py`` and calls its ``forecast`` for
every question on stdin. A message is ``TSFM``, its length in 8 bytes (little-endian), and an Arrow
IPC stream of at most one record batch: a row per series, a tensor per array, everything else as
JSON under ``tsfm`` in the schema's metadata. What the model prints goes to stderr. When stdin
closes the worker ends, whatever it is doing, and so do the processes it started.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import queue
import random
import signal
import struct
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Dict, List, Optional, Tuple  # noqa: UP035

import numpy as np
import pyarrow as pa

PROTOCOL = 1
MAGIC = b"TSFM"
HEAD = struct.Struct("<4sQ")
KEY = b"tsfm"
ANSWERS = ("quantiles", "mean", "samples")
CAPABILITIES = ("variates", "context", "horizon", "covariates", "parameters")
GRACE_SECONDS = 5.0

Columns = Dict[str, Any]  # noqa: UP006
Message = Tuple[Dict[str, Any], Columns]  # noqa: UP006


class Request:
    """A question: a batch of pasts, and how far to forecast.

    Attributes
    ----------
    past
        ``float32 [batch, time, variate]``, NaN where unobserved; shorter pasts are padded on the
        left.
    observed
        ``bool [batch, time, variate]``.
    variates
        ``bool [batch, variate]``: which a series really has.
    past_covariates, known_covariates
        ``float32 [batch, time, covariate]``, ``[batch, time + horizon, covariate]``, or None.
    timestamps, future_timestamps
        ``datetime64[ns] [batch, time]``, ``[batch, horizon]``, or None.
    horizon, quantile_levels
        What is asked for.
    freq, seasonality, seed, item_ids, variate_names, past_covariate_names, static
        As far as they are known; ``seed`` has been set in ``random``, numpy and torch.
    """

    def __init__(self, header: Dict[str, Any], columns: Columns) -> None:  # noqa: UP006
        self.past: np.ndarray = columns["past"]
        self.observed: np.ndarray = columns["observed"]
        self.variates: np.ndarray = columns["variates"]
        self.past_covariates: Optional[np.ndarray] = columns.get("past_covariates")  # noqa: UP045
        self.known_covariates: Optional[np.ndarray] = columns.get("known_covariates")  # noqa: UP045
        self.timestamps: Optional[np.ndarray] = columns.get("timestamps")  # noqa: UP045
        self.future_timestamps: Optional[np.ndarray] = columns.get("future_timestamps")  # noqa: UP045
        self.item_ids: List[str] = columns["item_ids"]  # noqa: UP006
        self.static = [json.loads(text) for text in columns.get("static", [])]
        self.horizon = int(header["horizon"])
        self.quantile_levels = [float(level) for level in header["quantile_levels"]]
        self.freq: Optional[str] = header["freq"]  # noqa: UP045
        self.seasonality = int(header["seasonality"])
        self.seed = int(header["seed"])
        self.variate_names: List[str] = header["variate_names"]  # noqa: UP006
        self.past_covariate_names: List[str] = header["past_covariate_names"]  # noqa: UP006

    def series(self) -> List[np.ndarray]:  # noqa: UP006
        """Every past as ``[time]``, series by series and variate by variate.

        Without what comes before its first observed value; gaps hold the value before them.
        """
        found = []
        for past in self.past.transpose(0, 2, 1).reshape(-1, self.past.shape[1]):
            known = np.isfinite(past)
            filled = past[np.maximum.accumulate(np.where(known, np.arange(len(past)), 0))]
            found.append(filled[known.argmax() :])
        return found


# --- messages -------------------------------------------------------------------------------------


def pack(kind: str, header: Dict[str, Any], columns: Optional[Columns] = None) -> bytes:  # noqa: UP006, UP045
    """A whole message; columns are arrays ``[row, …]`` or lists of strings."""
    arrays, fields = [], []
    for name, values in (columns or {}).items():
        array, metadata = _to_arrow(values)
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=metadata))
    told = json.dumps({"protocol": PROTOCOL, "kind": kind, **header}).encode()
    schema = pa.schema(fields, metadata={KEY: told})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        if arrays:
            stream.write_batch(pa.record_batch(arrays, schema=schema))
    body = sink.getvalue()
    return HEAD.pack(MAGIC, body.size) + body.to_pybytes()


def unpack(body: bytes) -> Message:
    """The header and the columns of a message without its first twelve bytes."""
    with pa.ipc.open_stream(pa.py_buffer(body)) as stream:
        header = json.loads((stream.schema.metadata or {})[KEY])
        columns = {}
        if len(stream.schema):
            batch = stream.read_next_batch()
            for field, column in zip(batch.schema, batch.columns):
                columns[field.name] = _from_arrow(field, column)
    return header, columns


def _to_arrow(values: Any) -> Tuple[pa.Array, Optional[Dict[str, str]]]:  # noqa: UP006, UP045
    if not isinstance(values, np.ndarray):
        return pa.array(values, pa.string()), None
    kind = str(values.dtype)
    stored = {"bool": "uint8", "datetime64[ns]": "int64"}.get(kind, kind)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1).view(stored))
    if values.ndim > 1:
        shape = values.shape[1:]
        flat = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(shape)))
        flat = pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(flat.type.value_type, shape), flat
        )
    return flat, {"dtype": kind}


def _from_arrow(field: pa.Field, column: pa.Array) -> Any:
    if field.type == pa.string():
        return column.to_pylist()
    shape = (len(column),)
    if isinstance(column, pa.ExtensionArray):
        shape += tuple(field.type.shape)
        column = column.storage.flatten()
    kind = (field.metadata or {}).get(b"dtype", b"").decode()
    values = np.array(column.to_numpy(zero_copy_only=False)).reshape(shape)
    return values.view(kind) if kind in ("bool", "datetime64[ns]") else values


# --- the worker -----------------------------------------------------------------------------------


def main(directory: str) -> None:
    """Answer until stdin closes."""
    questions_in, answers_out = _take_the_pipe()
    sys.path.insert(0, directory)
    questions: "queue.Queue[Any]" = queue.Queue()
    busy = threading.Event()
    busy.set()
    reader = threading.Thread(target=_read, args=(questions_in, questions, busy), daemon=True)
    reader.start()
    try:
        model = _imported(directory)
        capabilities = _capabilities(model)
    except Exception as error:
        _send(answers_out, _told(error))
        return
    told = {"python": sys.version.split()[0], "arrow": pa.__version__, "capabilities": capabilities}
    _send(answers_out, pack("ready", told))
    while True:
        busy.clear()
        question = questions.get()
        if question is None:
            atexit.register(_end_group)
            return
        busy.set()
        try:
            reply = _answer(model, *unpack(question))
        except Exception as error:
            reply = _told(error)
        _send(answers_out, reply)


def _answer(model: ModuleType, header: Dict[str, Any], columns: Columns) -> bytes:  # noqa: UP006
    request = Request(header, columns)
    _seed(request.seed)
    found = model.forecast(request)
    if not isinstance(found, dict):
        raise TypeError(f"forecast returned {type(found).__name__}, not a dict of {ANSWERS}")
    levels = found.get("quantile_levels", request.quantile_levels)
    unknown = sorted(set(map(str, found)) - {*ANSWERS, "quantile_levels"})
    if unknown:
        raise KeyError(f"forecast returned {unknown}; known are {ANSWERS} and quantile_levels")
    arrays = {name: _numbers(name, found[name], request) for name in ANSWERS if name in found}
    if not arrays:
        raise KeyError(f"forecast returned none of {ANSWERS}")
    return pack("answer", {"quantile_levels": [float(level) for level in levels]}, arrays)


def _numbers(name: str, values: Any, request: Request) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    array = np.asarray(values, dtype=np.float32)
    if array.ndim < 2 or len(array) != len(request.past) or not array.size:
        wanted = f"its first axis must be the batch of {len(request.past)}"
        raise ValueError(f"{name} has shape {array.shape}; {wanted}")
    return array


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


def _imported(directory: str) -> ModuleType:
    path = Path(directory) / "worker.py"
    spec = importlib.util.spec_from_file_location("worker", str(path))
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules["worker"] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "forecast", None)):
        raise AttributeError(f"{path} defines no function forecast(request)")
    return module


def _capabilities(model: ModuleType) -> Dict[str, Any]:  # noqa: UP006
    told = dict(getattr(model, "CAPABILITIES", {}))
    unknown = sorted(set(map(str, told)) - set(CAPABILITIES))
    if unknown:
        raise KeyError(f"CAPABILITIES has {unknown}; known are {CAPABILITIES}")
    json.dumps(told)
    return told


def _told(error: Exception) -> bytes:
    """An error as a message: in short, where in the model's files, and whole."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if frame.filename != __file__]
    own = [frame for frame in outside if "site-packages" not in frame.filename] or outside
    place = f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
    short = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return pack("error", {"error": short, "place": place, "traceback": whole})


# --- the pipe -------------------------------------------------------------------------------------


def _take_the_pipe() -> Tuple[BinaryIO, BinaryIO]:  # noqa: UP006
    """Keep both ends for messages; the model reads nothing and prints to stderr."""
    questions_in = os.fdopen(os.dup(0), "rb")
    answers_out = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return questions_in, answers_out


def _read(source: BinaryIO, questions: "queue.Queue[Any]", busy: Any) -> None:
    """Queue questions; when the pipe closes, end what still runs."""
    while True:
        head = source.read(HEAD.size)
        if len(head) < HEAD.size:
            break
        magic, size = HEAD.unpack(head)
        body = source.read(size)
        if magic != MAGIC or len(body) < size:
            break
        questions.put(body)
    questions.put(None)
    if not busy.is_set():
        threading.Event().wait(GRACE_SECONDS)
    _end_group()
    os._exit(1)


def _send(target: BinaryIO, message: bytes) -> None:
    """Answer; end what still runs where nobody listens any more."""
    try:
        target.write(message)
        target.flush()
    except BrokenPipeError:
        _end_group()
        os._exit(1)


def _end_group() -> None:
    """This process and those it started, where it leads them."""
    if os.getsid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))

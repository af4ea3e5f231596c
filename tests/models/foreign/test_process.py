"""A worker that crashes, hangs, raises, prints or lies; nothing is left of any."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.foreign import LAST, write_foreign

from tsfm.models.base import Context
from tsfm.models.foreign.forecaster import ForeignForecaster
from tsfm.models.foreign.process import Worker, WorkerError
from tsfm.models.foreign.standalone.worker_side import HEAD, MAGIC

PAST = np.arange(24, dtype=np.float32).reshape(2, 12, 1)
GOOD = "    return {'mean': np.ones((len(request.past), request.horizon))}\n"
GOOD_SEED = 0


def load(directory: Path, code: str = LAST, **settings: Any) -> ForeignForecaster:
    return ForeignForecaster.load(write_foreign(directory, code, **settings))


def acting(acts: Iterable[str]) -> str:
    """Does what the seed of the question says, and is good at seed 0."""
    code = "def forecast(request):\n"
    for seed, act in enumerate(acts, 1):
        code += f"    if request.seed == {seed}:\n        {act}\n"
    return code + GOOD


def ask(model: ForeignForecaster, seed: int = GOOD_SEED) -> np.ndarray:
    return model.predict(Context(past=PAST, seed=seed), 2).mean


def gone(pid: int, seconds: float = 20) -> bool:
    """Whether a process ends in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


CRASHES = {
    "print('so long', flush=True); os._exit(3)": "exited with code 3; its last lines: so long",
    "sys.exit(4)": "forecasting 2 series: the worker exited with code 4; it wrote no line",
    "os.kill(os.getpid(), signal.SIGKILL)": "was killed by SIGKILL .out of memory",
    "os.abort()": "was killed by SIGABRT",
    "threading.Event().wait()": "took longer than 0.3 s",
    "os.write(4, b'hello there')": "the worker wrote b'hello there.*, which is no message",
    "os.write(4, b'TSFM'); os._exit(0)": "exited with code 0",
    r"os.write(4, b'TSFM' + (5).to_bytes(8, 'little') + b'arrow')": "answer cannot be read",
}
ERRORS = {
    r"raise RuntimeError('no\nluck')": "RuntimeError: no luck in worker.py, line 6",
    "return None": "forecast returned NoneType, not a dict",
    "return {'median': 1}": r"forecast returned \['median'\]",
    "return {}": "returned none of",
    "return {'mean': 'up'}": "could not convert string to float",
    "return {'mean': np.ones((1, 2))}": "first axis must be the batch of 2",
    "return {'mean': np.ones((2, 3))}": r"mean has shape \(2, 3\)",
    "return {'mean': np.full((2, 2), np.nan)}": "4 of 4 values of mean",
}


def test_a_worker_that_fails_is_ended_and_started_again(tmp_path: Path) -> None:
    model = load(tmp_path / "theirs", acting(CRASHES))
    patient = model.config
    for seed, (act, told) in enumerate(CRASHES.items(), 1):
        assert ask(model).shape == (2, 2, 1)
        before = model._started()
        model.config = replace(patient, request_seconds=0.3) if "wait" in act else patient
        with pytest.raises(WorkerError, match=told):
            ask(model, seed)
        model.config = patient
        assert before._process.poll() is not None
        assert not before.is_alive
    model.close()


def test_a_worker_that_answers_wrongly_goes_on(tmp_path: Path) -> None:
    model = load(tmp_path / "theirs", acting(ERRORS))
    before = model._started()
    for seed, told in enumerate(ERRORS.values(), 1):
        with pytest.raises(WorkerError, match=told) as caught:
            ask(model, seed)
        assert "theirs" in str(caught.value)
        assert ask(model).shape == (2, 2, 1)
    assert model._started() is before
    model.close()


def test_what_the_model_prints_is_no_answer(tmp_path: Path) -> None:
    code = """
    print("loading")
    def forecast(request):
        print("asked", flush=True)
        os.write(1, b"raw")
        assert not sys.stdin.read()
        subprocess.run(["echo", "a child"], check=True)
        sys.stderr.write("x" * 300_000)
        return {"mean": np.ones((len(request.past), request.horizon))}
    """
    model = load(tmp_path / "x", code)
    for _ in range(2):
        np.testing.assert_array_equal(ask(model), 1)
    model.close()


BROKEN = {
    "syntax": ("def forecast(request:\n", "SyntaxError"),
    "import": ("import no_such_package\n", "No module named 'no_such_package' in worker.py"),
    "no function": ("x = 1\n", "defines no function forecast"),
    "hangs": ("threading.Event().wait()\n", "loading the model took longer than 0.5 s"),
    "exits": ("os._exit(9)\n", "loading the model: the worker exited with code 9"),
    "claims": (LAST + "CAPABILITIES = {'speed': 1}\n", "CAPABILITIES has .'speed'."),
    "claims of a kind": (LAST + "CAPABILITIES = {'horizon': 'x'}\n", "CAPABILITIES has horizon="),
}  # fmt: skip


@pytest.mark.parametrize(("code", "told"), BROKEN.values(), ids=BROKEN)
def test_a_model_that_does_not_start_is_not_started_again(
    code: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 0.5 if "wait" in code else 60
    model = load(tmp_path / "x", code, start_seconds=seconds)
    with pytest.raises(WorkerError, match=told):
        ask(model)
    monkeypatch.setattr(Worker, "__init__", None)
    with pytest.raises(WorkerError, match=told):
        ask(model)


def test_only_named_variables_are_passed_and_their_values_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPEN_KEY", "key-to-be-seen")
    monkeypatch.setenv("SECRET_KEY", "not-to-be-seen")
    code = """
    def forecast(request):
        assert "SECRET_KEY" not in os.environ and "PATH" in os.environ
        raise RuntimeError("refused for " + os.environ["OPEN_KEY"])
    """
    model = load(tmp_path / "x", code, environment=["OPEN_KEY"])
    with pytest.raises(WorkerError, match=r"refused for \$OPEN_KEY in") as caught:
        ask(model)
    assert "refused for $OPEN_KEY" in caught.value.whole
    assert "key-to-be-seen" not in caught.value.whole
    model.close()


def test_an_interpreter_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("no program")
    (tmp_path / "python").chmod(0o755)
    model = load(tmp_path / "x", python=str(tmp_path / "python"))
    with pytest.raises(WorkerError, match="cannot be started"):
        ask(model)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits on Linux's process handles")
@pytest.mark.parametrize("how", ["closed", "forgotten", "deaf"])
def test_children_of_the_model_end_with_it(tmp_path: Path, how: str) -> None:
    """Deaf: whoever asked is gone when the answer comes; its end of stdin may live on elsewhere."""
    code = f"""
    wait = "import threading; threading.Event().wait()"
    child = subprocess.Popen([{sys.executable!r}, "-c", wait])
    def forecast(request):
        return {{"mean": np.full((len(request.past), request.horizon), float(child.pid))}}
    """
    model = load(tmp_path / "x", code)
    child = int(model.predict(past=PAST[:1], horizon=1).mean[0, 0, 0])
    started = model._started()
    worker = started._process.pid
    assert os.getpgid(child) == worker
    if how == "closed":
        model.close()
    elif how == "forgotten":
        del model, started
    else:
        started._stdout.close()
        os.write(started._stdin.fileno(), HEAD.pack(MAGIC, 1) + b"?")
    assert gone(child)
    assert gone(worker)


def test_a_large_question_and_a_large_answer_pass(tmp_path: Path) -> None:
    model = load(tmp_path / "x")
    past = np.random.default_rng(0).standard_normal((32, 20_000, 1)).astype(np.float32)
    found = model.predict(Context(past=past), 5_000, (0.5,))
    np.testing.assert_array_equal(found.mean[:, -1, 0], past[:, -1, 0])
    model.close()

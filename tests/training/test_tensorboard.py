"""TensorBoard's own reader finds what was logged, and the other logger gets it as well."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from tsfm.errors import ConfigError
from tsfm.training.logger import NullLogger
from tsfm.training.tensorboard import TensorBoardLogger, events_beside


class Recorder(NullLogger):
    def __init__(self):
        self.seen = []

    def log_metrics(self, metrics, step):
        self.seen.append((dict(metrics), step))


def scalars(directory, name):
    """What TensorBoard shows of a directory."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_metrics_and_figures_become_events(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recorder = Recorder()
    logger = TensorBoardLogger(recorder, tmp_path)
    logger.log_metrics({"train_loss": 2.0}, step=1)
    logger.log_metrics({"train_loss": 1.0}, step=2)
    figure = Figure()
    figure.add_subplot().plot(np.arange(3))
    logger.log_figure(figure, "fan", step=2)
    logger.flush()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train_loss")] == [(1, 2.0), (2, 1.0)]
    assert [e.step for e in events.Images("fan")] == [2]
    assert recorder.seen == [({"train_loss": 2.0}, 1), ({"train_loss": 1.0}, 2)]


def test_a_run_that_fails_leaves_all_its_events(tmp_path):
    def fail() -> None:
        with events_beside(NullLogger(), tmp_path, True) as logger:
            logger.log_metrics({"train_loss": 2.0}, step=1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert scalars(tmp_path / "tensorboard", "train_loss") == [(1, 2.0)]


def test_a_resumed_run_shows_every_step_once(tmp_path):
    """Interrupted after step 8 and resumed from a checkpoint of step 5."""
    for steps, value in ((range(1, 9), 1.0), (range(6, 11), 2.0)):
        with events_beside(NullLogger(), tmp_path, True) as logger:
            for step in steps:
                logger.log_metrics({"train_loss": value}, step)
    expected = [(step, 1.0 if step <= 5 else 2.0) for step in range(1, 11)]
    assert scalars(tmp_path / "tensorboard", "train_loss") == expected


def test_nothing_is_written_where_nothing_is_logged_or_wanted(tmp_path):
    """Of several processes that train together, only the first logs."""
    recorder = Recorder()
    with events_beside(recorder, tmp_path, False) as logger:
        assert logger is recorder
    with events_beside(recorder, tmp_path, True) as logger:
        logger.flush()
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_the_remedy_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'tsfm-lab\[tensorboard\]'"):
        TensorBoardLogger(NullLogger(), tmp_path)

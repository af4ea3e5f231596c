"""TensorBoard's own reader finds what was logged, and the other logger gets it as well."""

import numpy as np
from matplotlib.figure import Figure

from tsfm.training.logger import NullLogger
from tsfm.training.tensorboard import TensorBoardLogger


class Recorder(NullLogger):
    def __init__(self):
        self.seen = []

    def log_metrics(self, metrics, step):
        self.seen.append((dict(metrics), step))


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

"""The training loop on a model small enough to check by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from tsfm.data.windows import WindowSpec
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Forecast, Forecaster
from tsfm.models.statistical import RandomWalk
from tsfm.training.config import TrainerConfig
from tsfm.training.module import DivergedError
from tsfm.training.schedule import learning_rate_factor, parameter_groups
from tsfm.training.trainer import fit


class LinearModel(torch.nn.Module, Forecaster):
    """Predicts the next value from eight; windows of uneven weight make counts matter."""

    name = "linear"
    window_spec = WindowSpec(min_length=9, max_length=9)
    lora_targets = ("linear",)

    def __init__(self, poison_from: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(8, 1)
        self.dropout = torch.nn.Dropout(0.1)
        self.poison_from, self.calls = poison_from, 0

    def collate(self, windows, batch_size, rng):
        rows = [w.target[0] for w in itertools.islice(windows, batch_size)]
        kept = rng.integers(1, batch_size + 1)
        return {"values": torch.tensor(np.stack(rows)), "kept": torch.tensor(kept)}

    def loss(self, batch):
        values = batch["values"][: int(batch["kept"])]
        predicted = self.linear(self.dropout(values[:, :8]))[:, 0]
        self.calls += 1
        if self.poison_from is not None and self.calls > self.poison_from:
            predicted = predicted * float("nan")
        errors = (predicted - values[:, 8]) ** 2
        return errors.sum(), torch.tensor(float(len(errors)))

    def forecast(self, context, horizon, quantile_levels):
        shape = (context.batch_size, horizon, context.past.shape[2])
        mean = np.zeros(shape, np.float32)
        quantiles = np.repeat(mean[..., None], len(quantile_levels), -1)
        return Forecast(quantiles=quantiles, quantile_levels=quantile_levels, mean=mean)

    def save(self, directory):
        Path(directory).mkdir(parents=True, exist_ok=True)
        state = {name: value.tolist() for name, value in self.state_dict().items()}
        (Path(directory) / "weights.json").write_text(json.dumps(state))
        return Path(directory)

    @classmethod
    def load(cls, directory, **config_overrides):
        model = cls()
        state = json.loads((Path(directory) / "weights.json").read_text())
        model.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
        return model


class Recorder:
    """A RunLogger that remembers."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics, step):
        self.metrics.append((step, dict(metrics)))

    def flush(self):
        pass

    def series(self, name):
        return [(step, values[name]) for step, values in self.metrics if name in values]


CONFIG = {
    "max_steps": 12, "batch_size": 4, "lr": 0.05, "warmup_steps": 2, "validate_every": 4,
    "validation_batches": 2, "checkpoint_every": 3, "progress": False, "threads": 1,
}  # fmt: skip


@pytest.fixture
def panel(make_panel):
    return make_panel(n_items=3, length=200, variates=("a",), seed=1)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_loss_falls_and_the_best_model_is_saved(panel, tmp_path):
    recorder = Recorder()
    config = TrainerConfig(**CONFIG | {"max_steps": 60})
    result = fit(
        LinearModel(), panel, validation=panel, config=config, output_dir=tmp_path, logger=recorder
    )
    losses = [value for _, value in recorder.series("validation_loss")]
    assert result.validation_loss == pytest.approx(min(losses))
    assert min(losses) < losses[0]
    assert [step for step, _ in recorder.series("train_loss")] == list(range(1, 61))
    assert torch.equal(weights(LinearModel.load(result.model_directory)), weights(result.model))


def test_a_model_that_has_just_forecast_is_trained_with_dropout(panel, tmp_path):
    config = TrainerConfig(**CONFIG)
    fresh, asked = (
        fit(model, panel, config=config, output_dir=tmp_path / name)
        for model, name in ((LinearModel(), "fresh"), (LinearModel().eval(), "asked"))
    )
    assert torch.equal(weights(fresh.model), weights(asked.model))


def test_resuming_gives_bit_identical_weights(panel, tmp_path):
    whole = fit(LinearModel(), panel, output_dir=tmp_path / "a", config=TrainerConfig(**CONFIG))

    class Stop(Exception):
        pass

    class Interrupting(Recorder):
        def log_metrics(self, metrics, step):
            super().log_metrics(metrics, step)
            if step == 8:
                raise Stop

    with pytest.raises(Stop):
        fit(
            LinearModel(), panel, output_dir=tmp_path / "b", config=TrainerConfig(**CONFIG),
            logger=Interrupting(),
        )  # fmt: skip
    recorder = Recorder()
    resumed = fit(
        LinearModel(), panel, output_dir=tmp_path / "b", config=TrainerConfig(**CONFIG),
        resume_from=tmp_path / "b", logger=recorder,
    )  # fmt: skip
    assert [step for step, _ in recorder.series("train_loss")] == list(range(7, 13))
    assert resumed.steps == whole.steps == 12
    assert torch.equal(weights(resumed.model), weights(whole.model))


@pytest.mark.parametrize("interrupted_at", [4, 5, 8, 9])
def test_resuming_keeps_validation_and_the_best_checkpoint(panel, tmp_path, interrupted_at):
    config = TrainerConfig(**CONFIG | {"checkpoint_every": 1})
    arguments = {"validation": panel, "config": config}
    first = Recorder()
    whole = fit(LinearModel(), panel, output_dir=tmp_path / "a", logger=first, **arguments)

    class Interrupting(Recorder):
        def log_metrics(self, metrics, step):
            super().log_metrics(metrics, step)
            if step == interrupted_at and "train_loss" in metrics:
                raise KeyError(step)

    before, after = Interrupting(), Recorder()
    with pytest.raises(KeyError):
        fit(LinearModel(), panel, output_dir=tmp_path / "b", logger=before, **arguments)
    resumed = fit(
        LinearModel(), panel, output_dir=tmp_path / "b", logger=after,
        resume_from=tmp_path / "b", **arguments,
    )  # fmt: skip
    assert resumed.validation_loss == whole.validation_loss
    assert torch.equal(weights(resumed.model), weights(whole.model))
    for name in ("train_loss", "validation_loss"):
        assert dict(before.series(name)) | dict(after.series(name)) == dict(first.series(name))


@pytest.mark.parametrize("stops", [[(8, 0)], [(8, 2), (6, 1)]])
def test_resuming_amid_accumulation_repeats_no_micro_batch(panel, tmp_path, stops):
    """Stopped once or twice, the second time in the middle of the first step after resuming."""
    config = TrainerConfig(**CONFIG | {"accumulate": 3})
    whole = fit(LinearModel(), panel, output_dir=tmp_path / "a", config=config)

    class Interrupted(LinearModel):
        remaining = 0

        def loss(self, batch):
            self.remaining -= 1
            if self.remaining < 0:
                raise KeyError
            return super().loss(batch)

    begun = 0
    for step, more in stops:
        model, recorder = Interrupted(), Recorder()
        model.remaining = 3 * (step - begun) + more
        with pytest.raises(KeyError):
            fit(
                model, panel, output_dir=tmp_path / "b", config=config, logger=recorder,
                resume_from=tmp_path / "b" if begun else None,
            )  # fmt: skip
        assert all(np.isfinite(loss) for _, loss in recorder.series("train_loss"))
        begun = 6
    resumed = fit(
        LinearModel(), panel, output_dir=tmp_path / "b", config=config, resume_from=tmp_path / "b"
    )
    assert torch.equal(weights(resumed.model), weights(whole.model))


def test_accumulated_micro_batches_equal_their_union(panel, tmp_path):
    """Against a plain loop: gradient of (sum of sums) / (sum of counts), clipped, by AdamW."""
    config = TrainerConfig(**CONFIG | {"accumulate": 3, "max_steps": 4, "weight_decay": 0.0})

    class NoDropout(LinearModel):
        def __init__(self):
            super().__init__()
            self.dropout = torch.nn.Identity()

    result = fit(NoDropout(), panel, output_dir=tmp_path, config=config)

    from tsfm.data.windows import WindowStream
    from tsfm.training.batches import Batches

    model = NoDropout()
    batches = Batches(model, WindowStream([panel], model.window_spec), 4, seed=config.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(4):
        parts = [model.loss(batches.batch(3 * step + k)) for k in range(3)]
        total = sum(part[0] for part in parts) / sum(part[1] for part in parts)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = config.lr * learning_rate_factor(step, config)
        optimizer.step()
    assert torch.allclose(weights(result.model), weights(model), rtol=1e-5, atol=1e-6)


def test_batches_do_not_depend_on_workers(panel, tmp_path):
    results = [
        fit(LinearModel(), panel, output_dir=tmp_path / str(n),
            config=TrainerConfig(**CONFIG | {"workers": n, "max_steps": 5}))
        for n in (0, 2)
    ]  # fmt: skip
    assert torch.equal(*(weights(result.model) for result in results))


def test_bad_steps_are_skipped_then_stop_the_run(panel, tmp_path):
    config = TrainerConfig(**CONFIG | {"max_bad_steps": 3})
    model = LinearModel(poison_from=5)
    with pytest.raises(DivergedError, match="3 steps in a row"):
        fit(model, panel, output_dir=tmp_path, config=config)
    assert torch.isfinite(weights(model)).all()


def test_one_bad_step_leaves_the_weights_as_they_were(panel, tmp_path):
    class OnceBad(LinearModel):
        def loss(self, batch):
            total, count = super().loss(batch)
            return (total * float("inf"), count) if self.calls == 2 else (total, count)

    model = OnceBad()
    result = fit(model, panel, output_dir=tmp_path, config=TrainerConfig(**CONFIG))
    assert result.skipped_steps == 1
    assert torch.isfinite(weights(model)).all()


@pytest.fixture
def half_precision(monkeypatch):
    """Makes every trainer compute in fp16, which Lightning offers on GPUs only."""

    def begin(loss_scale: float) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=loss_scale)
        plugin = MixedPrecision("16-mixed", "cpu", scaler)
        whole = lightning.Trainer

        def trainer(**arguments):
            return whole(**arguments | {"precision": None, "plugins": [plugin]})

        monkeypatch.setattr(lightning, "Trainer", trainer)

    return begin


def test_overflows_that_the_gradient_scaler_mends_do_not_end_the_run(
    panel, tmp_path, half_precision
):
    half_precision(2.0**40)
    config = TrainerConfig(**CONFIG | {"max_bad_steps": 3, "max_steps": 60})
    model = LinearModel()
    before = weights(model)
    result = fit(model, panel, output_dir=tmp_path, config=config)
    assert 10 < result.skipped_steps < 50
    assert torch.isfinite(weights(model)).all()
    assert not torch.equal(weights(model), before)


def test_overflow_at_every_loss_scale_ends_the_run(panel, tmp_path, half_precision):
    half_precision(2.0**4)
    model = LinearModel()
    model.linear.weight.register_hook(lambda gradient: gradient * float("inf"))
    config = TrainerConfig(**CONFIG | {"max_bad_steps": 3})
    with pytest.raises(DivergedError, match="3 steps in a row"):
        fit(model, panel, output_dir=tmp_path, config=config)
    assert model.calls == 4 + 3
    assert torch.isfinite(weights(model)).all()


def test_bad_steps_in_a_row_are_counted_on_after_resuming(panel, tmp_path):
    settings = CONFIG | {"max_bad_steps": 5}
    fit(
        LinearModel(poison_from=4), panel, output_dir=tmp_path,
        config=TrainerConfig(**settings | {"max_steps": 7}),
    )  # fmt: skip
    model = LinearModel(poison_from=0)
    with pytest.raises(DivergedError, match="5 steps in a row"):
        fit(
            model, panel, output_dir=tmp_path, resume_from=tmp_path,
            config=TrainerConfig(**settings | {"max_steps": 20}),
        )  # fmt: skip
    assert model.calls == 2


def test_early_stopping(panel, tmp_path):
    class Frozen(LinearModel):
        def loss(self, batch):
            total, count = super().loss(batch)
            return total * 0 + count, count

    config = TrainerConfig(**CONFIG | {"max_steps": 100, "patience": 2})
    result = fit(Frozen(), panel, validation=panel, output_dir=tmp_path, config=config)
    assert result.steps == 12


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "foreign"])
def test_a_damaged_checkpoint_is_named(panel, tmp_path, damage):
    config = TrainerConfig(**CONFIG)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if damage != "missing":
        fit(LinearModel(), panel, output_dir=tmp_path / "run", config=config)
        content = checkpoint.read_bytes()
        damaged = {
            "empty": b"",
            "truncated": content[: len(content) // 2],
            "foreign": b"hello" * 99,
        }
        checkpoint.write_bytes(damaged[damage])
    with pytest.raises(CheckpointError, match=r"last\.ckpt|run"):
        fit(
            LinearModel(), panel, output_dir=tmp_path / "new", config=config,
            resume_from=tmp_path / "run",
        )  # fmt: skip


def test_a_baseline_cannot_be_trained(panel, tmp_path):
    with pytest.raises(ConfigError, match="nothing to train"):
        fit(RandomWalk(), panel, output_dir=tmp_path)


def test_schedule_warms_up_then_follows_a_cosine():
    config = TrainerConfig(max_steps=100, warmup_steps=10, final_lr_ratio=0.1)
    factors = [learning_rate_factor(step, config) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.55)
    assert factors[100] == pytest.approx(0.1)


def test_decay_spares_norms_biases_and_embeddings():
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.LayerNorm(4), torch.nn.Embedding(5, 4)
    )
    decayed, spared = parameter_groups(model, 0.1)
    assert [p.shape for p in decayed["params"]] == [(4, 3)]
    assert len(spared["params"]) == 4
    assert spared["weight_decay"] == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_steps", 0),
        ("lr", -1.0),
        ("lr", float("inf")),
        ("precision", "fp8"),
        ("workers", -1),
        ("beta2", 1.0),
    ],
)
def test_bad_configs_are_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        TrainerConfig(**{field: value})

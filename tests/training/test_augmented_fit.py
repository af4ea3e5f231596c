"""Training on augmented windows: the same for any workers, resumed bit by bit, off by default."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.moirai import make_model

from tsfm.data.dynamics.augmentation_config import AUGMENTATIONS, AugmentationConfig
from tsfm.data.dynamics.augmenter import Augmenter
from tsfm.data.windows import WindowStream
from tsfm.training.batches import Batches
from tsfm.training.config import TrainerConfig
from tsfm.training.trainer import fit

CONFIG = {
    "max_steps": 6, "batch_size": 2, "warmup_steps": 1, "validate_every": 3,
    "validation_batches": 1, "checkpoint_every": 2, "progress": False, "threads": 1,
}  # fmt: skip
AUGMENT = AugmentationConfig(rate=0.5, which=AUGMENTATIONS)


@pytest.fixture
def panel(make_panel):
    return make_panel(n_items=3, length=300, variates=("a", "b", "c"), seed=1)


def trained(panel, directory, augment, **fields):
    options = {name: fields.pop(name) for name in ("resume_from", "logger") if name in fields}
    config = TrainerConfig(**CONFIG | fields)
    model = make_model(token_budget=64)
    result = fit(model, panel, output_dir=directory, config=config, augment=augment, **options)
    return torch.cat([p.detach().flatten() for p in result.model.parameters()])


def batches(panel, transform):
    model = make_model(token_budget=64)
    stream = WindowStream([panel], model.window_spec, transform=transform)
    return Batches(model, stream, 4, seed=3)


def test_batches_without_augmentation_are_bit_identical(panel):
    plain = batches(panel, None)
    never = batches(panel, Augmenter(AugmentationConfig(rate=0, which=AUGMENTATIONS)))
    for index in (0, 7):
        one, two = plain.batch(index), never.batch(index)
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_batch_is_a_function_of_seed_and_index(panel):
    augmented, again = (batches(panel, Augmenter(AUGMENT)) for _ in range(2))
    in_order = [augmented.batch(index) for index in range(5)]
    for index in (3, 0, 4):
        batch = again.batch(index)
        assert all(torch.equal(batch[name], in_order[index][name]) for name in batch)
    plain = batches(panel, None)
    assert any(
        not torch.equal(plain.batch(index)["target"], in_order[index]["target"])
        for index in range(5)
    )


def test_augmentation_reaches_training_and_no_worker_matters(panel, tmp_path):
    weights = {
        (workers, augment is not None): trained(
            panel, tmp_path / f"{workers}-{augment is None}", augment, workers=workers
        )
        for workers, augment in [(0, None), (0, AUGMENT), (2, AUGMENT)]
    }
    assert torch.equal(weights[0, True], weights[2, True])
    assert not torch.equal(weights[0, True], weights[0, False])


def test_an_augmented_run_is_resumed_bit_by_bit(panel, tmp_path):
    class Interrupting:
        def log_metrics(self, metrics, step):
            if step == 5:
                raise KeyError

        def flush(self):
            pass

    whole = trained(panel, tmp_path / "a", AUGMENT)
    with pytest.raises(KeyError):
        trained(panel, tmp_path / "b", AUGMENT, logger=Interrupting())
    resumed = trained(panel, tmp_path / "b", AUGMENT, resume_from=tmp_path / "b")
    assert torch.equal(resumed, whole)


def test_validation_windows_are_never_augmented(panel, tmp_path):
    frozen = {"lr": 1e-30, "weight_decay": 0.0}
    losses = []
    for augment in (None, AugmentationConfig(rate=1.0, which=("fourier",))):
        result = fit(
            make_model(token_budget=64), panel, validation=panel, augment=augment,
            output_dir=tmp_path / str(augment is None), config=TrainerConfig(**CONFIG | frozen),
        )  # fmt: skip
        losses.append(result.validation_loss)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)

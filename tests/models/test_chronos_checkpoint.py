"""Directories of Chronos models: released, ours, incomplete and damaged ones."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pytest
import torch
from support.chronos_tiny import CONTEXT, FAMILIES, HORIZON, amend, tiny

from tsfm.data.panel import Panel
from tsfm.data.series import PanelInfo, Series
from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.adapters import enable_lora
from tsfm.models.source import load_local, model_name
from tsfm.training.config import TrainerConfig
from tsfm.training.schedule import parameter_groups
from tsfm.training.trainer import fit

PAST = np.random.default_rng(0).standard_normal((1, 50, 2)).astype(np.float32)


def _close(ours: np.ndarray, expected: np.ndarray) -> None:
    """But for rounding, which depends on where in memory the weights lie."""
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return {name: tiny(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture
def bolt(released, tmp_path):
    return shutil.copytree(released["bolt"], tmp_path / "bolt")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_saved_model_is_read_by_us_and_by_the_library(released, name, tmp_path):
    from chronos import BaseChronosPipeline

    assert model_name(released[name]) == "chronos"
    model = load_local(released[name], allow_untrained=True)
    before = torch.get_rng_state()
    saved = model.save(tmp_path / "deep" / "model")
    assert not [path for path in saved.iterdir() if path.name.startswith(".")]
    again = load_local(saved)
    assert again.info() == model.info()
    assert torch.equal(before, torch.get_rng_state())
    _close(
        again.predict(past=PAST, horizon=20).quantiles,
        model.predict(past=PAST, horizon=20).quantiles,
    )
    library = BaseChronosPipeline.from_pretrained(saved)
    assert type(library).__name__ == model.family.pipeline_class
    for name_, value in library.inner_model.state_dict().items():
        torch.testing.assert_close(value, model.network.state_dict()[name_])


@pytest.mark.parametrize("name", ["bolt", "chronos2"])
def test_a_directory_without_the_pipelines_name_is_known_by_its_architecture(
    released, name, tmp_path
):
    directory = shutil.copytree(released[name], tmp_path / name)
    amend(directory, chronos_pipeline_class=None)
    model = load_local(directory, allow_untrained=True)
    expected = load_local(released[name], allow_untrained=True)
    assert model.info()["family"] == expected.info()["family"]
    _close(model.predict(past=PAST, horizon=5).mean, expected.predict(past=PAST, horizon=5).mean)


@pytest.mark.parametrize("name", FAMILIES)
def test_fine_tuning_learns_and_is_saved(released, name, tmp_path):
    time = np.arange(400)
    target = np.stack([np.sin(time / 5), np.cos(time / 5)]).astype(np.float32)
    panel = Panel.from_series(
        [Series(item_id="wave", target=target)], PanelInfo(name="waves", variates=("x", "y"))
    )
    model = load_local(released[name])
    enable_lora(model, rank=2) if name == "bolt" else None
    rates = model.fine_tuning | {"lr": 3e-3}
    config = TrainerConfig(
        **rates, max_steps=30, batch_size=8, warmup_steps=0, validate_every=15, progress=False
    )
    stream = lambda m: m.eval().loss(m.collate(iter(windows), 8, np.random.default_rng(0)))
    windows = [panel.window(0, 10 * k, CONTEXT + HORIZON) for k in range(8)]
    first = stream(model)[0].item()
    model.train()
    result = fit(model, panel, validation=panel, config=config, output_dir=tmp_path)
    assert result.validation_loss is not None
    assert stream(result.model)[0].item() < 0.97 * first
    tuned = load_local(result.model_directory)
    assert not tuned.config.untrained
    np.testing.assert_allclose(
        tuned.predict(past=PAST, horizon=5).mean,
        result.model.predict(past=PAST, horizon=5).mean,
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_weights_that_modules_share_are_optimised_once(released, name):
    model = load_local(released[name])
    groups = parameter_groups(model, 0.1)
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(listed) == len(set(listed)) == len(list(model.parameters()))
    spared = {id(parameter) for parameter in groups[1]["params"]}
    assert id(model.network.shared.weight) in spared


def test_weights_that_a_file_lacks_are_never_filled_with_random_ones(bolt):
    from safetensors.torch import load_file, save_file

    path = bolt / "model.safetensors"
    weights = load_file(path)
    del weights["output_patch_embedding.output_layer.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 of the model's weights, output_patch"):
        load_local(bolt)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda d: (d / "model.safetensors").unlink(), r"no model\.safetensors"),
        (lambda d: (d / "model.safetensors").write_bytes(b"no weights"), "cannot be read"),
        (lambda d: amend(d, d_ff=17), "cannot be read"),
        (lambda d: amend(d, chronos_config={"context_length": 8}), "cannot be read"),
        (lambda d: amend(d, model="chronos", chronos_config=None), "no chronos_config"),
        (lambda d: amend(d, chronos_pipeline_class="Chronos9"), "Chronos9"),
        (lambda d: amend(d, model={"W": 3}), "names no model"),
    ],
)
def test_damage_is_told(bolt, damage, told):
    damage(bolt)
    with pytest.raises(CheckpointError, match=told):
        load_local(bolt)


def test_an_interrupted_save_leaves_the_earlier_model(bolt, monkeypatch):
    model = load_local(bolt, allow_untrained=True)
    before = {path.name: path.read_bytes() for path in bolt.iterdir()}

    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model.network), "save_pretrained", fail)
    with pytest.raises(CheckpointError, match="no space left"):
        model.save(bolt)
    assert {path.name: path.read_bytes() for path in bolt.iterdir()} == before


def test_no_hub_and_no_library_are_told_with_what_to_do(bolt, monkeypatch):
    import huggingface_hub

    def offline(*_: object, **__: object) -> None:
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(CheckpointError, match=r"amazon/chronos-bolt-tiny.*give its directory"):
        load_local("amazon/chronos-bolt-tiny")
    monkeypatch.setitem(sys.modules, "chronos", None)
    with pytest.raises(ConfigError, match=r"(?i)pip install chronos-forecasting"):
        load_local(bolt)

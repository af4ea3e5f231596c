"""PatchTST directories: saved, loaded, damaged, released; weights that go on in another mode."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.patchtst import make_past, make_patchtst

from tsfm.errors import CheckpointError, ConfigError
from tsfm.models.base import Context
from tsfm.models.patchtst import PatchTST
from tsfm.models.source import load_local


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    model, past = make_patchtst(dynamics_embedding=True, feature_seed=7), make_past()
    directory = model.save(tmp_path / "deep" / "model")
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]
    again = load_local(directory)
    assert isinstance(again, PatchTST)
    assert again.config == model.config
    np.testing.assert_array_equal(
        again.predict(past=past, horizon=9).mean, model.predict(past=past, horizon=9).mean
    )
    assert PatchTST.load(directory, context=64).config.context == 64


def test_stored_monomials_win_over_the_seed(tmp_path: Path) -> None:
    model, past = make_patchtst(dynamics_embedding=True, feature_seed=7), make_past()
    directory = model.save(tmp_path)
    content = json.loads((directory / "config.json").read_text())
    content["config"]["feature_seed"] = 8
    (directory / "config.json").write_text(json.dumps(content))
    np.testing.assert_array_equal(
        PatchTST.load(directory).predict(past=past, horizon=9).mean,
        model.predict(past=past, horizon=9).mean,
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", r"no config\.json"),
        ("weights_missing", r"no model\.safetensors"),
        ("weights_cut", "damaged"),
        ("json_cut", "cannot be read"),
        ("json_list", "not a JSON object"),
        ("other_model", "describes 'ttm'"),
        ("unknown_field", "is no parameter"),
        ("other_shape", "do not fit"),
        ("lost_tensor", "do not fit"),
    ],
)
def test_damaged_directories_are_told(tmp_path: Path, damage: str, message: str) -> None:
    directory = make_patchtst().save(tmp_path / "model")
    config, weights = directory / "config.json", directory / "model.safetensors"
    content = json.loads(config.read_text())
    if damage == "missing":
        directory = tmp_path / "elsewhere"
    elif damage == "weights_missing":
        weights.unlink()
    elif damage == "weights_cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "json_cut":
        config.write_text(config.read_text()[:20])
    elif damage == "json_list":
        config.write_text("[1]")
    elif damage == "lost_tensor":
        tensors = load_file(weights)
        tensors.pop("embedding.weight")
        save_file(tensors, weights)
    else:
        content["model"] = "ttm" if damage == "other_model" else "patchtst"
        content["config"] |= {"other_shape": {"d_ff": 50}, "unknown_field": {"colour": 1}}.get(
            damage, {}
        )
        config.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        PatchTST.load(directory)


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        make_patchtst().save(tmp_path / "file" / "model")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"patch": 8}, "trained with patch=16, not 8"),
        ({"channel_mixing": "none"}, "channel_mixing=attention, not none"),
        ({"d_model": 64}, "d_model=32, not 64"),
        ({"dynamics_embedding": True}, "dynamics_embedding=False"),
        ({"horizon": 64}, "new_head=True"),
        ({"quantiles": True}, "new_head=True"),
    ],
)
def test_another_architecture_is_refused(
    tmp_path: Path, override: dict[str, object], message: str
) -> None:
    directory = make_patchtst().save(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        PatchTST.load(directory, **override)


def test_unknown_overrides_are_refused(tmp_path: Path) -> None:
    directory = make_patchtst().save(tmp_path)
    with pytest.raises(ConfigError, match="no parameter"):
        PatchTST.load(directory, colour="red")


@pytest.mark.parametrize(("before", "after"), [("masked", "prediction"), ("prediction", "masked")])
def test_weights_go_on_in_the_other_mode(tmp_path: Path, before: str, after: str) -> None:
    first = make_patchtst(mode=before, channel_consistent=True)
    directory = first.save(tmp_path)
    second = PatchTST.load(directory, mode=after)
    context = Context(past=make_past())
    np.testing.assert_array_equal(first.embeddings(context), second.embeddings(context))
    assert second.head.weight.shape[0] == second.config.head_width
    assert second.predict(context, 5).mean.shape == (3, 5, 3)


def test_a_new_head_takes_another_horizon(tmp_path: Path) -> None:
    directory = make_patchtst().save(tmp_path)
    model = PatchTST.load(directory, horizon=8, quantiles=True, new_head=True)
    assert model.head.weight.shape == (72, 32)


@pytest.fixture
def released(shared: Path, tmp_path: Path) -> Path:
    directory = tmp_path / "panda"
    shutil.copytree(shared / "reference" / "panda" / "dynamics_embedding", directory)
    directory.chmod(0o755)
    for path in directory.iterdir():
        path.chmod(0o644)
    return directory


def test_released_weights_without_monomials_draw_them(released: Path) -> None:
    """The reference drew its own after ``manual_seed(4)``."""
    (released / "patch_indices.safetensors").unlink()
    past = load_file(released / "inputs.safetensors")["past_values"].numpy()
    expected = load_file(released / "outputs.safetensors")["prediction"].numpy()
    with pytest.warns(UserWarning, match="which monomials"):
        model = load_local(released, feature_seed=4)
    np.testing.assert_allclose(model.predict(past=past, horizon=128).mean, expected, atol=1e-5)
    with pytest.warns(UserWarning, match="which monomials"):
        other = PatchTST.load(released)
    assert np.abs(other.predict(past=past, horizon=128).mean - expected).max() > 1e-4


def test_released_weights_saved_as_ours_stay_the_same(released: Path, tmp_path: Path) -> None:
    model = PatchTST.load(released)
    past = load_file(released / "inputs.safetensors")["past_values"].numpy()
    again = PatchTST.load(model.save(tmp_path / "ours"))
    np.testing.assert_array_equal(
        again.predict(past=past, horizon=8).mean, model.predict(past=past, horizon=8).mean
    )


def test_released_masked_weights_are_known_by_their_head(released: Path) -> None:
    weights = load_file(released / "model.safetensors")
    del weights["head.projection.weight"]
    weights |= {"head.linear.weight": torch.randn(16, 96), "head.linear.bias": torch.zeros(16)}
    save_file(weights, released / "model.safetensors")
    model = PatchTST.load(released)
    assert model.config.mode == "masked"
    torch.testing.assert_close(model.head.weight, weights["head.linear.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_stride": 8}, "overlap"),
        ({"norm_type": "layernorm"}, "another architecture"),
        ({"channel_rope": True}, "another architecture"),
        ({"rope_percent": None}, "no Panda configuration"),
        ({"d_model": "wide"}, "no Panda configuration"),
        ({"pooling_type": None}, "pooling"),
        ({"num_hidden_layers": 3}, "do not fit"),
    ],
)
def test_other_released_architectures_are_refused(
    released: Path, change: dict[str, object], message: str
) -> None:
    path = released / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        PatchTST.load(released)


def test_hugging_faces_own_is_refused(released: Path) -> None:
    path = released / "config.json"
    content = json.loads(path.read_text())
    del content["rope_percent"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="Hugging Face's own"):
        PatchTST.load(released)


@pytest.mark.parametrize("damage", ["cut", "lost", "range"])
def test_damaged_monomials_are_told(released: Path, damage: str) -> None:
    path = released / "patch_indices.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    else:
        drawn = load_file(path)
        drawn["degree_3"][0] = 16
        save_file({"degree_2": drawn["degree_2"]} if damage == "lost" else drawn, path)
    with pytest.raises(CheckpointError, match=r"patch_indices\.safetensors"):
        PatchTST.load(released)

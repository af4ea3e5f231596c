"""What fine-tuning is told: presets, columns, and mistakes at the door."""

from __future__ import annotations

import pytest

from experiments import finetune
from experiments.cli import compose_config
from experiments.finetune_config import FinetuneConfig
from tsfm.data.windows import WindowSpec
from tsfm.errors import ConfigError, UserError
from tsfm.training.config import TrainerConfig


def finetuning(*words: str) -> FinetuneConfig:
    return compose_config("finetune", FinetuneConfig, finetune.PARAMETERS, words)


def settled(config: FinetuneConfig, panel, model: str = "ttm") -> TrainerConfig:
    spec = WindowSpec(min_length=160, max_length=608)
    return config.recipe.trainer(config.trainer, model, [panel], spec)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("default", (1e-4, 2048, 0, 1)),
        ("fine_tune", (1e-5, 2048, 500, 5)),
    ],
)
def test_presets_are_those_of_the_field(make_panel, preset, expected):
    """Three series of 1,000 bars hold 3 × 393 windows of 608: five epochs are three batches."""
    panel = make_panel(n_items=3, length=1000, variates=("a",))
    found = settled(finetuning(f"preset={preset}"), panel)
    lr, batch, warmup, epochs = expected
    steps = -(-3 * 393 * epochs // batch)
    assert (found.lr, found.batch_size, found.warmup_steps, found.max_steps) == (
        lr, batch, warmup, steps,
    )  # fmt: skip


def test_what_is_given_goes_before_a_preset(make_panel):
    panel = make_panel(n_items=1, length=1000, variates=("a",))
    words = ("preset=default", "lr=0.02", "batch_size=100", "epochs=2")
    found = settled(finetuning(*words), panel)
    assert (found.lr, found.batch_size, found.max_steps) == (0.02, 100, 8)
    assert settled(finetuning(*words, "max_steps=7"), panel).max_steps == 7
    by_trainer = finetuning("overrides=trainer.max_steps=9 trainer.warmup_steps=3")
    found = settled(by_trainer, panel)
    assert (found.max_steps, found.warmup_steps) == (9, 3)


def test_what_is_left_empty_is_the_preset_s(make_panel):
    words = ("epochs=", "max_steps=", "batch_size=", "lr=")
    assert finetuning(*words) == finetuning()


def test_packed_models_have_a_quick_recipe_of_their_own(make_panel):
    panel = make_panel(n_items=1, length=1000, variates=("a",))
    config = finetuning()
    assert settled(config, panel, "moirai").batch_size < settled(config, panel).batch_size
    assert settled(config, panel, "chronos").lr < settled(config, panel).lr


def test_zero_shot_is_a_preset_and_a_mode():
    assert finetuning("preset=zero_shot").adaptation.mode == "zero_shot"
    assert finetuning("mode=zero_shot").adaptation.mode == "zero_shot"


def test_columns_reach_the_reader():
    config = finetuning("id_column=p_num", "known_covariates=carbs", "resolution=15")
    assert config.data.cgm.columns == {"item_id": "p_num"}
    assert config.data.cgm.known_covariates == ("carbs",)
    assert config.data.cgm.resolution_minutes == 15
    assert finetuning("past_covariates=iob,cob").past_covariates == ("iob", "cob")


def test_fields_of_the_base_model_have_types_of_their_own():
    config = finetuning("overrides=load.dropout=0.1 load.imputation=mean load.head_dropout=0")
    assert config.load == {"dropout": 0.1, "imputation": "mean", "head_dropout": 0}


@pytest.mark.parametrize("name", ["brist1d", "lynch_2022", "brist1d:folder"])
def test_named_data_sets_keep_their_reader(home, name):
    (home / "lynch_2022").mkdir()
    data = finetuning(f"data={name}").data
    folder = name.partition(":")[2] or name
    assert (data.name, data.path) == ("path", f"{name.partition(':')[0]}:{folder}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["preset=slow"], "preset='slow'.*quick, default, fine_tune, zero_shot"),
        (["scaler=log"], "scaler='log'.*robust"),
        (["scaler_scope=city"], "scaler_scope='city'.*global"),
        (["imputation=magic"], "imputation='magic'.*interpolate"),
        (["imputation=forward_fill"], "imputation_steps=0"),
        (["imputation=mean", "imputation_steps=3"], "imputation_steps=3"),
        (["loss=hinge"], "loss='hinge'.*pinball"),
        (["split=moon"], "split='moon'.*patient"),
        (["past_covariates=all,iob"], "past_covariates=all,iob"),
        (["epochs=0"], "epochs=0"),
        (["batch_size=-1"], "batch_size=-1"),
        (["lr=0"], "lr=0"),
        (["epochs=many"], "epochs.*many"),
        (["resolution=7.5"], "resolution"),
        (["overrides=data.cgm.imputation=mean"], "Give imputation"),
        (["overrides=evaluation.stride=-1"], "stride=-1"),
        (["overrides=data.cohort.days=0"], "days=0"),
    ],
)
def test_mistakes_are_told(words, told):
    with pytest.raises(UserError, match=f"(?s){told}"):
        finetuning(*words)


def test_scratch_is_trained_in_full():
    with pytest.raises(ConfigError, match="mode=lora needs a trained base model"):
        finetuning("base_model=scratch")
    assert finetuning("base_model=scratch", "mode=full").model.context == 512

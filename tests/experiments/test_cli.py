"""Words on the command line to a typed config, and every mistake told in one line."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import cli, finetune, pretrain
from experiments.cli import compose_config
from experiments.config import (
    DataConfig,
    PretrainConfig,
    described,
    model_config,
    resumed,
)
from experiments.finetune_config import FinetuneConfig
from tsfm.errors import CheckpointError, ConfigError, UserError
from tsfm.models.moirai_config import MoiraiConfig


def pretraining(*words: str) -> PretrainConfig:
    return compose_config("pretrain", PretrainConfig, pretrain.PARAMETERS, words)


def finetuning(*words: str) -> FinetuneConfig:
    return compose_config("finetune", FinetuneConfig, finetune.PARAMETERS, words)


# --- what is taken --------------------------------------------------------------------------------


def test_parameters_arrive_in_their_types():
    config = pretraining(
        "context=100", "horizon=20", "lr=3e-4", "max_steps=7", "seed=3", "register_as=mine",
        "mask_ratio_min=0.05", "mask_ratio_max=0.5",
    )  # fmt: skip
    assert (config.context, config.horizon, config.seed, config.register_as) == (100, 20, 3, "mine")
    assert (config.trainer.lr, config.trainer.max_steps) == (3e-4, 7)
    assert isinstance(config.trainer.max_steps, int)
    assert isinstance(config.model, MoiraiConfig)
    assert (config.model.mask_ratio_min, config.model.mask_ratio_max) == (0.05, 0.5)


def test_the_model_follows_context_and_horizon():
    config = pretraining("context=128", "horizon=16")
    assert (config.model.context, config.model.horizon) == (128, 16)


@pytest.mark.parametrize("value", ["8,32", "[8, 32]", "8 32", "(8,32)"])
def test_lists_are_written_with_commas_or_brackets(value):
    assert pretraining(f"patch_sizes={value}").model.patch_sizes == (8, 32)


def test_lists_of_names():
    config = finetuning("targets=log_range,log_volume")
    assert config.data.variates == ("log_range", "log_volume")
    assert finetuning("targets=").data.variates == ()
    config = pretraining("overrides=evaluation.baselines=[random_walk]")
    assert config.evaluation.baselines == ("random_walk",)


def test_overrides_reach_everything_else():
    config = pretraining(
        "overrides=model.d_model=256 trainer.accumulate=2 data.simulated_assets=9"
        " evaluation.items_per_task=2 tensorboard=true"
    )
    assert config.model.d_model == 256
    assert config.trainer.accumulate == 2
    assert config.data.simulated_assets == 9
    assert config.evaluation.items_per_task == 2
    assert config.tensorboard is True
    assert finetuning("overrides=tensorboard=true").tensorboard is True


def test_model_fields_that_no_file_names_can_be_overridden():
    config = pretraining("overrides=model.dropout=0.2 model.token_budget=256 model.patch_size=32")
    assert (config.model.dropout, config.model.token_budget) == (0.2, 256)
    assert config.model.patch_size == 32


def test_values_with_spaces_are_quoted_in_overrides(tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    assert pretraining(f"data={folder}").data.path == str(folder)
    assert pretraining(f"overrides='data={folder}'").data.path == str(folder)


def test_the_last_word_wins():
    assert pretraining("overrides=trainer.lr=0.1", "lr=0.2").trainer.lr == 0.1
    assert pretraining("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize("name", ["sample", "simulated", "mixed", "synthetic"])
def test_known_sources_by_name(name):
    assert (pretraining(f"data={name}").data.name, pretraining(f"data={name}").data.path) == (
        name,
        "",
    )


def test_anything_else_is_looked_for_as_a_path(tmp_path, monkeypatch):
    bars = tmp_path / "bars.csv"
    bars.touch()
    config = pretraining(f"data={bars}")
    assert (config.data.name, config.data.path) == ("path", str(bars))
    monkeypatch.setenv("CUSTOM_DATA_PATH", str(tmp_path))
    assert pretraining("data=bars.csv").data.path == str(bars)


def test_several_sources_are_separated_by_commas(tmp_path, monkeypatch):
    for name in ("us", "eu, all"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("CUSTOM_DATA_PATH", str(tmp_path))
    config = pretraining("data=us, sample", "overrides=data.weights=[0.7,0.3]")
    assert (config.data.name, config.data.parts) == ("path", (f"{tmp_path}/us", "sample"))
    assert config.data.weights == (0.7, 0.3)
    assert pretraining(f"data={tmp_path}/eu, all").data.parts == (f"{tmp_path}/eu, all",)


def test_a_group_may_be_chosen_in_overrides():
    assert pretraining("overrides=data=sample").data.name == "sample"


def test_defaults_of_another_model_are_left_out():
    """MLflow passes them whether they were given or not."""
    defaults = ["patch_sizes=16,32,64", "mask_ratio_min=0.1", "mask_ratio_max=0.2"]
    assert pretraining("model=ttm", *defaults).model.patch_length == 64
    with pytest.raises(ConfigError, match="patch_sizes"):
        pretraining("model=ttm", "patch_sizes=8,16")


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "large"])
def test_a_preset_is_a_size_of_the_model(preset):
    model = pretraining(f"overrides=model.preset={preset}").model
    expected = MoiraiConfig.preset(preset)
    assert (model.d_model, model.num_layers) == (expected.d_model, expected.num_layers)
    assert model.patch_sizes == expected.patch_sizes
    words = ("model=moirai", f"overrides=model.preset={preset}")
    assert finetuning(*words).model.d_model == expected.d_model


@pytest.mark.parametrize(
    "words",
    [
        ["overrides=model.preset=small model.num_layers=2", "patch_sizes=16,32"],
        ["patch_sizes=16,32", "overrides=model.num_layers=2 model.preset=small"],
    ],
)
def test_what_else_is_given_goes_before_a_preset(words):
    model = pretraining(*words).model
    assert (model.d_model, model.num_layers, model.patch_sizes) == (384, 2, (16, 32))


def test_each_entry_point_has_its_own_recipe():
    assert pretraining().trainer.patience != finetuning().trainer.patience
    assert finetuning().data.name == "virtual"
    assert compose_config(
        "data", DataConfig, {"source": cli.Parameter("source", "")}, ["source=x.csv"]
    ).table.layout == "long"  # fmt: skip


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stray"], "'stray' is not of the form parameter=value"),
        (["no_such=1"], "no parameter 'no_such'.*max_steps.*overrides"),
        (["max_steps=many"], "trainer.max_steps.*many"),
        (["max_steps=1.5"], "trainer.max_steps.*1.5"),
        (["max_steps=0"], "max_steps=0"),
        (["lr=fast"], "trainer.lr.*fast"),
        (["lr=-1"], "lr=-1"),
        (["lr=nan"], "lr=nan"),
        (["seed=-1"], "seed=-1"),
        (["batch_size=0"], "batch_size=0"),
        (["context=0"], "context=0"),
        (["horizon=-3"], "horizon=-3"),
        (["patch_sizes=big"], "model.patch_sizes.*big"),
        (["patch_sizes=32,16"], "patch_sizes.*increasing"),
        (["patch_sizes="], "patch_sizes"),
        (["mask_ratio_min=0.5", "mask_ratio_max=0.2"], "0.5 to 0.2"),
        (["model=gpt"], "model='gpt'.*moirai"),
        (["data=nowhere.csv"], "data='nowhere.csv'.*simulated.*CUSTOM_DATA_PATH"),
        (["data=sample,nowhere.csv"], "data='nowhere.csv'.*separated by commas"),
        (["data=sample,sample"], "names sample twice"),
        (["data=sample,simulated", "overrides=data.weights=[1]"], "1 data.weights for 2 sources"),
        (["data=sample,simulated", "overrides=data.weights=[7,3]"], r"sum to 10.*\[0.7, 0.3\]"),
        (["data=sample,simulated", "overrides=data.weights=[1.5,-0.5]"], "not all positive"),
        (["overrides=data.weights=[0.7,0.3]"], "data.weights.*data=mixed"),
        (["register_as=a/b"], "register_as='a/b'"),
        (["overrides=model.d_model"], "group.key=value"),
        (["overrides=model.d_model=100"], "d_model=100.*multiple of 64"),
        (["overrides=model.d_modle=128"], "d_modle.*d_model"),
        (["overrides=model.d_model=wide"], "wide"),
        (["overrides=trainer.no_such=1"], "no_such"),
        (["overrides=no_such.key=1"], "no_such"),
        (["overrides=trainer.precision=8-bit"], "8-bit.*bf16-mixed"),
        (["overrides=evaluation.baselines=[oracle]"], "oracle.*random_walk"),
        (["overrides=evaluation.headline_metric=luck"], "luck.*crps"),
        (["overrides=data.held_out_share=0.9"], "0.9"),
        (["overrides=model.preset=huge"], "model.preset='huge'.*tiny, small, base, large"),
        (["overrides=data.seed=-1"], "data.seed=-1"),
        (["overrides=data.simulated_assets=1"], "1 assets"),
        (["overrides=trainer=1"], "trainer"),
        (["overrides='unclosed"], "overrides"),
        (["overrides=model.patch_size=7"], "patch_size=7"),
        (["context=100000"], "token budget"),
    ],
)  # fmt: skip
def test_mistakes_are_told(words, told):
    with pytest.raises(UserError, match=f"(?s){told}") as caught:
        pretraining(*words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["mode=half"], "mode='half'.*lora"),
        (["base_model=scratch"], "mode=lora needs a trained base model"),
        (["lora_rank=0"], "lora_rank=0"),
        (["lora_alpha=0"], "lora_alpha=0"),
        (["lora_alpha=nan"], "lora_alpha=nan"),
        (["overrides=adaptation.lora_dropout=1"], "lora_dropout=1"),
        (["data="], "data=''"),
    ],
)
def test_mistakes_in_finetuning_are_told(words, told):
    with pytest.raises(ConfigError, match=told):
        finetuning(*words)


def test_model_config_tells_unknown_names_and_fields():
    with pytest.raises(ConfigError, match="moirai"):
        model_config({"d_model": 64})
    with pytest.raises(ConfigError, match=r"hidden.*d_model"):
        model_config({"name": "moirai", "hidden": 1})


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the pretraining command with another main; its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, main=lambda config: None) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pretrain", *words])
        code = 0
        try:
            cli.run("pretrain", PretrainConfig, pretrain.PARAMETERS, main, title="Pretrain.")
        except SystemExit as left:
            code = left.code
        return code, *capsys.readouterr()

    return call


def test_command_gives_the_config_to_main(command):
    given = []
    assert command("seed=5", main=given.append) == (0, "", "")
    assert given[0].seed == 5


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_shows_defaults_and_runs_nothing(command, word):
    def main(config):
        raise AssertionError

    code, out, err = command(word, "max_steps=bad", main=main)
    assert (code, err) == (0, "")
    assert "max_steps" in out
    assert "[16,32,64]" in out
    assert "[mixed]" in out


@pytest.mark.parametrize("kind", [ConfigError, CheckpointError])
def test_user_errors_are_one_line_and_exit_code_2(command, kind):
    def main(config):
        raise kind("it is broken", where="here", remedy="mend it")

    assert command(main=main) == (2, "", "error: it is broken [here]. Mend it.\n")


def test_errors_whose_cause_has_many_lines_are_still_one(command):
    def main(config):
        raise ConfigError("first\nsecond\n\tthird", remedy="do\nthis")

    code, _, err = command(main=main)
    assert code == 2
    assert err == "error: first second third. Do this.\n"


def test_interrupt_is_exit_code_130(command):
    def main(config):
        raise KeyboardInterrupt

    assert command(main=main) == (130, "", "interrupted\n")


def test_our_own_defects_keep_their_traceback(command):
    def main(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command(main=main)


def test_dotenv_of_the_working_directory_is_read(command, monkeypatch):
    import os

    monkeypatch.setenv("TSFM_LAB_TESTED", "to be restored")
    monkeypatch.delenv("TSFM_LAB_TESTED")
    Path(".env").write_text("TSFM_LAB_TESTED=yes\n")
    seen = []
    command(main=lambda config: seen.append(os.environ.get("TSFM_LAB_TESTED")))
    assert seen == ["yes"]


# --- going on with a run --------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Pretend that a run's artifacts are files in a folder."""
    import tsfm.tracking.experiment as experiment

    monkeypatch.setattr(experiment, "stored_file", lambda run_id, path: tmp_path / run_id / path)

    def store(run_id: str, config) -> Path:
        from tsfm.tracking.parameters import as_yaml

        path = tmp_path / run_id / "config.yaml"
        path.parent.mkdir()
        path.write_text(as_yaml(described(config))[0])
        return path

    return store


@pytest.mark.parametrize("make", [pretraining, finetuning])
def test_a_resumed_run_goes_on_as_it_began(make, stored):
    words = ("context=96", "overrides=model.d_model=192 trainer.accumulate=3 data.seed=4")
    began = make(*words, "seed=11")
    stored("abc", began)
    goes_on = resumed(make("resume=abc", "seed=99"))
    assert goes_on.resume == "abc"
    assert replace(goes_on, resume="") == began


def test_a_new_run_is_left_as_it_is():
    config = pretraining("seed=2")
    assert resumed(config) is config


def test_a_config_that_cannot_be_read_is_told(stored):
    path = stored("abc", pretraining())
    path.write_text("context: [1, 2\n")
    with pytest.raises(UserError, match=r"config\.yaml"):
        resumed(pretraining("resume=abc"))
    path.write_text("no_such_field: 1\n")
    with pytest.raises(UserError, match="no_such_field"):
        resumed(pretraining("resume=abc"))

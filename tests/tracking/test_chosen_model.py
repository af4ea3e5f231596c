"""The model that a user names, from each of the places where one can be."""

from __future__ import annotations

import pytest

from tsfm.errors import CheckpointError, TrackingError
from tsfm.tracking.chosen_model import choose, versions_of
from tsfm.tracking.registry import log_model
from tsfm.tracking.runs import MlflowRun


@pytest.fixture
def logged(client, model_directory, bars) -> list[str]:
    """Ids of two logged models, versions 1 and 2 of ``bars``."""
    ids = []
    for _ in range(2):
        with MlflowRun.start("made", entry_point="pretrain") as run:
            made = log_model(
                run, model_directory, name="naive", input_example=bars, register_as="bars"
            )
            ids.append(made.model_id)
    return ids


def test_name_is_the_champion_or_with_a_notice_the_latest(client, logged):
    latest = choose("bars")
    assert (latest.uri, latest.model_id) == ("models:/bars/2", logged[1])
    assert "no champion" in latest.notice
    client.set_registered_model_alias("bars", "champion", "1")
    champion = choose("bars")
    assert (champion.uri, champion.model_id, champion.notice) == ("models:/bars/1", logged[0], "")
    assert choose("models:/bars@champion").uri == "models:/bars/1"
    assert champion.load().name == "seasonal_naive"
    assert champion.preparation().name == "bars"
    assert champion.provenance() is None


def test_versions_and_logged_models_lead_to_each_other(client, logged):
    assert [versions_of(client, one) for one in logged] == [["models:/bars/1"], ["models:/bars/2"]]
    assert choose(f"models:/{logged[0]}").model_id == logged[0]
    assert choose("models:/bars/latest").uri == "models:/bars/2"


def test_missing_alias_version_and_model_are_told_with_what_there_is(logged, client):
    with pytest.raises(TrackingError, match=r"no champion yet, only versions 1, 2.*-e promote"):
        choose("models:/bars@champion")
    with pytest.raises(TrackingError, match=r"Versions of bars: "):
        choose("models:/bars/9")
    with pytest.raises(CheckpointError, match=r"there is no model 'bats'.*Registered are bars"):
        choose("bats")


def test_baselines_directories_and_shipped_models(home, client, model_directory):
    assert choose("auto_ets").load().name == "auto_ets"
    assert choose("auto_ets").directory is None
    found = choose(str(model_directory))
    assert (found.name, found.directory) == (model_directory.name, model_directory)
    assert choose("ttm-base").name == "ttm-base"
    with pytest.raises(CheckpointError, match="-e pretrain"):
        choose("nothing")

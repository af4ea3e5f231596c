"""Of all the processes that train together, on any number of nodes, one has the run."""

from __future__ import annotations

import pytest

from tsfm.errors import CheckpointError
from tsfm.tracking.experiment import OUTPUTS, RUN_OF_GROUP, SilentRun, open_experiment
from tsfm.tracking.experiment import output_directory as directory_of

RANKS = (
    "RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "TORCHELASTIC_RUN_ID",
    RUN_OF_GROUP,
)  # fmt: skip


@pytest.fixture
def ranks(monkeypatch):
    """Sets what whoever started the process says of it, and nothing else."""
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)

    def be(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return be


def opened(resume: str = ""):
    return open_experiment("pretrain", {"seed": 0}, entry_point="pretrain", seed=0, resume=resume)


def runs(client) -> list:
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


TORCHRUN = {"TORCHELASTIC_RUN_ID": "job"}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"LOCAL_RANK": "0", "NODE_RANK": "0"},
        {"SLURM_PROCID": "0"},
        TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"},
        TORCHRUN | {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "SLURM_PROCID": "1"},
    ],
)
def test_the_first_process_has_the_run(client, ranks, variables):
    ranks(**variables)
    with opened() as record:
        assert not isinstance(record, SilentRun)
        assert directory_of(record) == OUTPUTS / record.run_id
        assert directory_of(record).is_dir()
    assert [run.info.run_id for run in runs(client)] == [record.run_id]


@pytest.mark.parametrize(
    "variables",
    [
        {"LOCAL_RANK": "1"},
        {"NODE_RANK": "1"},
        {"NODE_RANK": "1", "LOCAL_RANK": "1"},
        {"NODE_RANK": "0", "LOCAL_RANK": "1"},
        {"SLURM_PROCID": "3"},
        TORCHRUN | {"RANK": "1", "LOCAL_RANK": "1", "GROUP_RANK": "0"},
        TORCHRUN | {"RANK": "8", "LOCAL_RANK": "0", "GROUP_RANK": "1"},
        TORCHRUN | {"RANK": "1", "LOCAL_RANK": "0", "GROUP_RANK": "1", "SLURM_PROCID": "0"},
    ],
)
def test_every_other_process_of_every_node_makes_none(client, ranks, variables):
    ranks(**variables)
    with opened() as record:
        assert isinstance(record, SilentRun)
        (directory_of(record) / "checkpoints").mkdir(parents=True)
    assert runs(client) == []
    assert not OUTPUTS.exists()


def test_processes_that_lightning_starts_share_the_directory_of_the_run(client, ranks):
    ranks(**{"LOCAL_RANK": "1", RUN_OF_GROUP: "abc"})
    with opened() as record:
        assert directory_of(record) == OUTPUTS / "abc"


def test_every_process_resumes_from_the_same_directory(client, ranks):
    with opened() as first:
        pass
    ranks(**TORCHRUN, RANK="1", LOCAL_RANK="0")
    with opened(resume=first.run_id) as other:
        assert isinstance(other, SilentRun)
        assert directory_of(other) == directory_of(first)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_node_that_cannot_see_the_checkpoints_is_told(client, ranks, rank):
    ranks(**TORCHRUN, RANK=rank)
    with pytest.raises(CheckpointError, match="elsewhere left no checkpoints"), opened("elsewhere"):
        pass

"""Models are asked without dropout, and trained with it."""

import pytest
from torch import nn

from tsfm.models.modes import evaluating
from tsfm.models.statistical import RandomWalk


def modes(model: nn.Module) -> set[bool]:
    return {module.training for module in model.modules()}


@pytest.mark.parametrize("was_training", [True, False])
def test_a_model_is_as_it_was_also_after_an_error(was_training: bool) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout()).train(was_training)
    with evaluating(model):
        assert modes(model) == {False}
    assert modes(model) == {was_training}
    with pytest.raises(ZeroDivisionError), evaluating(model):
        _ = 1 / 0
    assert modes(model) == {was_training}


def test_what_has_no_mode_is_left_alone() -> None:
    with evaluating(RandomWalk()):
        pass

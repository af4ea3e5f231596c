"""Covariates are seen, as far as they may be; never predicted, never scored."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.moirai import make_context, make_model

from tsfm.data.panel import Panel
from tsfm.data.windows import Window
from tsfm.evaluation.backtest import backtest
from tsfm.evaluation.tasks import Task
from tsfm.models.base import Context

HORIZON, TIME = 32, 120


def with_covariates(past: int = 2, known: int = 2, seed: int = 0, **fields: object) -> Context:
    rng = np.random.default_rng(seed + 100)
    context = make_context(time=TIME, seed=seed, **fields)

    def noise(time: int, width: int) -> np.ndarray | None:
        return rng.normal(size=(context.batch_size, time, width)) if width else None

    return replace(
        context,
        past_covariates=noise(TIME, past),
        known_covariates=noise(TIME + HORIZON, known),
    )


def quantiles(model, context: Context) -> np.ndarray:
    return model.predict(context, HORIZON).quantiles


def change(context: Context, name: str, where: object, by: float = 3.0) -> Context:
    values = getattr(context, name).copy()
    values[where] += by * np.random.default_rng(1).normal(size=values[where].shape)
    return replace(context, **{name: values})


@pytest.fixture(scope="module")
def model():
    return make_model(patch_sizes=(16,), context=112, horizon=HORIZON)


# --- forecasts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("past_covariates", np.s_[:, -20:, 0]),
        ("past_covariates", np.s_[:, 30:40, 1]),
        ("known_covariates", np.s_[:, 30:40, 0]),
        ("known_covariates", np.s_[:, TIME:, 1]),
        ("known_covariates", np.s_[:, -1:, 1]),
    ],
)
def test_forecasts_follow_what_is_known_at_the_origin(model, name, where):
    context = with_covariates()
    moved = np.abs(quantiles(model, change(context, name, where)) - quantiles(model, context))
    assert moved.max() > 1e-4


def test_a_forecast_covers_the_variates_only(model):
    context = with_covariates()
    forecast = model.predict(context, HORIZON)
    assert forecast.quantiles.shape == (3, HORIZON, 3, 9)
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.metadata["covariates_left_out"] == [0, 0, 0]
    assert "covariates_left_out" not in model.predict(make_context(), HORIZON).metadata


@pytest.mark.parametrize("kinds", [("past",), ("known",), ("past", "known")])
def test_covariates_without_values_are_as_if_not_there(model, kinds):
    context = make_context(time=TIME)
    nothing = {
        f"{kind}_covariates": np.full((3, TIME + (kind == "known") * HORIZON, 2), np.nan)
        for kind in kinds
    }
    np.testing.assert_allclose(
        quantiles(model, replace(context, **nothing)), quantiles(model, context), atol=1e-5
    )


def test_an_unobserved_value_says_nothing_but_that(model):
    """A token of a covariate with one value missing differs from one with any value there."""
    context = with_covariates()
    values = context.past_covariates.copy()
    values[:, 50, 0] = np.nan
    holed = quantiles(model, replace(context, past_covariates=values))
    assert np.isfinite(holed).all()
    assert np.abs(holed - quantiles(model, context)).max() > 1e-6


def test_known_covariates_that_end_at_the_origin_are_past_ones(model):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(3, TIME, 2))
    context = make_context(time=TIME)
    past = replace(context, past_covariates=values)
    known = replace(context, known_covariates=values)
    np.testing.assert_allclose(quantiles(model, known), quantiles(model, past), atol=1e-5)


def test_bars_before_the_model_s_context_do_not_matter(model):
    context = with_covariates()
    early = np.s_[:, : TIME - 112]
    for name in ("past_covariates", "known_covariates"):
        np.testing.assert_array_equal(
            quantiles(model, change(context, name, early)), quantiles(model, context)
        )


def test_series_of_a_batch_do_not_share_covariates(model):
    context = with_covariates()
    together = quantiles(model, context)
    for row in range(3):
        alone = quantiles(model, context.rows([row]))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=1e-4)


def test_the_switch_turns_covariates_off():
    model = make_model(patch_sizes=(16,), context=112, horizon=HORIZON, use_covariates=False)
    plain = quantiles(model, make_context(time=TIME))
    np.testing.assert_array_equal(quantiles(model, with_covariates()), plain)


def test_the_patch_size_is_chosen_with_covariates_and_without_their_future():
    """The end of the context is held out then: what was unknown before it stays so."""
    model = make_model(patch_sizes=(16, 32), context=64, horizon=HORIZON)
    context = with_covariates()
    sizes = model.predict(context, HORIZON).metadata["patch_size"]
    assert set(sizes) <= {16, 32}
    for row in range(3):
        alone = model.predict(context.rows([row]), HORIZON).metadata["patch_size"]
        assert alone == sizes[row : row + 1]
    assert model.choose_patch_size([context], HORIZON) in (16, 32)


def test_no_past_covariate_of_a_panel_reaches_a_forecast_from_after_its_origin(model, make_panel):
    panel = make_panel(2, 200, past_covariates=("p",), known_covariates=("k",))
    task = Task.on(panel, context=112, horizon=HORIZON, known=("k",), max_windows=1)
    origins = dict(task.windows(panel))

    def asked(name: str, after: int) -> np.ndarray:
        """Answers when a covariate is another from ``after`` bars behind the origin on."""
        changed = []
        for item, series in enumerate(panel):
            values = getattr(series, name).copy()
            values[:, origins[item] + after :] += np.arange(200 - origins[item] - after)
            changed.append(replace(series, **{name: values}))
        other = Panel.from_series(changed, panel.info)
        return backtest(model, replace(task, panel_fingerprint=other.fingerprint), other).quantiles

    plain = backtest(model, task, panel).quantiles
    np.testing.assert_array_equal(asked("past_covariates", 0), plain)
    assert np.abs(asked("past_covariates", -20) - plain).max() > 1e-4
    assert np.abs(asked("known_covariates", 0) - plain).max() > 1e-4
    np.testing.assert_array_equal(asked("known_covariates", HORIZON), plain)


# --- more covariates than tokens ------------------------------------------------------------------


def test_the_first_that_fit_the_budget_are_kept_and_the_others_told():
    """Each of 3 variates takes 7 + 2 tokens, a known covariate 9, a past one 7: 45 hold 1 + 1."""
    model = make_model(patch_sizes=(16,), context=112, horizon=HORIZON, token_budget=45)
    context = with_covariates(past=3, known=1)
    with pytest.warns(UserWarning, match="last 2 covariates are not looked at"):
        forecast = model.predict(context, HORIZON)
    assert forecast.metadata["covariates_left_out"] == [2, 2, 2]
    kept = replace(context, past_covariates=context.past_covariates[:, :, :1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(quantiles(model, kept), forecast.quantiles)


def test_tokens_of_covariates_are_counted_before_training():
    model = make_model(patch_sizes=(16,), context=112, horizon=HORIZON, token_budget=45)
    sizes = {"variates": 3, "context": 112, "horizon": HORIZON}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.expect_able(**sizes)
        model.expect_able(**sizes, known=2)
        model.expect_able(**sizes, known=1, past=1)
    with pytest.warns(UserWarning, match="last 1 covariates.*patch size 16.*budget of 45"):
        model.expect_able(**sizes, known=1, past=2)
    off = make_model(patch_sizes=(16,), context=112, horizon=HORIZON, use_covariates=False)
    off.expect_able(**sizes, known=100, past=100)


# --- training -------------------------------------------------------------------------------------


def windows(rng: np.random.Generator, kind: str):
    """A level that nothing but the covariate, the target's twin, can tell beforehand."""
    while True:
        values = 0.3 * rng.normal(size=(1, 64)).astype(np.float32)
        values[:, 32:] += rng.choice([-3, 3])
        yield Window(
            item_id="x",
            target=values,
            start=0,
            variate_names=("level",),
            **{f"{kind}_covariates": values},
        )


def trained_loss(kind: str, *, use: bool = True, steps: int = 75) -> float:
    rng = np.random.default_rng(0)
    model = make_model(
        patch_sizes=(16,), context=32, horizon=32, token_budget=32, use_covariates=use,
        random_mask_share=0.0, shortest_crop=1.0, mask_ratio_min=0.5, mask_ratio_max=0.5,
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(steps):
        total, count = model.loss(model.collate(windows(rng, kind), 6, rng))
        optimiser.zero_grad()
        (total / count).backward()
        optimiser.step()
        losses.append(float(total.detach() / count))
    return float(np.mean(losses[-15:]))


def test_what_a_covariate_tells_is_learnt_when_it_is_known_and_hidden_when_it_is_past():
    without = trained_loss("known", use=False)
    assert trained_loss("known") < without - 0.4
    assert trained_loss("past") > without - 0.1


def batch_of(target: np.ndarray, known: np.ndarray, past: np.ndarray):
    def same():
        while True:
            yield Window(
                item_id="x", target=target, start=0, variate_names=("a",),
                known_covariates=known, past_covariates=past,
            )  # fmt: skip

    model = make_model(patch_sizes=(16,), token_budget=64)
    return model, model.collate(same(), 3, np.random.default_rng(3))


def test_loss_has_no_term_of_covariates_but_a_gradient_through_them():
    rng = np.random.default_rng(0)
    target, known, past = rng.normal(size=(3, 1, 160)).astype(np.float32)
    model, batch = batch_of(target, known, past)
    covariates = batch["variate_id"] > 0
    assert covariates.any()
    assert not batch["prediction_mask"][covariates].any()
    samples = sum(int(row.max()) for row in batch["sample_id"])
    values = batch["target"].clone().requires_grad_()
    total, count = model.loss(batch | {"target": values})
    assert float(count) == samples
    total.backward()
    assert (values.grad[covariates].abs().sum(-1) > 0).float().mean() > 0.9
    unseen, _ = model.loss(batch | {"sample_id": torch.where(covariates, 0, batch["sample_id"])})
    assert float(unseen.detach()) != pytest.approx(float(total.detach()), rel=1e-6)

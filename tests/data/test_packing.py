"""Packing against a slow reading of the packed rows, and the properties that it promises."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm.data.packing import PackingRecipe, draw_sample, pack, patch_size_candidates
from tsfm.data.windows import Window
from tsfm.errors import ConfigError


def endless(rng: np.random.Generator, n_variates: int = 4, length: int = 384) -> Iterator[Window]:
    """Windows whose every value tells its variate and bar: ``variate * 1e4 + bar``."""
    while True:
        values = np.arange(n_variates)[:, None] * 10_000 + np.arange(length)[None] + 1.0
        values[rng.random(values.shape) < 0.05] = np.nan
        yield Window(
            item_id="a",
            target=values.astype(np.float32),
            start=0,
            variate_names=tuple(map(str, range(n_variates))),
        )


def packed(seed: int, recipe: PackingRecipe, batch_size: int = 8, **shape: int) -> dict:
    rng = np.random.default_rng(seed)
    return pack(endless(rng, **shape), batch_size, rng, recipe)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_variates=st.sampled_from([1, 3, 7, 40]),
    budget=st.sampled_from([128, 256, 512]),
    scattered=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_every_sample_is_a_crop_of_one_window(seed, n_variates, budget, scattered):
    recipe = PackingRecipe(token_budget=budget, random_mask_share=scattered)
    fields = packed(seed, recipe, batch_size=3, n_variates=n_variates)
    for row in range(3):
        for sample in range(1, fields["sample_id"][row].max() + 1):
            tokens = np.flatnonzero(fields["sample_id"][row] == sample)
            assert (np.diff(tokens) == 1).all()
            size = fields["patch_size"][row, tokens[0]]
            assert (fields["patch_size"][row, tokens] == size).all()
            assert size in recipe.patch_sizes
            assert not fields["observed_mask"][row, tokens, size:].any()
            variates = fields["variate_id"][row, tokens]
            times = fields["time_id"][row, tokens]
            assert len(tokens) == len({*zip(variates, times)})
            assert len(tokens) == (variates.max() + 1) * (times.max() + 1)
            starts = set()
            for token, variate, time in zip(tokens, variates, times):
                seen = fields["observed_mask"][row, token, :size]
                values = fields["target"][row, token, :size] - 1
                assert (values[~seen] == -1).all()
                bars = values % 10_000 - time * size - np.arange(size)
                starts |= set(bars[seen])
                assert len(set((values // 10_000)[seen])) <= 1, variate
            assert len(starts) == 1
            masked = fields["prediction_mask"][row, tokens].reshape(variates.max() + 1, -1)
            assert (masked.sum(1) >= 1).all()
            assert (masked.sum(1) < masked.shape[1]).all()
            if scattered == 0:
                assert (np.diff(masked.astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("n_variates", [1, 4, 5])
def test_padding_is_below_four_per_mille(n_variates):
    padding = [
        (packed(seed, PackingRecipe(), 32, n_variates=n_variates)["sample_id"] == 0).mean()
        for seed in range(4)
    ]
    assert np.mean(padding) < 0.004


def test_the_same_seed_gives_the_same_batch_and_another_seed_another():
    one, same, other = (packed(seed, PackingRecipe()) for seed in (3, 3, 4))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["target"], other["target"])


def test_mask_ratio_stays_in_its_range():
    recipe = PackingRecipe(mask_ratio_min=0.3, mask_ratio_max=0.5, patch_sizes=(8,))
    rng = np.random.default_rng(0)
    windows = endless(rng)
    for _ in range(200):
        sample = draw_sample(next(windows), 512, rng, recipe)
        n_patches = sample.masked.shape[1]
        count = sample.masked.sum(1)
        assert (count >= max(1, np.floor(0.3 * n_patches))).all()
        assert (count <= max(1, np.ceil(0.5 * n_patches))).all()


def test_wide_windows_are_subsampled_and_narrow_ones_kept_whole():
    rng = np.random.default_rng(0)
    recipe = PackingRecipe(max_variates=5)
    widths = {
        draw_sample(next(endless(rng, 40)), 512, rng, recipe).masked.shape[0] for _ in range(9)
    }
    assert widths == {5}


@pytest.mark.parametrize(
    ("freq", "expected"),
    [
        ("10s", (64, 128)),
        ("min", (32, 64, 128)),
        ("15min", (32, 64)),
        ("h", (32, 64)),
        ("D", (16, 32)),
        ("B", (16, 32)),
        ("W", (16, 32)),
        ("MS", (8, 16, 32)),
        ("YS", (8,)),
        (None, (8, 16, 32, 64, 128)),
    ],
)
def test_patch_sizes_follow_the_duration_of_a_bar(freq, expected):
    assert patch_size_candidates(freq, (8, 16, 32, 64, 128)) == expected


def test_no_suitable_patch_size_falls_back_to_all():
    assert patch_size_candidates("YS", (16, 32)) == (16, 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch_sizes": ()}, "patch_sizes"),
        ({"mask_ratio_min": 0.6, "mask_ratio_max": 0.5}, "mask_ratio_min"),
        ({"mask_ratio_max": 1.0}, "mask_ratio_max"),
        ({"patch_size_rule": "guess"}, "frequency"),
        ({"random_mask_share": 2.0}, "random_mask_share"),
        ({"token_budget": 1}, "token_budget"),
    ],
)
def test_bad_recipes_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        PackingRecipe(**arguments)


def test_a_window_too_short_for_any_patch_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="holds no 2 patches"):
        draw_sample(next(endless(rng, length=20)), 512, rng, PackingRecipe())


# --- covariates -----------------------------------------------------------------------------------


def covaried(
    rng: np.random.Generator, n_variates: int = 2, past: int = 3, known: int = 2, length: int = 384
) -> Iterator[Window]:
    """As :func:`endless`; known covariates are rows 100 …, past ones 200 …, both with holes."""
    for window in endless(rng, n_variates, length):
        rows = {}
        for name, first, count, reach in (
            ("known_covariates", 100, known, 20),
            ("past_covariates", 200, past, 0),
        ):
            values = (first + np.arange(count))[:, None] * 10_000.0 + np.arange(length + reach) + 1
            values[rng.random(values.shape) < 0.05] = np.nan
            rows[name] = values.astype(np.float32) if count else None
        yield replace(window, **rows)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    n_variates=st.sampled_from([1, 3, 40]),
    past=st.sampled_from([0, 1, 5, 60]),
    known=st.sampled_from([0, 2, 30]),
    scattered=st.sampled_from([0.0, 1.0]),
)
def test_covariates_are_tokens_where_they_may_be_seen(seed, n_variates, past, known, scattered):
    recipe = PackingRecipe(token_budget=256, random_mask_share=scattered)
    rng = np.random.default_rng(seed)
    fields = pack(covaried(rng, n_variates, past, known), 2, rng, recipe)
    rows = np.where(fields["observed_mask"], fields["target"] // 10_000, np.nan)
    for row in range(2):
        for sample in range(1, fields["sample_id"][row].max() + 1):
            tokens = np.flatnonzero(fields["sample_id"][row] == sample)
            times, variates = fields["time_id"][row, tokens], fields["variate_id"][row, tokens]
            masked = fields["prediction_mask"][row, tokens]
            with np.errstate(invalid="ignore"):
                kind = np.nanmax(rows[row, tokens], axis=1)
            every = set(range(times.max() + 1))
            hidden = set(times[masked])
            assert not masked[kind >= 100].any()
            for variate in set(variates):
                here = variates == variate
                allowed = every - hidden if (kind[here] >= 200).any() else every
                assert set(times[here]) == allowed
                assert here.sum() == len(allowed)
            size = fields["patch_size"][row, tokens[0]]
            bars = (fields["target"][row, tokens, :size] - 1) % 10_000
            starts = (bars - times[:, None] * size - np.arange(size))[
                fields["observed_mask"][row, tokens, :size]
            ]
            assert len(set(starts)) == 1
            assert len(set(kind[kind < 100])) >= min(n_variates, 1)


def test_targets_come_before_covariates_when_there_is_no_room_for_all():
    rng = np.random.default_rng(0)
    for budget, limit in ((512, 5), (20, 128), (64, 128)):
        recipe = PackingRecipe(max_variates=limit, token_budget=budget, shortest_crop=0.5)
        for window, _ in zip(covaried(rng, n_variates=3, past=40, known=4), range(20)):
            sample = draw_sample(window, budget, rng, recipe)
            kinds = np.nanmax(sample.patches, axis=(1, 2)) // 10_000
            assert sample.tokens <= budget
            assert len(kinds) <= limit
            if (kinds >= 100).any():
                assert set(kinds[kinds < 100]) == {0, 1, 2}


def test_which_covariates_are_seen_is_drawn():
    rng = np.random.default_rng(0)
    recipe = PackingRecipe(max_variates=5, patch_sizes=(16,))
    drawn = set()
    for window, _ in zip(covaried(rng), range(60)):
        kinds = np.nanmax(draw_sample(window, 512, rng, recipe).patches, axis=(1, 2)) // 10_000
        drawn |= set(kinds.astype(int))
    assert drawn == {0, 1, 100, 101, 200, 201, 202}


@pytest.mark.parametrize(("n_variates", "past", "known"), [(1, 3, 0), (4, 30, 4), (4, 0, 5)])
def test_padding_stays_low_with_covariates(n_variates, past, known):
    padding = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        windows = covaried(rng, n_variates, past, known)
        padding.append((pack(windows, 32, rng, PackingRecipe())["sample_id"] == 0).mean())
    assert np.mean(padding) < 0.004


def test_covariates_can_be_turned_off():
    def packed_of(windows, rng):
        return pack(windows, 4, rng, PackingRecipe(use_covariates=False))

    rng = np.random.default_rng(1)
    fields = packed_of(covaried(rng), rng)
    seen = fields["target"][fields["observed_mask"]]
    assert seen.max() < 100 * 10_000

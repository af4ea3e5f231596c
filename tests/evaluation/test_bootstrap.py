from __future__ import annotations

import numpy as np
import pytest

from tsfm.errors import ConfigError
from tsfm.evaluation.bootstrap import bootstrap_ratios, interval, p_value


def _coverage(cluster: str, *, naive: bool, n_items: int, n_blocks: int) -> float:
    """Share of 200 synthetic studies whose 95 % interval covers the true mean, zero."""
    rng = np.random.default_rng(5)
    items, blocks = (grid.ravel() for grid in np.mgrid[:n_items, :n_blocks])
    items, blocks = np.repeat(items, 4), np.repeat(blocks, 4)
    hits = 0
    for study in range(200):
        values = 0.3 * rng.standard_normal(len(items)) + rng.standard_normal(n_blocks)[blocks]
        if cluster != "time_block":
            values += rng.standard_normal(n_items)[items]
        shifted = 10 + values
        drawn = bootstrap_ratios(
            shifted[None],
            np.ones((1, len(items))),
            items=np.arange(len(items)) if naive else items,
            blocks=np.zeros(len(items), int) if naive else blocks,
            rng=np.random.default_rng(study),
            cluster="item" if naive else cluster,
            replicates=300,
        )
        low, high = interval(drawn.ratios[0], drawn.clusters)
        hits += low <= 10 <= high
    return hits / 200


@pytest.mark.parametrize(
    ("cluster", "n_items", "n_blocks"), [("item_time", 20, 12), ("time_block", 4, 15)]
)
def test_intervals_cover_where_single_windows_do_not(
    cluster: str, n_items: int, n_blocks: int
) -> None:
    assert _coverage(cluster, naive=False, n_items=n_items, n_blocks=n_blocks) >= 0.9
    assert _coverage(cluster, naive=True, n_items=n_items, n_blocks=n_blocks) < 0.7


def test_draws_equal_a_loop_over_windows() -> None:
    rng = np.random.default_rng(0)
    top, bottom = rng.random((2, 30)), rng.random((2, 30))
    items, blocks = rng.integers(9, size=30), rng.integers(4, size=30)
    drawn = bootstrap_ratios(
        top, bottom, items=items, blocks=blocks, rng=np.random.default_rng(3), replicates=20
    )
    again = np.random.default_rng(3)
    n_items, n_blocks = len(np.unique(items)), len(np.unique(blocks))
    item_weights = again.multinomial(n_items, np.full(n_items, 1 / n_items), size=20)
    block_weights = again.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=20)
    item_codes, block_codes = (np.unique(x, return_inverse=True)[1] for x in (items, blocks))
    for replicate in range(20):
        weights = item_weights[replicate, item_codes] * block_weights[replicate, block_codes]
        for k in range(2):
            expected = (weights * top[k]).sum() / (weights * bottom[k]).sum()
            assert drawn.ratios[k, replicate] == pytest.approx(expected)


def test_same_seed_same_draws() -> None:
    arguments = {"items": np.arange(20) % 10, "blocks": np.arange(20) // 5}
    values = np.random.default_rng(0).random((1, 20))
    one, two = (
        bootstrap_ratios(values, np.ones((1, 20)), rng=np.random.default_rng(8), **arguments)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.ratios, two.ratios)


def test_few_items_are_taken_as_given() -> None:
    values = np.repeat([1.0, 2.0, 3.0], 10)[None]
    drawn = bootstrap_ratios(
        values,
        np.ones_like(values),
        items=np.repeat([0, 1, 2], 10),
        blocks=np.tile(np.arange(10), 3),
        rng=np.random.default_rng(0),
    )
    assert drawn.clusters == pytest.approx(10)
    np.testing.assert_allclose(drawn.ratios, 2.0)


def test_too_few_clusters_give_no_interval() -> None:
    assert np.isnan(interval(np.arange(100.0), clusters=2)).all()
    assert np.isnan(interval(np.full(10, np.nan), clusters=20)).all()


def test_fewer_clusters_widen_the_interval() -> None:
    values = np.random.default_rng(0).standard_normal(4000)
    widths = [np.ptp(interval(values, clusters)) for clusters in (5, 20, 10_000)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(np.ptp(np.quantile(values, [0.025, 0.975])), rel=1e-2)


def test_an_unknown_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="cluster"):
        bootstrap_ratios(
            np.ones((1, 3)),
            np.ones((1, 3)),
            items=[0, 1, 2],
            blocks=[0, 1, 2],
            rng=np.random.default_rng(0),
            cluster="moon",
        )


def test_crowded_blocks_count_for_less() -> None:
    blocks = np.concatenate([np.zeros(90, int), np.arange(1, 31)])
    drawn = bootstrap_ratios(
        np.ones((1, 120)),
        np.ones((1, 120)),
        items=np.zeros(120, int),
        blocks=blocks,
        rng=np.random.default_rng(0),
    )
    assert drawn.clusters == pytest.approx(120**2 / (90**2 + 30))


@pytest.mark.parametrize("clusters", [4.0, 30.0])
def test_p_values_agree_with_intervals(clusters: float) -> None:
    values = np.random.default_rng(0).normal(0.8, 0.5, 20_000)
    p = p_value(values, clusters)
    assert interval(values, clusters, 1 - p - 0.01)[0] > 0
    assert interval(values, clusters, 1 - p + 0.01)[0] < 0
    assert p_value(-values, clusters) == pytest.approx(p)
    assert p_value(values + 3, clusters, null=3.0) == pytest.approx(p)


def test_p_values_far_out_are_those_of_a_t_test_and_never_zero() -> None:
    from scipy.stats import norm, t

    values = np.random.default_rng(0).normal(6.0, 1.0, 999)
    expected = 2 * t.cdf(-values.mean() / values.std() * np.sqrt(19 / 20), 19)
    assert p_value(values, 20) == pytest.approx(expected)
    assert p_value(np.full(999, 5.0), 1e9) == pytest.approx(2 * norm.cdf(norm.ppf(0.5 / 999)))
    assert p_value(np.zeros(100), 10) == 1


def test_few_clusters_give_no_p_value() -> None:
    assert np.isnan(p_value(np.full(999, 5.0), 2.9))
    assert np.isnan(p_value(np.full(5, np.nan), 10))

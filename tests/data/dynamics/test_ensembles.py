"""Ensembles: what is in them, that SciPy finds the same, and what becomes of failures."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from support.dynamics import small

from tsfm.data.dynamics.attractor_config import AttractorConfig
from tsfm.data.dynamics.ensembles import (
    EnsembleConfig,
    choose_pairs,
    choose_systems,
    simulate_ensemble,
)
from tsfm.data.dynamics.families import held_out_families, is_held_out, split_by_family
from tsfm.data.dynamics.instances import JUDGED_PER_PERIOD, Draw, initial_state, make_draws
from tsfm.data.dynamics.skew import skew_product
from tsfm.data.dynamics.subjects import Subject, named_generator
from tsfm.data.dynamics.systems import load_system
from tsfm.data.panel import Panel
from tsfm.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(scope="module")
def ensemble(cache):
    return simulate_ensemble(small(n_skew=2, couplings=("speed", "diffusive")))


# --- content --------------------------------------------------------------------------------------


def test_items_are_trajectories_with_their_provenance(ensemble):
    panel = ensemble.panel
    assert len(panel) == ensemble.report.trajectories == 4 * 4
    assert set(panel.lengths) == {256}
    assert panel.info.variates == ("x0", "x1", "x2", "x3", "x4", "x5")
    first = panel.series(panel.item("Lorenz/0/1"))
    assert first.start is None
    assert first.static["system"] == "Lorenz"
    assert first.static["family"] == "lorenz"
    assert first.static["role"] == "system"
    assert first.static["period"] == load_system("Lorenz").period
    assert first.static["lyapunov"] == load_system("Lorenz").lyapunov
    assert first.static["dt"] == pytest.approx(load_system("Lorenz").period / 32)
    assert 0.3 < first.static["lyapunov_estimated"] < 2.0
    assert json.loads(first.static["parameters"]) == dict(load_system("Lorenz").parameters)
    assert panel.info.provenance["config"]["points"] == 256
    assert panel.info.provenance["catalogue"].startswith("dysts 0.96")


def test_absent_variates_are_nan_and_others_finite(ensemble):
    for series in ensemble.panel:
        observed = np.isfinite(series.target)
        dimension = int(series.static["dimension"])
        assert observed[:dimension].all()
        assert not observed[dimension:].any()


def test_skew_products_hold_driver_and_response(ensemble):
    skew = [s for s in ensemble.panel if s.static["role"] == "skew"]
    assert len(skew) == 8
    assert {s.static["coupling"] for s in skew} == {"speed", "diffusive"}
    for series in skew:
        driver, response = str(series.static["members"]).split(",")
        assert series.static["system"] == f"{driver}->{response}"
        assert series.item_id.startswith(f"{driver}->{response}/{series.static['coupling']}/")
        assert series.static["dimension"] == 6
        assert (series.static["period"], series.static["dt"]) == (1.0, 1 / 32)


@pytest.mark.parametrize("name", ["Lorenz/0/0", "Lorenz/1/1"])
def test_scipy_finds_the_same_trajectory_from_the_provenance(ensemble, name: str):
    series = ensemble.panel.series(ensemble.panel.item(name))
    p = json.loads(str(series.static["parameters"]))
    initial = json.loads(str(series.static["initial"]))

    def rhs(_t: float, s: np.ndarray) -> list[float]:
        return [
            p["sigma"] * (s[1] - s[0]),
            s[0] * (p["rho"] - s[2]) - s[1],
            s[0] * s[1] - p["beta"] * s[2],
        ]

    times = np.arange(96) * float(series.static["dt"])
    expected = solve_ivp(rhs, (0, times[-1]), initial, "DOP853", times, rtol=1e-12, atol=1e-12).y
    np.testing.assert_allclose(series.target[:3, :96], expected, atol=2e-3)


def test_parameter_draws_differ_and_initial_conditions_of_a_draw_share_them(ensemble):
    by_draw: dict[float, set[str]] = {}
    starts = []
    for series in ensemble.panel:
        if series.static["system"] == "Rossler":
            by_draw.setdefault(series.static["draw"], set()).add(str(series.static["parameters"]))
            starts.append(tuple(series.target[:3, 0]))
    assert all(len(parameters) == 1 for parameters in by_draw.values())
    assert len(set.union(*by_draw.values())) == len(by_draw) == 2
    assert len(set(starts)) == 4


def test_more_points_are_more_periods():
    panel = simulate_ensemble(small(systems=("Lorenz",), n_trajectories=1, points=4096)).panel
    assert set(panel.lengths) == {4096}
    assert np.isfinite(panel.series(0).target).all()


# --- draws ----------------------------------------------------------------------------------------


def subject(name: str = "Lorenz") -> Subject:
    return Subject.of(load_system(name), 1e4)


def test_perturbations_are_normal_in_proportion_to_the_parameters():
    macarthur = subject("MacArthur")
    drawn = macarthur.perturbed(0.2, 4000, np.random.default_rng(0))
    change = (drawn - macarthur.vector) / np.where(macarthur.vector == 0, 1, macarthur.vector)
    moved = macarthur.vector != 0
    assert np.abs(change[:, moved].mean(axis=0)).max() < 0.02
    np.testing.assert_allclose(change[:, moved].std(axis=0), 0.2, rtol=0.06)
    assert (drawn[:, ~moved] == 0).all()


def test_perturbations_leave_the_coupling_alone():
    product = skew_product(load_system("Lorenz"), load_system("Rossler"), "flow")
    drawn = product.perturbed(0.2, 5, np.random.default_rng(0))
    assert product.free == len(product.parameter_names) == 6
    assert (drawn[:, :6] != product.vector[:6]).all()
    assert (drawn[:, 6:] == product.vector[6:]).all()


def test_trajectories_of_a_draw_do_not_share_a_stretch_of_its_orbit():
    config = small(points=256)
    (draw,), _ = make_draws(subject(), config, [0], 4)
    length = 256 / 32
    moments = []
    for start in range(4):
        state = initial_state(subject(), config, draw, start)
        place = np.flatnonzero((draw.orbit == state).all(axis=1))
        assert len(place) == 1
        moments.append(place[0] / JUDGED_PER_PERIOD)
    assert (np.diff(moments) >= length).all()


def test_draws_depend_on_seed_and_name_only():
    config = small()
    (one,), _ = make_draws(subject(), config, [3], 2)
    both, _ = make_draws(subject(), config, [2, 3], 2)
    assert isinstance(one, Draw)
    np.testing.assert_array_equal(one.parameters, both[1].parameters)
    np.testing.assert_array_equal(one.orbit, both[1].orbit)
    (other,), _ = make_draws(subject(), replace(config, seed=1), [3], 2)
    assert (one.parameters != other.parameters).all()
    assert named_generator("a", 0).random() != named_generator("b", 0).random()


# --- determinism ----------------------------------------------------------------------------------


def test_threads_and_other_systems_do_not_matter(ensemble):
    config = small(n_skew=2, couplings=("speed", "diffusive"))
    again = simulate_ensemble(config, workers=1)
    assert again.panel.fingerprint == ensemble.panel.fingerprint
    alone = simulate_ensemble(small(systems=("Rossler",))).panel
    for series in alone:
        twin = ensemble.panel.series(ensemble.panel.item(series.item_id))
        np.testing.assert_array_equal(series.target, twin.target[:3])


def test_the_seed_matters(ensemble):
    other = simulate_ensemble(small(systems=("Lorenz",), seed=1)).panel
    mine = ensemble.panel.series(ensemble.panel.item("Lorenz/0/0"))
    assert not np.array_equal(other.series(0).target, mine.target[:3])


# --- what is chosen -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_held_out_systems_and_pairs_are_there_at_their_share(seed: int):
    config = EnsembleConfig(seed=seed)
    apart = held_out_families(0.3, seed)
    systems = choose_systems(config)
    assert len(set(systems)) == 100
    assert sum(is_held_out([name], apart) for name in systems) == 30
    pairs = choose_pairs(config, systems)
    assert {member for pair, _ in pairs for member in pair} <= set(systems)
    assert sum(is_held_out(pair, apart) for pair, _ in pairs) == 15
    assert {coupling for _, coupling in pairs} == set(config.couplings)


def test_a_split_of_an_ensemble_is_by_its_own_families(ensemble):
    split = split_by_family(ensemble.panel)
    apart = held_out_families(0.3, 0)
    assert not {"lorenz", "rossler"} & apart
    assert (len(split.train), split.held_out_systems, split.held_out_skew) == (16, None, None)
    lorenz = replace(small(), held_out=0.2, seed=0)
    assert simulate_ensemble(lorenz).panel.info.provenance["held_out_families"] == sorted(
        held_out_families(0.2, 0)
    )


# --- failures -------------------------------------------------------------------------------------


def test_failures_are_dropped_counted_and_named():
    config = small(systems=("Lorenz", "Torus", "SprottO", "StickSlipOscillator"), attempts=1)
    seen = []
    panel, report = simulate_ensemble(config, progress=lambda *told: seen.append(told))
    assert seen == [(k + 1, 4, name) for k, name in enumerate(config.systems)]
    assert {"Torus", "StickSlipOscillator"} <= set(report.missing)
    assert {series.static["system"] for series in panel} == set(config.systems) - set(
        report.missing
    )
    record = json.loads(report.to_json())
    assert record["trajectories"] == len(panel)
    assert record["subjects"]["Torus"]["kept"] == 0
    dropped = sum(record["dropped_draws"].values()) + sum(record["dropped_trajectories"].values())
    assert dropped == sum(bool(trial["dropped"]) for trial in record["trials"])
    kept = {t["id"] for t in record["trials"] if not t["dropped"] and t["id"].count("/") == 2}
    assert kept == set(panel.item_ids)
    (torus,) = (t for t in record["trials"] if t["id"] == "Torus/0")
    failed = [name for name, (_, passed) in torus["tests"].items() if not passed]
    assert torus["dropped"] == failed[0]
    assert record["thresholds"]["bounded"] == 1e4


def test_later_attempts_make_up_for_what_was_dropped():
    config = small(systems=("HyperLu",), parameter_scale=0.2, n_parameters=4, n_trajectories=4)
    once = simulate_ensemble(replace(config, attempts=1)).report
    thrice = simulate_ensemble(config).report
    assert once.trajectories < thrice.trajectories <= 4
    assert once.short == {"HyperLu": once.trajectories}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_steps": 100}, "step limit"),
        ({"max_seconds": 1e-9, "transient": 3000.0}, "time limit"),
        ({"validity": AttractorConfig(max_value=1.0)}, "diverged"),
        ({"validity": AttractorConfig(min_lyapunov=1e3)}, "lyapunov"),
    ],
)
def test_an_ensemble_without_a_trajectory_is_one_error(changes: dict, told: str, tmp_path):
    with pytest.raises(DataError, match=f"not one trajectory.*{told}.*parameter_scale"):
        simulate_ensemble(small(systems=("Lorenz",), **changes), out=tmp_path / "panel")
    assert not list(tmp_path.iterdir())


def test_a_scale_at_which_every_sample_diverges_is_one_error(tmp_path):
    config = small(systems=("Lorenz", "Rossler"), parameter_scale=1e6, n_trajectories=8)
    with pytest.raises(DataError, match=r"not one perturbed trajectory.*Lower parameter_scale"):
        simulate_ensemble(config, out=tmp_path / "panel")
    assert not list(tmp_path.iterdir())


def test_a_panel_on_disk_is_that_in_memory(ensemble, tmp_path):
    config = small(n_skew=2, couplings=("speed", "diffusive"))
    written = simulate_ensemble(config, out=tmp_path / "panel")
    assert Panel.open(tmp_path / "panel").fingerprint == ensemble.panel.fingerprint
    with pytest.raises(DataError, match="exists already"):
        simulate_ensemble(config, out=tmp_path / "panel")
    path = written.report.save(tmp_path / "report.json")
    assert json.loads(path.read_text())["config"]["seed"] == 0


# --- bad configs ----------------------------------------------------------------------------------


def test_unknown_systems_are_told_with_the_closest_names():
    with pytest.raises(ConfigError, match=r"'Rosler'. Try Rossler"):
        EnsembleConfig(systems=("Lorenz", "Rosler"))
    with pytest.raises(ConfigError, match="MackeyGlass is not integrated: a delay"):
        EnsembleConfig(systems=("MackeyGlass",))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_systems": 0}, "n_systems=0"),
        ({"n_trajectories": 0}, "n_trajectories=0"),
        ({"points": 3}, "points=3"),
        ({"points_per_period": 1}, "points_per_period=1"),
        ({"parameter_scale": -0.1}, "parameter_scale=-0.1"),
        ({"parameter_scale": float("nan")}, "parameter_scale=nan"),
        ({"held_out": 1.0}, "held_out=1.0"),
        ({"couplings": ("magnetic",)}, "magnetic.*flow, state"),
        ({"couplings": ()}, "n_skew=0"),
        ({"systems": ("Lorenz", "Lorenz")}, "Lorenz twice"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_bad_values_are_told(changes: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        EnsembleConfig(**changes)

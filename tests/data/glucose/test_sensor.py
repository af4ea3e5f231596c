"""Sensor errors against the published distribution, its own recursion, and its limits."""

import numpy as np
import pytest
from scipy import stats
from scipy.interpolate import interp1d

from tsfm.data.glucose.cohort_config import SENSORS
from tsfm.data.glucose.sensor import load_sensor
from tsfm.errors import ConfigError

DEXCOM = load_sensor("Dexcom")


def test_errors_equal_a_plain_loop_joined_by_scipy():
    count = 450
    kicks = np.random.default_rng(3).standard_normal(151)
    process = [kicks[0]]
    for kick in kicks[1:]:
        process.append(0.7 * (process[-1] + kick))
    coarse = -5.47 + 15.9574 * np.sinh((np.array(process) + 0.5444) / 1.6898)
    minutes = np.arange(11) * 15
    pieces = [
        interp1d(minutes, coarse[first : first + 11], kind="cubic")(np.arange(0, 150, 5))
        for first in range(0, 150, 10)
    ]
    ours = DEXCOM.error(count, np.random.default_rng(3))
    np.testing.assert_allclose(ours, np.concatenate(pieces), atol=1e-8)


def test_errors_have_the_distribution_and_memory_of_the_model():
    error = DEXCOM.error(300_000, np.random.default_rng(0))[::3]
    spread = np.sqrt(0.49 / (1 - 0.49))
    share = np.linspace(0.02, 0.98, 25)
    normal = stats.norm.ppf(share) * spread
    expected = -5.47 + 15.9574 * np.sinh((normal + 0.5444) / 1.6898)
    np.testing.assert_allclose(np.quantile(error, share), expected, atol=0.4)
    process = np.arcsinh((error + 5.47) / 15.9574) * 1.6898 - 0.5444
    assert np.corrcoef(process[1:], process[:-1])[0, 1] == pytest.approx(0.7, abs=0.01)
    assert np.corrcoef(process[2:], process[:-2])[0, 1] == pytest.approx(0.49, abs=0.01)


def test_more_samples_do_not_change_earlier_ones():
    few, many = (DEXCOM.error(count, np.random.default_rng(5)) for count in (31, 1000))
    np.testing.assert_array_equal(few, many[:31])
    assert len(DEXCOM.error(1, np.random.default_rng(5))) == 1


def test_sensors_are_those_of_the_table():
    assert (DEXCOM.lowest, DEXCOM.highest) == (39.0, 600.0)
    assert load_sensor("Navigator").lowest == 32.0
    assert {load_sensor(name).persistence for name in SENSORS} == {0.7, 0.0}
    exact = load_sensor("exact")
    np.testing.assert_array_equal(exact.error(100, np.random.default_rng(0)), 0.0)
    assert exact.highest > 1e6


def test_an_unknown_sensor_is_refused():
    with pytest.raises(ConfigError, match="Libre"):
        load_sensor("Libre")

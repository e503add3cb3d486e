"""BD-rate against published values, a second implementation, and cases whose answer is known."""

import math

import numpy as np
import pytest
from decant_bench.errors import BenchError
from decant_bench.rate_distortion.bd_rate import bd_rate, common_span, curve, to_db

RATES = (100.0, 200.0, 400.0, 800.0, 1600.0)
PSNR = (28.0, 31.0, 34.5, 37.0, 40.0)

# Rate and PSNR of an anchor and a test, and the BD-rate that the spreadsheet of the JCT-VC common test
# conditions gives for them (from the tests of Netflix' VMAF, which checks its own implementation with it).
JCTVC = [
    (
        ((108048.8736, 61279.976, 33905.6656, 18883.6928), (43.6471, 40.3953, 37.247, 34.2911)),
        ((108061.2784, 61299.9936, 33928.7472, 18910.912), (43.6768, 40.4232, 37.2761, 34.3147)),
        -0.00465215420752807,
    ),
    (
        ((40433.8848, 7622.7456, 2394.488, 1017.6184), (37.5761, 35.3756, 33.8977, 32.0603)),
        ((40370.12, 7587.0024, 2390.0944, 1017.0984), (37.5982, 35.4025, 33.9194, 32.0822)),
        -0.018779823450567612,
    ),
]

# The example that goes with most implementations of the measure.
WIDESPREAD = (
    ((686.76, 309.58, 157.11, 85.95), (40.28, 37.18, 34.24, 31.42)),
    ((893.34, 407.8, 204.93, 112.75), (40.39, 37.21, 34.17, 31.24)),
)


def over_common(anchor, test):
    a, b = curve("anchor", *anchor), curve("test", *test)
    return bd_rate(a, b, common_span(a, b, (0, 100), 1))


@pytest.mark.parametrize(("anchor", "test", "published"), JCTVC)
def test_the_values_of_the_jctvc_spreadsheet(anchor, test, published):
    assert over_common(anchor, test) == pytest.approx(published, abs=1e-9)


def test_the_polynomial_of_the_first_proposal_agrees_on_the_widespread_example():
    """Smooth curves: the cubic through four points and PCHIP differ by hundredths of a percent there."""
    anchor, test = WIDESPREAD
    low = max(min(anchor[1]), min(test[1]))
    high = min(max(anchor[1]), max(test[1]))
    areas = []
    for rates, values in (anchor, test):
        integral = np.polyint(np.polyfit(values, np.log(rates), 3))
        areas.append(np.polyval(integral, high) - np.polyval(integral, low))
    polynomial = math.expm1((areas[1] - areas[0]) / (high - low))
    assert polynomial == pytest.approx(0.3140, abs=1e-4)
    assert over_common(anchor, test) == pytest.approx(polynomial, abs=5e-4)


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.0, 1.7])
def test_a_curve_whose_files_are_larger_by_a_factor_gives_that_factor(factor):
    anchor = curve("anchor", RATES, PSNR)
    test = curve("test", [factor * rate for rate in RATES], PSNR)
    assert bd_rate(anchor, test, (28, 38)) == pytest.approx(factor - 1, abs=1e-12)
    assert bd_rate(test, anchor, (30, 40)) == pytest.approx(1 / factor - 1, abs=1e-12)


def test_straight_lines_of_different_slope_give_their_mean_distance():
    """ln R = value against ln R = 2 value - 30: the mean of value - 30 over 30..34 is 2."""
    values = np.arange(28.0, 37.0)
    anchor, test = curve("anchor", np.exp(values), values), curve("test", np.exp(2 * values - 30), values)
    assert bd_rate(anchor, test, (30, 34)) == pytest.approx(math.expm1(2), rel=1e-9)


def test_only_the_asked_range_counts():
    """Twice the files from 37 dB on, equal up to 34.5; a slope of PCHIP reaches one point further."""
    anchor = curve("anchor", [*RATES, 3200], [*PSNR, 42])
    test = curve("test", [100, 200, 400, 1600, 3200, 6400], [*PSNR, 42])
    assert bd_rate(anchor, test, (28, 31)) == pytest.approx(0, abs=1e-12)
    assert bd_rate(anchor, test, (40, 42)) == pytest.approx(1, abs=1e-12)


def test_points_come_in_any_order():
    shuffled = curve("x", RATES[::-1], PSNR[::-1])
    assert (shuffled.rates, shuffled.values, shuffled.left_out) == (RATES, PSNR, 0)


def test_points_that_cost_more_and_are_no_better_are_left_out():
    made = curve("x", [*RATES, 500, 900, 400], [*PSNR, 34.5, 36.9, 30])
    assert (made.rates, made.values, made.left_out) == (RATES, PSNR, 3)
    assert curve("x", [*RATES, 5000], [*PSNR, math.inf]).left_out == 1


def test_rate_and_value_are_inverse_at_the_points():
    made = curve("x", RATES, PSNR)
    for rate, value in zip(RATES, PSNR, strict=True):
        assert made.rate_at(value) == pytest.approx(rate)
        assert made.value_at(rate) == pytest.approx(value)


def test_a_curve_that_does_not_reach_the_range_is_refused_by_name():
    anchor, test = curve("jpeg", RATES, PSNR), curve("lite", RATES[1:], PSNR[1:])
    with pytest.raises(BenchError, match=r"lite: from 31\.00 to 40\.00 dB; 28 to 38 expected"):
        bd_rate(anchor, test, (28, 38))
    with pytest.raises(BenchError, match=r"jpeg: from 28\.00 to 40\.00 dB; 28 to 41 expected"):
        bd_rate(anchor, test, (28, 41))
    with pytest.raises(ValueError, match="an ascending range expected"):
        bd_rate(anchor, test, (38, 28))


def test_the_common_range_is_what_both_reach_of_the_asked_one():
    anchor, test = curve("jpeg", RATES, PSNR), curve("lite", RATES[1:], PSNR[1:])
    assert common_span(anchor, test, (28, 38), 5) == (31, 38)
    with pytest.raises(BenchError, match=r"share 0\.00 dB of 20 to 25 dB; 3 expected"):
        common_span(anchor, test, (20, 25), 3)


def test_too_few_points_and_rates_that_are_none_are_refused():
    with pytest.raises(BenchError, match="x: 3 points of different quality; 4 expected"):
        curve("x", RATES[:4], [28, 29, 30, 30])
    with pytest.raises(ValueError, match="rates above 0"):
        curve("x", [0, *RATES[1:]], PSNR)


def test_similarity_in_db():
    assert to_db(0.99) == pytest.approx(20)
    assert to_db(0.9) == pytest.approx(10)
    assert to_db(1.0) == math.inf

"""Folders of the Kuopio Tomography Challenge: what is read, what a level leaves out, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from pdeopt.eit.images.pixels import checked_labels, pixel_centers
from pdeopt.eit.measurements.ktc import left_out_electrodes, read_ktc, targets
from pdeopt.inverse import InputError

MEASURED = Path(__file__).parents[3] / "shared" / "ktc2023"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the challenge's data are not here")

L, K, Q = 8, 14, 7
DIFFERENCES = np.eye(L)[:, :-1] - np.eye(L)[:, 1:]
#: Neighbors, then all of them against electrode 0, which repeats one pattern.
CURRENTS = np.concatenate([DIFFERENCES, np.eye(L)[:, :1] - np.eye(L)[:, 1:]], 1) * 1.5


def network(seed):
    """Voltages (q, K) between electrodes that conductors of about 5 mS connect, each with each."""
    conductance = np.random.default_rng(seed).uniform(4, 6, (L, L))
    conductance += conductance.T
    laplacian = np.diag(conductance.sum(0)) - conductance
    return DIFFERENCES.T @ np.linalg.pinv(laplacian) @ CURRENTS


def column(voltages):
    return voltages.T.reshape(-1, 1)


@pytest.fixture
def parts():
    """What the files of a sound folder hold; a test changes it, then writes it."""
    truth = np.zeros((256, 256), np.uint8)
    truth[100:120, 90:130], truth[150:170, 90:130] = 1, 2
    return {
        "ref.mat": {"Injref": CURRENTS, "Mpat": DIFFERENCES.astype(np.int16), "Uelref": column(network(0))},
        "data2.mat": {"Inj": CURRENTS, "Mpat": DIFFERENCES.astype(np.int16), "Uel": column(network(1))},
        "true2.mat": {"truth": truth},
    }


@pytest.fixture
def write(tmp_path):
    def files(parts):
        for name, variables in parts.items():
            savemat(tmp_path / name, variables, do_compression=True)
        return tmp_path

    return files


def refused(folder, *words, target=2, level=1):
    with pytest.raises(InputError) as error:
        read_ktc(folder, target, level)
    for word in words:
        assert word in str(error.value), str(error.value)


# -- what is read -----------------------------------------------------------------------------------------------------


def test_a_folder_is_read(write, parts):
    data = read_ktc(write(parts), 2)
    np.testing.assert_array_equal(data.currents, CURRENTS)
    np.testing.assert_array_equal(data.differences, DIFFERENCES)
    np.testing.assert_array_equal(data.reference, network(0))
    np.testing.assert_array_equal(data.voltages, network(1))
    np.testing.assert_array_equal(data.truth, parts["true2.mat"]["truth"])
    np.testing.assert_array_equal(data.patterns, np.arange(K))
    assert data.valid.all()
    assert data.truth.dtype == np.uint8
    assert data.counts == {
        "measurements": Q * K,
        "kept": Q * K,
        "missing_in_file": 0,
        "left_out_by_level": 0,
        "patterns_left_out": 0,
        "electrodes_left_out": 0,
    }


def test_data_do_not_change_by_accident(write, parts):
    data = read_ktc(write(parts), 2)
    with pytest.raises(ValueError, match="read-only"):
        data.voltages[0] = 0


def test_the_truth_may_be_unknown(write, parts):
    del parts["true2.mat"]
    assert read_ktc(write(parts), 2).truth is None


def test_patterns_that_the_target_lacks_are_those_of_the_reference(write, parts):
    del parts["data2.mat"]["Inj"], parts["data2.mat"]["Mpat"]
    np.testing.assert_array_equal(read_ktc(write(parts), 2).currents, CURRENTS)


def test_names_are_read_in_either_case(write, parts):
    folder = write({"Ref.MAT": parts["ref.mat"], "DATA2.mat": parts["data2.mat"], "data11.mat": parts["data2.mat"]})
    assert targets(folder) == [2, 11]
    assert read_ktc(str(folder), 2).valid.all()


def test_a_row_of_voltages_is_as_good_as_a_column(write, parts):
    parts["data2.mat"]["Uel"] = parts["data2.mat"]["Uel"].T
    np.testing.assert_array_equal(read_ktc(write(parts), 2).voltages, network(1))


def test_a_level_leaves_out_patterns_and_differences_of_its_electrodes(write, parts):
    data = read_ktc(write(parts), 2, level=2)
    np.testing.assert_array_equal(data.patterns, np.arange(2, 7))
    np.testing.assert_array_equal(data.currents, CURRENTS[:, 2:7])
    np.testing.assert_array_equal(data.valid, np.repeat(np.arange(Q) >= 2, 5).reshape(Q, 5))
    np.testing.assert_array_equal(data.voltages[2:], network(1)[2:, 2:7])
    assert not data.voltages[:2].any()
    assert data.counts["kept"] == 25
    assert data.counts["left_out_by_level"] == Q * K - 25
    assert data.counts["patterns_left_out"] == K - 5
    assert data.counts["electrodes_left_out"] == 2


@pytest.mark.parametrize(("file", "name"), [("ref.mat", "Uelref"), ("data2.mat", "Uel")])
def test_missing_voltages_are_not_valid(write, parts, file, name):
    voltages = network(0)
    voltages[3, 1] = voltages[:, 4] = np.nan
    parts[file][name] = column(voltages)
    data = read_ktc(write(parts), 2)
    assert not data.valid[3, 1]
    assert data.voltages[3, 1] == data.reference[3, 1] == 0
    assert 4 not in data.patterns
    assert data.valid.sum() == data.counts["kept"] == Q * K - Q - 1
    assert data.counts["missing_in_file"] == Q + 1
    assert data.counts["patterns_left_out"] == 1


def test_a_level_is_applied_on_top_of_what_is_missing(write, parts):
    voltages = network(1)
    voltages[:, [0, 3]] = voltages[0] = np.nan
    parts["data2.mat"]["Uel"] = column(voltages)
    counts = read_ktc(write(parts), 2, level=2).counts
    assert counts["missing_in_file"] == 2 * Q + K - 2
    assert counts["kept"] == 20
    assert counts["kept"] + counts["missing_in_file"] + counts["left_out_by_level"] == counts["measurements"]


def test_patterns_without_known_currents_are_left_out(write, parts):
    currents = CURRENTS.copy()
    currents[2, 5] = np.nan
    parts["data2.mat"]["Inj"] = currents
    nothing = CURRENTS * (np.arange(K) != 6)
    parts["ref.mat"]["Injref"], currents[:, 6] = nothing, 0
    data = read_ktc(write(parts), 2)
    assert set(range(K)) - set(data.patterns) == {5, 6}
    assert data.counts["missing_in_file"] == 2 * Q


def test_electrodes_of_the_levels():
    assert left_out_electrodes(1).size == 0
    np.testing.assert_array_equal(left_out_electrodes(3), [0, 1, 2, 3])


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 8, 1.0, "1", True])
def test_levels_are_whole_numbers_from_1_to_7(write, parts, level):
    refused(write(parts), f"level = {level!r}", "1 (all data) to 7", level=level)


def test_a_level_that_leaves_nothing(write, parts):
    refused(write(parts), "level 5 leaves nothing of", "of 98 measurements", "lower level", level=5)


def test_a_missing_folder(tmp_path):
    refused(tmp_path / "elsewhere", "elsewhere is no folder", "ref.mat")
    with pytest.raises(InputError, match="is no folder"):
        targets(tmp_path / "elsewhere")


def test_a_missing_reference(write, parts):
    del parts["ref.mat"]
    refused(write(parts), "holds no ref.mat", "targets 2", "no ref.mat", "archive")


def test_a_missing_target(write, parts):
    refused(write(parts), "holds no data5.mat", "targets 2", "a ref.mat", target=5)


@pytest.mark.parametrize("size", [0, 60, 200, 400])
def test_a_truncated_file(write, parts, size):
    folder = write(parts)
    content = (folder / "data2.mat").read_bytes()
    (folder / "data2.mat").write_bytes(content[:size])
    refused(folder, "data2.mat", "cannot be read as a MATLAB file", "fetch it again")


@pytest.mark.parametrize("content", [b"1.0, 2.0\n" * 50, b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(99)])
def test_files_of_another_kind(write, parts, content):
    folder = write(parts)
    (folder / "ref.mat").write_bytes(content)
    refused(folder, "ref.mat", "cannot be read as a MATLAB file", "-v7")


@pytest.mark.parametrize(
    ("file", "name"),
    [("ref.mat", "Injref"), ("ref.mat", "Mpat"), ("ref.mat", "Uelref"), ("data2.mat", "Uel"), ("true2.mat", "truth")],
)
def test_a_missing_variable(write, parts, file, name):
    parts[file]["other"] = parts[file].pop(name)
    refused(write(parts), f"{file} holds no variable {name}", "other")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (column(network(1)) + 0j, ["is complex", "real numbers"]),
        (np.array(["a", "b"]), ["of type <U1", "real numbers"]),
        (np.array([{"a": 1}, {"b": 2}], object), ["of type object", "real numbers"]),
        (np.zeros((0, 1)), ["is empty"]),
        (np.full((Q * K, 1), np.inf), ["98 infinities", "NaN"]),
        (column(network(1))[1:], ["shape (97, 1)", "one column of 98", "7 differences", "14 patterns"]),
        (network(1), ["shape (7, 14)", "one column of 98"]),
        (np.full((Q * K, 1), np.nan), ["no measurement is in both files", "0% of", "100% of"]),
        (np.zeros((Q * K, 1)), ["data2.mat are all 0"]),
        (column(network(1)) * 1000, ["rms", "another unit", "mV"]),
        (column(network(1)) / 1000, ["rms", "another unit", "mV"]),
        (-column(network(1)), ["data2.mat: in 14 of 14 patterns", "sign", "reversed"]),
        (network(1).reshape(-1, 1), ["data2.mat: in", "do not belong to the patterns"]),
    ],
)
def test_voltages_that_cannot_be(write, parts, value, words):
    parts["data2.mat"]["Uel"] = value
    refused(write(parts), "data2.mat", *words)


def test_a_wild_voltage_is_named(write, parts):
    parts["data2.mat"]["Uel"][2 * Q + 4] = 1e4
    refused(write(parts), "data2.mat: difference 5 of pattern 3 is 1e+04 V", "put NaN in its place")


def test_a_reversed_sign_in_both_files(write, parts):
    parts["ref.mat"]["Uelref"], parts["data2.mat"]["Uel"] = -column(network(0)), -column(network(1))
    refused(write(parts), "ref.mat: in 14 of 14 patterns", "sign of voltages, currents or Mpat is reversed")


def test_a_reversed_sign_where_missing_values_hide_the_power(write, parts):
    for file, name, sign in (("ref.mat", "Uelref", 1), ("data2.mat", "Uel", -1)):
        voltages = sign * network(0)
        voltages[CURRENTS[:-1] > 0] = np.nan  # the difference below the electrode into which the current goes
        parts[file][name] = column(voltages)
    refused(write(parts), "correlation of -1.00", "reversed in one of the two")


@pytest.mark.parametrize("hidden", [0.1, 0.5])
def test_the_sign_is_seen_with_values_missing(write, parts, hidden):
    voltages = -column(network(1))
    voltages[np.random.default_rng(0).random(voltages.shape) < hidden] = np.nan
    parts["data2.mat"]["Uel"] = voltages
    refused(write(parts), "data2.mat: in", "reversed")


def test_currents_of_other_shape(write, parts):
    parts["data2.mat"]["Inj"] = CURRENTS[:, 1:]
    parts["data2.mat"]["Uel"] = column(network(1)[:, 1:])
    refused(write(parts), "Inj of", "(8, 13)", "(8, 14)", "same series")


def test_currents_that_differ(write, parts):
    parts["data2.mat"]["Inj"] = CURRENTS * np.where(np.arange(K) < 3, 1.01, 1)
    refused(write(parts), "Inj of", "differ in 3 of 14 columns", "0.015", "1.5")


def test_measurement_patterns_that_differ(write, parts):
    parts["data2.mat"]["Mpat"] = -DIFFERENCES
    refused(write(parts), "Mpat of", "differ in 7 of 7 columns")


def test_equal_currents_up_to_rounding(write, parts):
    parts["data2.mat"]["Inj"] = (CURRENTS * 0.9999999).astype(np.float32)
    assert read_ktc(write(parts), 2).valid.all()


def test_currents_that_do_not_sum_up_to_zero(write, parts):
    currents = CURRENTS.copy()
    currents[0, 3] = 0.25
    parts["ref.mat"]["Injref"] = currents
    refused(write(parts), "Injref of", "column 4 sums up to 0.25 mA", "expected 0")


def test_transposed_currents(write, parts):
    parts["ref.mat"]["Injref"] = CURRENTS.T
    refused(write(parts), "Injref of", "(14, 8)", "give a row an electrode")


def test_patterns_with_rows_that_do_not_fit(write, parts):
    parts["ref.mat"]["Mpat"] = DIFFERENCES[:, :4][:5]
    refused(write(parts), "Injref has shape (8, 14) and Mpat (5, 4)", "as many rows")


@pytest.mark.parametrize("differences", [DIFFERENCES.T, abs(DIFFERENCES), 0 * DIFFERENCES, DIFFERENCES * np.nan])
def test_measurement_patterns_that_are_no_differences(write, parts, differences):
    parts["ref.mat"]["Mpat"] = differences
    refused(write(parts), "Mpat of", "column 1 is no difference", "+1 and −1")


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (np.zeros((128, 256)), ["shape (128, 256)", "expected (256, 256)"]),
        (np.full((256, 256), 3), ["holds 3.0", "65536 pixels", "2 (conductive)"]),
    ],
)
def test_a_truth_that_is_no_segmentation(write, parts, truth, words):
    parts["true2.mat"]["truth"] = truth
    refused(write(parts), "truth of", "true2.mat", *words)


# -- pixels -----------------------------------------------------------------------------------------------------------


def test_pixels_start_at_the_top_left():
    x, y = pixel_centers(0.115)
    assert x.shape == y.shape == (256, 256)
    width = 0.23 / 256
    np.testing.assert_allclose([x[0, 0], y[0, 0]], [-0.115 + width / 2, 0.115 - width / 2], rtol=1e-13)
    np.testing.assert_allclose(np.diff(x, axis=1), width, rtol=1e-10)
    np.testing.assert_allclose(np.diff(y, axis=0), -width, rtol=1e-10)
    np.testing.assert_allclose(pixel_centers(1, 2)[:, 0], [[-0.5, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize(("radius", "n"), [(0, 256), (np.nan, 256), (-1, 256), (1, 0)])
def test_pixels_need_a_size(radius, n):
    with pytest.raises(InputError, match="must be positive"):
        pixel_centers(radius, n)


def test_labels_are_refused_by_name():
    with pytest.raises(InputError, match=r"mine holds nan among 1 pixels"):
        checked_labels(np.where(np.arange(65536) == 7, np.nan, 0).reshape(256, 256), "mine")


# -- the challenge's own files ----------------------------------------------------------------------------------------


@measured
@pytest.mark.parametrize(("level", "kept", "patterns"), [(1, 2356, 76), (4, 1200, 48), (7, 513, 27)])
def test_measured_data(level, kept, patterns):
    assert targets(MEASURED) == [1, 2, 3, 4]
    for target in targets(MEASURED):
        data = read_ktc(MEASURED, target, level)
        assert data.counts["kept"] == data.valid.sum() == kept
        assert data.currents.shape == (32, patterns)
        assert data.voltages.shape == data.reference.shape == (31, patterns)
        assert data.truth[np.hypot(*pixel_centers(0.115)) > 0.115].max() == 0

"""Observations from CSV and NPZ files: what is read is what was written, and each bad file has its one message."""

import io
import zipfile

import numpy as np
import pytest
import skfem

from pdeopt.fem import FEMError, FunctionSpace, cells_at
from pdeopt.inverse import AtPoints, L2Misfit
from pdeopt.io import FileError, Observations, npz, read_observations, time_series, write_observations

MESH = skfem.MeshTri.init_tensor(np.linspace(0, 1, 5), np.linspace(0, 1, 5))
GOOD = """# measured on Monday
x (m),y (m),potential (V),uncertainty (V)
0.1,0.2,1.5,0.01

0.3,0.25,-2e-3,0.02
# the last one
1,1,0,0.01
"""


def read(tmp_path, text, name="data.csv", **options):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return read_observations(tmp_path / name, **{"unit": "V", **options})


def test_a_table_is_read_with_its_lines(tmp_path):
    found = read(tmp_path, GOOD, mesh=MESH)
    np.testing.assert_array_equal(found.points, [[0.1, 0.3, 1], [0.2, 0.25, 1]])
    np.testing.assert_array_equal(found.values, [1.5, -2e-3, 0])
    np.testing.assert_array_equal(found.uncertainty, [0.01, 0.02, 0.01])
    assert (found.data_label, found.unit, found.length_unit) == ("potential (V)", "V", "m")
    assert found.places == ("line 3", "line 5", "line 7")


def test_columns_come_in_any_order_and_from_any_system(tmp_path):
    text = '\ufeff"uncertainty (V)" , y (m), potential (V),x (m)\r\n.1, 2,3, 1\r\n'
    found = read(tmp_path, text)
    assert (found.points.ravel().tolist(), found.values.tolist(), found.uncertainty.tolist()) == ([1, 2], [3], [0.1])


def test_a_line_and_a_body(tmp_path):
    assert read(tmp_path, "x (m),u (V)\n1,2\n", uncertainty=0.5).points.shape == (1, 1)
    found = read(tmp_path, "x (m),y (m),z (m),u (V)\n1,2,3,4\n5,6,7,8\n", uncertainty=0.5)
    assert found.points.shape == (3, 2)
    np.testing.assert_array_equal(found.uncertainty, 0.5)


def test_the_two_letters_for_micro_are_one(tmp_path):
    text = "x (m),u (\N{MICRO SIGN}V)\n1,2\n"
    assert read(tmp_path, text, unit="\N{GREEK SMALL LETTER MU}V", uncertainty=1.0).values.tolist() == [2]


def test_one_of_several_columns_of_values(tmp_path):
    text = "x (m),first (V),second (V),other (K)\n1,2,3,4\n"
    assert read(tmp_path, text, label="second", uncertainty=1.0).values.tolist() == [3]


@pytest.mark.parametrize("name", ["data.csv", "data.npz"])
def test_what_is_written_is_read_again(tmp_path, name):
    rng = np.random.default_rng(0)
    sent = Observations(rng.random((2, 20)), rng.standard_normal(20), rng.random(20), "potential φ", "mV", "mm")
    write_observations(tmp_path / name, sent)
    found = read_observations(tmp_path / name, unit="mV", length_unit="mm", mesh=MESH)
    for array in ("points", "values", "uncertainty"):
        np.testing.assert_array_equal(getattr(found, array), getattr(sent, array))
    assert found.data_label == "potential φ (mV)"


@pytest.mark.parametrize("label", ["x", "uncertainty", "u, total", "u (1)", ""])
def test_labels_that_could_not_be_read_again_are_not_written(tmp_path, label):
    with pytest.raises(FileError, match="a column cannot be named"):
        write_observations(tmp_path / "data.csv", Observations(np.ones((2, 1)), np.ones(1), np.ones(1), label, "V"))
    assert not list(tmp_path.iterdir())


def test_observations_fit_a_misfit(tmp_path):
    found = read(tmp_path, GOOD, mesh=MESH)
    V = FunctionSpace(MESH, skfem.ElementTriP1())
    misfit = L2Misfit.of(AtPoints.of(V, found.points), found.values, found.uncertainty)
    u = V.nodal(lambda x: x[0] + 2 * x[1])
    expected = 0.5 * (((np.array([0.5, 0.8, 3.0]) - found.values) / found.uncertainty) ** 2).sum()
    assert float(misfit(u, None)) == pytest.approx(expected)


SERIES = """x (m),y (m),time (s),potential (V)
0.1,0.2,0.0,1.5
0.1,0.2,0.5,
0.3,0.25,0.5,-2e-3
0.1,0.2,1.0,NA
0.3,0.25,0.75,nan
0.1,0.2,2,0.5
"""


def test_sensors_have_their_own_times_and_missing_values_are_counted(tmp_path):
    found = read(tmp_path, SERIES, time_unit="s", uncertainty=0.1, skip_missing=True, mesh=MESH)
    np.testing.assert_array_equal(found.points, [[0.1, 0.3, 0.1], [0.2, 0.25, 0.2]])
    np.testing.assert_array_equal(found.times, [0, 0.5, 2])
    np.testing.assert_array_equal(found.values, [1.5, -2e-3, 0.5])
    assert (found.missing, found.time_unit, found.places) == (3, "s", ("line 2", "line 4", "line 7"))


@pytest.mark.parametrize("name", ["data.csv", "data.npz"])
def test_a_series_that_is_written_is_read_again(tmp_path, name):
    rng = np.random.default_rng(0)
    points = np.repeat(rng.random((2, 4)), 5, axis=1)
    sent = Observations(points, rng.random(20), rng.random(20), "T", "K", times=rng.random(20), time_unit="min")
    write_observations(tmp_path / name, sent)
    found = read_observations(tmp_path / name, unit="K", time_unit="min", mesh=MESH)
    for array in ("points", "values", "uncertainty", "times"):
        np.testing.assert_array_equal(getattr(found, array), getattr(sent, array))
    assert (found.time_unit, found.missing) == ("min", 0)


def test_arrays_have_missing_values_too(tmp_path):
    values = np.array([1.0, np.nan, 3.0])
    arrays = {"points": np.ones((2, 3)) / [[2], [4]], "values": values, "uncertainty": 0.1, "times": np.arange(3.0)}
    np.savez(tmp_path / "data.npz", **arrays, unit="V", length_unit="m", time_unit="s")
    found = read_observations(tmp_path / "data.npz", unit="V", time_unit="s", skip_missing=True)
    assert (found.values.tolist(), found.times.tolist(), found.missing) == ([1, 3], [0, 2], 1)
    assert found.places == ("index 0", "index 2")
    with pytest.raises(FileError, match=r"array 'values', index 1: NaN or infinite; .* skip_missing=True"):
        read_observations(tmp_path / "data.npz", unit="V", time_unit="s")
    with pytest.raises(FileError, match="its values are those at 'times'; say their unit"):
        read_observations(tmp_path / "data.npz", unit="V", skip_missing=True)
    np.savez(tmp_path / "data.npz", **(arrays | {"times": np.ones(2)}), unit="V", length_unit="m", time_unit="s")
    with pytest.raises(FileError, match=r"array 'times': float64 of shape \(2,\); expected real numbers \(3,\)"):
        read_observations(tmp_path / "data.npz", unit="V", time_unit="s", skip_missing=True)


def test_sensors_with_the_same_times_are_one_series(tmp_path):
    found = read(tmp_path, SERIES, time_unit="s", uncertainty=0.1, skip_missing=True)
    first, second = time_series(found)
    assert (first.points.tolist(), first.times.tolist(), first.values.tolist()) == (
        [[0.1], [0.2]],
        [0, 2],
        [[1.5, 0.5]],
    )
    assert (second.points.tolist(), second.times.tolist(), second.values.tolist()) == (
        [[0.3], [0.25]],
        [0.5],
        [[-2e-3]],
    )
    points, times = np.meshgrid([0.1, 0.4, 0.2], [3.0, 1.0, 2.0, 0.0])
    values = 10 * points + times
    full = Observations(points.reshape(1, -1), values.ravel(), 0.5 * values.ravel(), "T", "K", times=times.ravel())
    (all_of_them,) = time_series(full)
    np.testing.assert_array_equal(all_of_them.points, [[0.1, 0.2, 0.4]])
    np.testing.assert_array_equal(all_of_them.times, [0, 1, 2, 3])
    np.testing.assert_allclose(all_of_them.values, 10 * all_of_them.points.T + all_of_them.times)
    np.testing.assert_allclose(all_of_them.uncertainty, 0.5 * all_of_them.values)


def test_what_is_no_series_is_refused(tmp_path):
    with pytest.raises(FileError, match="the observations have no times"):
        time_series(read(tmp_path, GOOD))
    text = SERIES.replace("0.1,0.2,2,0.5", "0.1,0.2,0.0,2")
    twice = read(tmp_path, text, time_unit="s", uncertainty=0.1, skip_missing=True, repeated=True)
    with pytest.raises(
        FileError, match=r"the sensor at \[0.1, 0.2\] has several values at the time 0; take their mean"
    ):
        time_series(twice)


BAD_SERIES = {
    "no time": (SERIES.replace("time (s)", "height (m)"), {}, r"there is no column 'time \(s\)'"),
    "time unit": (SERIES.replace("time (s)", "time (h)"), {}, r"the column 'time \(h\)' is in h; expected s"),
    "missing time": (SERIES.replace("0.5,-2e-3", ",-2e-3"), {}, "array 'times', line 4: NaN or infinite"),
    "missing place": (SERIES.replace("0.3,0.25,0.5", ",0.25,0.5"), {}, "array 'points', line 4: NaN or infinite"),
    "nothing": ("x (m),y (m),time (s),u (V)\n1,1,1,\n", {}, "all 1 values are missing"),
    "twice": (
        SERIES.replace("2,0.5\n", "0.0,2\n"),
        {},
        r"line 7: the same point \(0.1, 0.2\) at the time 0 as in line 2",
    ),
    "not skipped": (SERIES, {"skip_missing": False}, r"line 3, .*: the cell is empty: .* skip_missing=True"),
    "a word": (SERIES.replace("NA", "broken"), {}, "'broken' is no number"),
    "infinite": (SERIES.replace("NA", "inf"), {}, r"inf; expected a finite number$"),
    "not asked for": (
        SERIES,
        {"time_unit": None, "skip_missing": True},
        r"label='potential'\) or that one is the time",
    ),
}


@pytest.mark.parametrize("case", BAD_SERIES)
def test_bad_series_have_one_message(tmp_path, case):
    text, options, message = BAD_SERIES[case]
    with pytest.raises(FileError, match=message):
        read(tmp_path, text, **{"time_unit": "s", "skip_missing": True, "uncertainty": 0.1, **options})


BAD = {
    "no y": ("x (m),u (V),uncertainty (V)\n1,1,1\n", r"line 1: there is no column 'y \(m\)'; there are 'x"),
    "no value": ("x (m),y (m),uncertainty (V)\n1,1,1\n", r"line 1: there is no column 'value \(V\)'"),
    "no uncertainty": ("x (m),y (m),u (V)\n1,1,1\n", r"line 1: there is no column 'uncertainty \(V\)'; there are 'x"),
    "two values": ("x (m),a (V),b (V)\n1,1,1\n", r"several columns of values, 'a', 'b'; say which"),
    "nan": (GOOD.replace("1.5", "nan"), r"line 3, column 'potential \(V\)': nan; expected a finite number"),
    "infinite": (GOOD.replace("0.25", "-inf"), r"line 5, column 'y \(m\)': -inf"),
    "word": (GOOD.replace("1.5", "1.5 V"), r"line 3, column 'potential \(V\)': '1.5 V' is no number"),
    "empty cell": (GOOD.replace("1.5", ""), r"line 3, column 'potential \(V\)': the cell is empty"),
    "decimal comma": (GOOD.replace("1.5", '"1,5"'), "'1,5' is no number: write a decimal point"),
    "underscore": (GOOD.replace("1.5", "1_5"), "'1_5' is no number"),
    "long cell": (GOOD.replace("1.5", "1" * 200_000), "line 3: no row of a CSV file"),
    "semicolons": (GOOD.replace(",", ";"), "line 2: columns are separated by semicolons; expected commas"),
    "tabs": (GOOD.replace(",", "\t"), "line 2: columns are separated by tabs"),
    "long row": (GOOD.replace("1.5", "1,5"), "line 3: 5 cells; the header has 4 columns: .*decimal points are commas"),
    "short row": (GOOD.replace(",0.02", ""), "line 5: 3 cells; the header has 4 columns"),
    "wrong unit": (GOOD.replace("l (V)", "l (mV)"), r"line 2: the column 'potential \(mV\)' is in mV; expected V"),
    "unit of σ": (GOOD.replace("uncertainty (V)", "uncertainty (mV)"), r"'uncertainty \(mV\)' is in mV; expected V"),
    "length unit": (GOOD.replace("x (m)", "x (mm)"), r"'x \(mm\)' is in mm; expected m"),
    "no unit": (GOOD.replace("potential (V)", "potential"), "line 2: the header has no unit in 'potential'"),
    "no header": ("0,1,2,3\n", "line 1: the header has a number in '0'"),
    "twice": (GOOD.replace("potential (V)", "x (m)"), "line 2: there are two columns named 'x'"),
    "no rows": ("x (m),u (V),uncertainty (V)\n", "there are no rows under the header in line 1"),
    "empty": ("# nothing\n\n", "is empty; expected a header"),
    "zero σ": (GOOD.replace("0.02", "0"), "line 5: the uncertainty is 0; expected a standard deviation > 0"),
    "same point": (GOOD.replace("1,1,", "0.1,0.2,"), r"line 7: the same point \(0.1, 0.2\) as in line 3"),
    "space": ("x (m),y (m),z (m),u (V),uncertainty (V)\n1,1,1,1,1\n", r"a column 'z \(m\)'; the mesh has only x, y"),
    "outside": (GOOD.replace("1,1,", "1,1.5,"), r"1 of 3 points lie outside the mesh, .*: line 7: \(1, 1.5\)$"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_tables(tmp_path, bad):
    text, message = BAD[bad]
    mesh = MESH if bad in ("no y", "space", "outside") else None
    with pytest.raises(FileError, match=rf"data\.csv.*{message}") as caught:
        read(tmp_path, text, mesh=mesh)
    assert "\n" not in str(caught.value)


def test_ten_points_outside_are_listed_and_the_others_counted(tmp_path):
    rows = [f"{k},2,0" for k in range(14)]
    with pytest.raises(FileError) as caught:
        read(tmp_path, "\n".join(["x (m),y (m),u (V)", *rows]), uncertainty=1.0, mesh=MESH)
    assert str(caught.value).endswith("line 11: (9, 2); and 4 more")
    assert "14 of 14 points" in str(caught.value)


def test_repeated_measurements_where_they_are_meant(tmp_path):
    text = GOOD.replace("1,1,", "0.1,0.2,")
    assert len(read(tmp_path, text, repeated=True).values) == 3


def test_other_files(tmp_path):
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match=r"data\.csv, byte 0: no text in UTF-8"):
        read_observations(tmp_path / "data.csv", unit="V")
    with pytest.raises(FileError, match=r"no such file.*did you mean 'data\.csv'"):
        read_observations(tmp_path / "dat.csv", unit="V")
    (tmp_path / "data.xlsx").write_bytes(b"PK")
    with pytest.raises(FileError, match=r"read from \.csv and \.npz files, not from '\.xlsx'"):
        read_observations(tmp_path / "data.xlsx", unit="V")
    with pytest.raises(FileError, match=r"written to \.csv and \.npz"):
        write_observations(tmp_path / "data.xlsx", read(tmp_path, GOOD))


ARRAYS = {
    "points": np.array([[0.1, 0.2], [0.5, 0.5]]),
    "values": np.array([1.0, 2.0]),
    "uncertainty": np.array(0.1),
    "unit": np.array("V"),
    "length_unit": np.array("m"),
}
BAD_ARRAYS = {
    "no values": ({"values": None}, "there is no array 'values'; there are 'points', 'uncertainty', "),
    "no unit": ({"unit": None}, "there is no array 'unit'"),
    "unit": ({"unit": np.array("mV")}, "array 'unit': the unit is 'mV'; expected 'V'"),
    "length": ({"length_unit": np.array("mm")}, "array 'length_unit': the unit is 'mm'; expected 'm'"),
    "transposed": ({"points": np.ones((3, 2)), "values": np.ones(3)}, r"shape is \(3, 2\); expected .*transpose"),
    "matrix": ({"values": np.ones((2, 2))}, r"array 'values': its shape is \(2, 2\); expected \(k,\)"),
    "σ": ({"uncertainty": np.ones(3)}, r"array 'uncertainty': its shape is \(3,\); expected \(\) or \(2,\)"),
    "complex": ({"values": np.array([1j, 2])}, "array 'values': its type is complex128; expected real numbers"),
    "nan": ({"values": np.array([1, np.nan])}, "array 'values', index 1: NaN or infinite"),
    "nan point": ({"points": np.array([[np.nan, 0], [0, 0]])}, "array 'points', index 0: NaN or infinite"),
    "zero σ": ({"uncertainty": np.array(0.0)}, "index 0: the uncertainty is 0"),
}


@pytest.mark.parametrize("bad", BAD_ARRAYS)
def test_bad_arrays(tmp_path, bad):
    change, message = BAD_ARRAYS[bad]
    arrays = {name: array for name, array in (ARRAYS | change).items() if array is not None}
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(FileError, match=rf"data\.npz.*{message}"):
        read_observations(tmp_path / "data.npz", unit="V")


def test_a_damaged_archive(tmp_path):
    np.savez(tmp_path / "data.npz", **ARRAYS)
    content = (tmp_path / "data.npz").read_bytes()
    for cut in (1, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(FileError, match=r"cut\.npz: not readable"):
            read_observations(tmp_path / "cut.npz", unit="V")
    for place, byte in ((content.rindex(b"PK\x01\x02") + 6, 0xFF), (content.rindex(b"PK\x01\x02") + 10, 0x63)):
        (tmp_path / "cut.npz").write_bytes(content[:place] + bytes([byte]) + content[place + 1 :])
        with pytest.raises(FileError, match=r"cut\.npz: not readable"):
            read_observations(tmp_path / "cut.npz", unit="V")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(FileError, match=r"empty\.npz is empty"):
        read_observations(tmp_path / "empty.npz", unit="V")
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(FileError, match=r"one\.npz: not readable"):
        read_observations(tmp_path / "one.npz", unit="V")


LOOK_ALIKE = {
    "°C": ("ºC", "˚C", "℃", "° C"),
    "W/(m·K)": ("W/(m⋅K)", "W/(m K)", "W/(m*K)", "W / (m • K)", "W/(m ∙K)"),
    "m^-1": ("m⁻¹", "m-1", "m−1", "m^{-1}", "m**-1"),
    "µV": ("μV",),
    "W/m²": ("W/m^2", "W/m2", "W/m**2"),
    "kg m² s⁻²": ("kg·m^2·s^-2", "kg⋅m2⋅s-2"),
    "Ω": ("\N{OHM SIGN}",),
}


@pytest.mark.parametrize("unit", LOOK_ALIKE)
def test_units_that_look_alike_are_one(tmp_path, unit):
    for other in LOOK_ALIKE[unit]:
        assert read(tmp_path, f"x (m),u ({other})\n1,2\n", unit=unit, uncertainty=1.0).unit == unit
        assert read(tmp_path, f"x (m),u ({unit})\n1,2\n", unit=other, uncertainty=1.0).values.tolist() == [2]
        np.savez(tmp_path / "data.npz", **(ARRAYS | {"unit": np.array(other)}))
        assert len(read_observations(tmp_path / "data.npz", unit=unit).values) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("mV", "MV"), ("m", "mm"), ("°C", "K"), ("m2", "m3"), ("m s", "ms"), ("W/m K", "W/(m K)"), ("1", "")],
)
def test_units_that_differ_stay_different(tmp_path, one, other):
    with pytest.raises(FileError, match="Nothing is converted"):
        read(tmp_path, f"x (m),u ({one})\n1,2\n", unit=other, uncertainty=1.0)


def test_a_unit_with_parentheses_of_its_own(tmp_path):
    assert read(tmp_path, "x (m),k (W/(m K))\n1,2\n", unit="W/(m K)", uncertainty=1.0).data_label == "k (W/(m K))"
    sent = Observations(np.ones((2, 1)), np.ones(1), np.ones(1), "k", "J/(kg K)")
    write_observations(tmp_path / "k.csv", sent)
    assert read_observations(tmp_path / "k.csv", unit="J/(kg K)").data_label == "k (J/(kg K))"
    with pytest.raises(FileError, match="no unit in 'k W/"):
        read(tmp_path, "x (m),k W/(m K))\n1,2\n", unit="W/(m K)", uncertainty=1.0)


@pytest.mark.parametrize("marker", ["-9999", "-999", "9999.0", "-99999", "1e30", "1e+20", "9.96921e36", "-3.402823e38"])
def test_what_marks_a_missing_value_is_asked_about(tmp_path, marker):
    text = GOOD.replace("1.5", marker)
    with pytest.raises(FileError, match=r"line 3: \S+ as a value, in 1 of 3 places: in many files it stands for a mis"):
        read(tmp_path, text)
    assert read(tmp_path, text, keep_markers=True).values[0] == float(marker)
    np.savez(tmp_path / "data.npz", **(ARRAYS | {"values": np.array([1.0, float(marker)])}))
    with pytest.raises(FileError, match=r"index 1: .* in 1 of 2 places: in many files"):
        read_observations(tmp_path / "data.npz", unit="V")


def test_values_near_a_marker_are_values(tmp_path):
    for value in ("999", "-9998", "9999.5", "-998.9", "-99", "0"):
        assert read(tmp_path, GOOD.replace("1.5", value)).values[0] == float(value)
    with pytest.raises(FileError, match="line 3: 9999 as an uncertainty"):
        read(tmp_path, GOOD.replace("0.01", "9999", 1))


@pytest.mark.parametrize("word", ["NA", "n/a", "null", "-", "."])
def test_words_for_a_missing_value(tmp_path, word):
    with pytest.raises(FileError, match=r"line 3, .* is no number: leave out rows where nothing was measured"):
        read(tmp_path, GOOD.replace("1.5", word))


def archive(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


def npy(array, **header):
    """The bytes of an array, with another header where it is given."""
    stream = io.BytesIO()
    if not header:
        np.save(stream, array)
    else:
        own = {"descr": "<f8", "fortran_order": False, "shape": array.shape} | header
        np.lib.format.write_array_header_1_0(stream, own)
        stream.write(array.tobytes())
    return stream.getvalue()


BAD_MEMBERS = {
    "huge": (npy(np.ones(2), shape=(10**13,)), r"not readable \(array 'values': "),
    "overflow": (npy(np.ones(2), shape=(10**30,)), r"not readable \(array 'values': "),
    "more than there is": (npy(np.ones(2), shape=(10,)), r"not readable \(array 'values': "),
    "negative": (npy(np.ones(2), shape=(-2,)), r"array 'values'"),
    "objects": (npy(np.ones(2), descr="|O"), "array 'values': Object arrays"),
    "text": (b"1, 2", "its member 'values' is no array"),
    "names": (npy(np.array(["a", "b"])), "array 'values': its type is <U1; expected real numbers"),
    "fields": (npy(np.zeros(2, [("a", float)])), "array 'values': its type is .*; expected real numbers"),
    "dates": (npy(np.array(["2020-01-01"], "M8[D]")), "array 'values': its type is datetime64"),
}


@pytest.mark.parametrize("bad", BAD_MEMBERS)
def test_members_that_are_no_arrays_of_numbers(tmp_path, bad):
    content, message = BAD_MEMBERS[bad]
    members = {f"{name}.npy": npy(array) for name, array in ARRAYS.items()} | {"values.npy": content}
    if bad == "text":
        members["values"] = members.pop("values.npy")
    archive(tmp_path / "data.npz", members)
    with pytest.raises(FileError, match=rf"data\.npz.*{message}") as caught:
        read_observations(tmp_path / "data.npz", unit="V")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("unit", [np.array(1.0), np.array(["V", "A"]), np.zeros(3)])
def test_units_that_are_no_text(tmp_path, unit):
    np.savez(tmp_path / "data.npz", **(ARRAYS | {"unit": unit}))
    with pytest.raises(FileError, match=r"array 'unit': it is .*; expected one text"):
        read_observations(tmp_path / "data.npz", unit="V")
    np.savez(tmp_path / "data.npz", **(ARRAYS | {"unit": np.array(b"V")}))
    assert read_observations(tmp_path / "data.npz", unit="V").unit == "V"


def test_an_archive_that_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 1_000_000)
    np.savez_compressed(tmp_path / "data.npz", **(ARRAYS | {"values": np.zeros(10**6)}))
    with pytest.raises(FileError, match=r"it would unpack to 8e\+06 bytes"):
        read_observations(tmp_path / "data.npz", unit="V")
    np.savez(tmp_path / "data.npz", **(ARRAYS | {"values": np.random.default_rng(0).random(10**6)}))
    with pytest.raises(FileError, match="array 'points'"):  # it is read
        read_observations(tmp_path / "data.npz", unit="V")


@pytest.mark.parametrize("far", [1e101, 1e155, 1e300, -1.7e308])
@pytest.mark.parametrize("mesh", [MESH, None])
def test_points_at_the_end_of_the_numbers(tmp_path, far, mesh):
    with pytest.raises(FileError, match=r"line 7: the point \(\S+, 1\) is further away than 1e\+100"):
        read(tmp_path, GOOD.replace("1,1,", f"{far},1,"), mesh=mesh)


@pytest.mark.parametrize("far", [3.0, 1e30, 1e155, 1e308, np.inf, np.nan])
def test_points_far_away_are_outside_whatever_finds_them(far):
    points = np.array([[0.5, far, 0.5, -far], [0.5, 0.5, far, far]])
    for mesh in (MESH, skfem.MeshQuad(), skfem.MeshTri2(), skfem.MeshQuad2()):
        assert (cells_at(mesh, points) >= 0).tolist() == [True, False, False, False]
    assert cells_at(skfem.MeshHex(), np.full((3, 2), far)).tolist() == [-1, -1]
    with pytest.raises(FEMError, match="3 of 4 points lie outside the mesh"):
        FunctionSpace(MESH, skfem.ElementTriP1()).point_evaluation(points)

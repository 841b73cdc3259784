"""Observations from CSV and NPZ files: what is read is what was written, and each bad file has its one message."""

import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import AtPoints, L2Misfit
from pdeopt.io import FileError, Observations, read_observations, write_observations

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

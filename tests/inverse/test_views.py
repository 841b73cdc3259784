"""What a problem hands over for its pictures, and what of it is refused."""

from dataclasses import replace

import numpy as np
import pytest
import skfem

from pdeopt.fem import FunctionSpace
from pdeopt.inverse import InputError, LabelImage, Marks, Series, Views

TICKS = np.linspace(0, 1, 4)
SPACE = FunctionSpace(skfem.MeshTri.init_tensor(TICKS, TICKS).with_defaults(), skfem.ElementTriP1())
CUBE = FunctionSpace(skfem.MeshTet.init_tensor(*3 * (np.linspace(0, 1, 2),)).with_defaults(), skfem.ElementTetP1())
IMAGE = LabelImage("tissue", ["fat", "muscle"])


def test_marks_lie_on_their_boundaries():
    marks = Marks.on_boundaries(SPACE, {"bottom": "Γ", "left": ""})
    assert marks.labels == ["Γ"] * 3 + [""] * 3
    assert marks.segments.shape == (6, 2, 2)
    assert (marks.segments[:3, :, 1] == 0).all(), "y on the bottom"
    assert (marks.segments[3:, :, 0] == 0).all(), "x on the left"
    for along in (marks.segments[:3, :, 0], marks.segments[3:, :, 1]):
        assert np.sort(along.ravel()) == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Marks.on_boundaries(SPACE, {"top": "", "lid": ""}), "named 'lid' can be marked; the mesh has left, "),
        (lambda: Marks.on_boundaries(SPACE, {}), "without a name can be marked"),
        (lambda: Marks.on_boundaries(CUBE, {"top": ""}), "of a 2-D mesh; this one has 3 dimensions"),
        (lambda: Marks(np.zeros((3, 2, 3))), r"shape \(3, 2, 3\); expected finite numbers \(s, 2, 2\)"),
        (lambda: Marks(np.zeros((0, 2, 2))), r"shape \(0, 2, 2\); expected"),
        (lambda: Marks(np.full((1, 2, 2), np.nan)), "expected finite numbers"),
        (lambda: Marks([[[0, 0], [0, 1]], [[0, 0]]]), "no array of numbers .*; expected finite numbers"),
        (lambda: Marks(np.full((1, 2, 2), "x")), "no array of numbers .*; expected finite numbers"),
        (lambda: Marks(np.zeros((2, 2, 2)), [1, 2]), r"labels of marks are \[1, 2\]; expected a list of texts"),
        (lambda: Marks(np.zeros((1, 2, 2)), None), "labels of marks are None; expected a list of texts"),
        (lambda: Marks(np.zeros((3, 2, 2)), ["1", "2"]), "3 marked segments have 2 labels; expected one for each"),
        (lambda: LabelImage(3, ["fat"]), "found of an image is 3; expected a text"),
        (lambda: replace(IMAGE, truth=None), "truth of an image is None; expected a text"),
        (lambda: replace(IMAGE, classes="fat"), "classes of an image are 'fat'; expected a list of texts"),
        (lambda: replace(IMAGE, classes=[]), "0 classes; expected 1 to 7"),
        (lambda: replace(IMAGE, classes=list("abcdefgh")), "8 classes; expected 1 to 7, or colors for all"),
        (lambda: replace(IMAGE, colors=["red"]), "2 classes have 1 colors; expected one for each"),
        (lambda: replace(IMAGE, extent=[0, 1, 0]), "the extent of an image is .*expected left, right, bottom and top"),
        (lambda: Series("measured", "predicted", None), "title of a series is None; expected a text"),
        (
            lambda: Views(headline="score"),
            "the headline is 'score'; expected the names of numbers with a word for each",
        ),
        (lambda: Views(headline={"score": 3}), "the headline is {'score': 3}; expected"),
    ],
)
def test_what_cannot_be_shown_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_segments_may_be_a_list():
    segments = Marks([[[0, 0], [0, 1]]]).segments
    assert (segments.shape, segments.dtype) == ((1, 2, 2), float)


def test_many_classes_have_colors_of_their_own():
    image = LabelImage("tissue", list("abcdefgh"), colors=["red"] * 8)
    assert len(image.colors) == 8

"""The challenge's score against its definition, evaluated pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest

from pdeopt.eit.images.score import class_scores, segmentation_score, similarity
from pdeopt.eit.measurements.ktc import read_ktc
from pdeopt.inverse import InputError

MEASURED = Path(__file__).parents[3] / "shared" / "ktc2023"
measured = pytest.mark.skipif(not MEASURED.is_dir(), reason="the challenge's data are not here")


def picture(*boxes):
    """Labels, 0 but for boxes (label, top, left, height, width)."""
    labels = np.zeros((256, 256), int)
    for label, top, left, height, width in boxes:
        labels[top : top + height, left : left + width] = label
    return labels


def plain_similarity(x, y, i, j):
    """That of pixel (i, j), from its own window of 321 × 321, as far as it lies in the picture."""
    window = np.ix_(range(max(i - 160, 0), min(i + 161, 256)), range(max(j - 160, 0), min(j + 161, 256)))
    rows, columns = np.indices(x.shape)
    weights = np.exp(-((rows[window] - i) ** 2 + (columns[window] - j) ** 2) / (2 * 80**2))
    weights /= weights.sum()

    def mean(values):
        return (weights * values).sum()

    a, b = x[window].astype(float), y[window].astype(float)
    da, db = a - mean(a), b - mean(b)
    top = (2 * mean(a) * mean(b) + 1e-4) * (2 * mean(da * db) + 9e-4)
    return top / ((mean(a) ** 2 + mean(b) ** 2 + 1e-4) * (mean(da**2) + mean(db**2) + 9e-4))


def smooth_similarity(x, y):
    """The mean over all pixels by Gauss's rule on 9 × 9 of them: the similarity varies on the scale of the window."""
    nodes, weights = np.polynomial.legendre.leggauss(9)
    places = np.rint((nodes + 1) * 127.5).astype(int)
    values = np.array([[plain_similarity(x, y, i, j) for j in places] for i in places])
    return weights @ values @ weights / 4


TRUTH = picture((1, 40, 60, 50, 30), (2, 150, 120, 40, 60))
GUESS = picture((1, 50, 70, 50, 40), (2, 140, 100, 30, 60), (2, 20, 20, 5, 5))


@pytest.mark.parametrize(("i", "j"), [(0, 0), (30, 255), (128, 90), (255, 131)])
@pytest.mark.parametrize("label", [1, 2])
def test_the_similarity_of_a_pixel(i, j, label):
    masks = label == TRUTH, label == GUESS
    assert similarity(*masks)[i, j] == pytest.approx(plain_similarity(*masks, i, j), abs=1e-12)


def test_the_score_is_the_mean_of_two_similarities():
    resistive, conductive = class_scores(TRUTH, GUESS)
    assert resistive != conductive
    assert resistive == pytest.approx(smooth_similarity(TRUTH == 1, GUESS == 1), abs=5e-3)
    assert conductive == pytest.approx(smooth_similarity(TRUTH == 2, GUESS == 2), abs=5e-3)
    assert segmentation_score(TRUTH, GUESS) == pytest.approx((resistive + conductive) / 2, abs=1e-15)


def test_the_truth_itself_scores_1():
    assert segmentation_score(TRUTH, TRUTH) == 1
    assert class_scores(TRUTH * 1.0, TRUTH.astype(np.uint8)) == (1, 1)


def test_a_class_that_is_absent_from_both_counts_1():
    assert class_scores(picture(), picture()) == (1, 1)
    assert class_scores(picture((2, 9, 9, 9, 9)), picture())[0] == 1


def test_a_speck_of_an_absent_class_costs_up_to_half_a_point():
    truth = picture((2, 180, 120, 40, 60))
    costs = [1 - segmentation_score(truth, truth + picture((1, 120, 120, n, n))) for n in (1, 5, 10, 20, 30)]
    assert costs == sorted(costs)
    assert costs[0] < 0.02
    assert 0.45 < costs[3] < costs[4] < 0.5


@pytest.mark.parametrize("wrong", [picture() + 3, picture() + 0.5, picture()[1:], picture().astype(str)])
def test_other_pictures_are_refused(wrong):
    with pytest.raises(InputError, match="the segmentation"):
        segmentation_score(TRUTH, wrong)
    with pytest.raises(InputError, match="the truth"):
        segmentation_score(wrong, TRUTH)


@measured
@pytest.mark.parametrize("target", [1, 2, 3, 4])
def test_measured_truths(target):
    truth = read_ktc(MEASURED, target).truth
    assert segmentation_score(truth, truth) == 1
    assert segmentation_score(truth, 0 * truth) < 0.51


@measured
def test_nothing_found_of_target_3():
    truth = read_ktc(MEASURED, 3).truth
    resistive, conductive = class_scores(truth, 0 * truth)
    assert resistive == 1
    assert conductive == pytest.approx(smooth_similarity(truth == 2, truth == 9), rel=0.05)
    assert conductive == pytest.approx(0.000830277, rel=1e-5)

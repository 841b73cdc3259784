"""What a problem hands over for pictures and texts beside coefficient, data and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pdeopt.fem import FunctionSpace
from pdeopt.inverse.errors import InputError

#: The number of colors that there are for the classes of an image where the problem gives none.
DEFAULT_COLORS = 7


@dataclass(frozen=True, eq=False)
class Marks:
    """Marks on the boundary of a 2-D mesh, as those of electrodes or loads, with labels beside them.

    Attributes:
        segments: The end points (s, 2, 2) of the pieces of the boundary that are marked: piece, end, coordinate.
        labels: The label of each piece, "" for none; pieces of one label are one mark. Of many, some are written. Empty
            where no mark has one.

    Raises:
        InputError: There are no pieces, they are no line segments in 2-D, or the labels are no texts, or of another
            number.
    """

    segments: np.ndarray
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_lists("marks", labels=self.labels)
        expected = "expected finite numbers (s, 2, 2), s > 0"
        try:
            segments = np.asarray(self.segments, float)
        except (TypeError, ValueError) as error:
            raise InputError(f"the marks have segments that are no array of numbers ({error}); {expected}") from None
        shape = segments.shape
        if shape[1:] != (2, 2) or not shape[0] or not np.isfinite(segments).all():
            raise InputError(f"the marks have segments of shape {shape}; {expected}")
        object.__setattr__(self, "segments", segments)
        if len(self.labels) not in (0, shape[0]):
            raise InputError(f"{shape[0]} marked segments have {len(self.labels)} labels; expected one for each")

    @classmethod
    def on_boundaries(cls, space: FunctionSpace, labels: Mapping[str, str]) -> Marks:
        """Return the marks of named boundaries of a mesh.

        Args:
            space: A space on the mesh, which is 2-D.
            labels: The label of each boundary by the boundary's name, "" for none.

        Raises:
            InputError: The mesh is not 2-D, or has no boundary of a name.
        """
        mesh = space.mesh
        if mesh.dim() != 2:
            raise InputError(f"marks are drawn on the boundary of a 2-D mesh; this one has {mesh.dim()} dimensions")
        known = mesh.boundaries or {}
        unknown = [name for name in labels if name not in known]
        if unknown or not labels:
            which = f"named {unknown[0]!r}" if unknown else "without a name"
            raise InputError(f"no boundary {which} can be marked; the mesh has {', '.join(known) or 'no named ones'}")
        pieces = {name: mesh.p[:, mesh.facets[:, known[name]]].T for name in labels}
        return cls(
            np.concatenate(list(pieces.values())),
            [label for name, label in labels.items() for _ in pieces[name]],
        )


@dataclass(frozen=True)
class LabelImage:
    """An image of classes that `interpret` returns, such as a segmentation, beside the true one.

    Attributes:
        found: The name of the array (rows, columns) of labels 0, 1, …, row 0 at the top.
        classes: The name of the class of each label, the ground first.
        truth: The name of the array of true labels, of the same shape; "" where there is none.
        extent: The coordinates left, right, bottom and top of the image, in the mesh's unit; None counts pixels.
        colors: The color of each class, as matplotlib names colors; empty for those of pdeopt.

    Raises:
        InputError: Classes, extent and colors are not of their kind, or do not fit each other.
    """

    found: str
    classes: Sequence[str]
    truth: str = ""
    extent: Sequence[float] | None = None
    colors: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_texts("an image", found=self.found, truth=self.truth)
        _check_lists("an image", classes=self.classes, colors=self.colors)
        if not self.classes or (not self.colors and len(self.classes) > DEFAULT_COLORS):
            raise InputError(
                f"an image has {len(self.classes)} classes; expected 1 to {DEFAULT_COLORS}, or colors for all"
            )
        if len(self.colors) not in (0, len(self.classes)):
            raise InputError(f"{len(self.classes)} classes have {len(self.colors)} colors; expected one for each")
        if self.extent is not None and (np.shape(self.extent) != (4,) or not np.isfinite(self.extent).all()):
            raise InputError(f"the extent of an image is {self.extent}; expected left, right, bottom and top")


@dataclass(frozen=True)
class Series:
    """A series of measurements that `interpret` returns beside its prediction.

    Attributes:
        measured: The name of the array (q, K) of q values in each of K experiments, NaN where not measured.
        predicted: The name of the array of predicted values, of the same shape.
        title: A sentence for the title, which goes on with "by 8 %": "the empty tank misses the voltages".
        unit: The unit of the values; "" for none.
        row: The word for one of the q values, for the axis.
        column: The word for one of the K experiments, for the axis.

    Raises:
        InputError: One of them is no text.
    """

    measured: str
    predicted: str
    title: str
    unit: str = ""
    row: str = "value"
    column: str = "experiment"

    def __post_init__(self) -> None:
        _check_texts("a series", measured=self.measured, predicted=self.predicted, title=self.title, unit=self.unit)
        _check_texts("a series", row=self.row, column=self.column)


@dataclass(frozen=True, eq=False)
class Views:
    """The things that pictures, tables and texts of a run show beside coefficient, data and state.

    Attributes:
        marks: The marks on the boundary, in all pictures of the mesh but for comparisons of runs.
        segmentation: The image of classes in segmentation.png; in result.png, too, where no true coefficient is known.
        reference: The series of measurements in reference.png.
        headline: The numbers of the last iterate that stand beside the relative error in titles and tables: by their
            name among `quantities` and the scalars of `interpret`, the word for each.

    Raises:
        InputError: The headline is no dictionary of texts.
    """

    marks: Marks | None = None
    segmentation: LabelImage | None = None
    reference: Series | None = None
    headline: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given = self.headline
        if not isinstance(given, Mapping) or not all(isinstance(text, str) for pair in given.items() for text in pair):
            raise InputError(f"the headline is {given!r}; expected the names of numbers with a word for each")

    @property
    def arrays(self) -> list[str]:
        """The names of the arrays of `interpret` without which nothing is shown; a truth may be unknown."""
        found = [] if self.segmentation is None else [self.segmentation.found]
        return found if self.reference is None else [*found, self.reference.measured, self.reference.predicted]


def _check_texts(what: str, **given: str) -> None:
    for name, text in given.items():
        if not isinstance(text, str):
            raise InputError(f"{name} of {what} is {text!r}; expected a text")


def _check_lists(what: str, **given: Sequence[str]) -> None:
    for name, texts in given.items():
        is_list = isinstance(texts, Iterable) and not isinstance(texts, str)
        if not is_list or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{name} of {what} are {texts!r}; expected a list of texts")

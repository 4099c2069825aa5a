"""Pictures: there, not blank, labelled, and drawn from the numbers."""

import io
import re

import matplotlib
import numpy as np
import pytest
import synthetic_results
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from rope_lab import plots, rotary
from rope_lab.plots import curves, style
from rope_lab.plots.matrix_image import matrix_image

RESULTS = synthetic_results.make_results()
L = synthetic_results.TRAIN_LENGTH
FEW = ["RoPE", "Truncated RoPE", "ReRoPE w=L/2"]


def triangle(far):
    i = np.arange(64.0)
    distance = i[:, None] - i[None]
    return np.where(distance < 0, np.nan, np.minimum(distance, far))


STEPS = np.arange(0, 300, 10)
NEEDLE = {
    "label": "RoPE",
    "results": [
        {"length": n, "depths": [0.0, 0.5, 1.0], "scores": [0.0, 0.4, 1.0]}
        for n in (1000, 2000)
    ],
}
CELLS = [
    {"length": n, "perplexity": 1.5 * n, "perplexity_interval": interval}
    for n, interval in ((32, [40.0, 50.0]), (64, None))
]
PERPLEXITY = {"label": "RoPE", "results": CELLS}
PICTURES = {
    "needle": lambda path: plots.needle_heatmap(NEEDLE, path),
    "all rows": lambda path: plots.loss_by_position(RESULTS, path),
    "few rows": lambda path: plots.loss_by_position(RESULTS, path, labels=FEW),
    "excess": lambda path: plots.excess_by_position(RESULTS, path),
    "context": lambda path: plots.context_use(RESULTS, path),
    "accuracy": lambda path: plots.accuracy_by_text(RESULTS, path),
    "matrices": lambda path: plots.relative_position_matrices(
        {"RoPE": triangle(64), "ReRoPE": triangle(16)}, L, path
    ),
    "wavelengths": lambda path: plots.wavelengths(
        {"RoPE": rotary.rope(32), "YaRN": rotary.yarn(32, 1e4, 8, L)}, L, path
    ),
    "accuracy by position": lambda path: plots.accuracy_by_position(RESULTS, path),
    "against": lambda path: plots.accuracy_against(
        RESULTS,
        {"w": {8.0: "ReRoPE w=L/4", 16.0: "ReRoPE w=L/2"}},
        path,
        "window w, tokens",
        ["RoPE"],
    ),
    "gaps": lambda path: plots.feature_gaps(
        {"RoPE": rotary.feature_gap(rotary.rope(32), L, 256)}, path, 4
    ),
    "gap and loss": lambda path: plots.gap_against_loss(
        {"RoPE": 0.4, "PI": 0.2}, {"RoPE": 1.0, "PI": 0.1}, path
    ),
    "rotations": lambda path: plots.rotations(
        {"RoPE": rotary.rope(8), "PI": rotary.interpolated(8, 1e4, 4)}, L, 64, path, [1]
    ),
    "perplexity": lambda path: plots.perplexity_by_length([PERPLEXITY], L, path),
    "training": lambda path: plots.training_curves(
        {
            "Pretraining": {"RoPE": (STEPS, 2 + np.exp(-STEPS / 50))},
            "Fine-tuning": {"YaRN": (STEPS, 2 - STEPS / 1000)},
        },
        path,
    ),
}


MANY = [f"row {n}" for n in range(14)]
TABLES = {name: rotary.interpolated(8, 1e4, 2 + n) for n, name in enumerate(MANY)}
LINES = {"edges": [0, 16, 32, 64], "loss": [2.0, 2.5, 3.0]}
MEASURED = {
    "lengths": [64],
    "targets": {"64": {"natural": 100}},
    "rows": [
        {
            "label": name,
            "cells": {
                "64": {"natural": {"accuracy": n / 20, "accuracy_interval": None}}
            },
        }
        for n, name in enumerate(MANY)
    ],
}
# More curves than the theme has colours.
OF_MANY = {
    "wavelengths": lambda path: plots.wavelengths(TABLES, L, path),
    "found wavelengths": lambda path: plots.found_wavelengths(TABLES, L, path),
    "gaps": lambda path: plots.feature_gaps(
        {name: np.arange(1.0, 5.0) for name in MANY}, path, 2
    ),
    "perplexity": lambda path: plots.perplexity_by_length(
        [PERPLEXITY | {"label": name} for name in MANY], L, path
    ),
    "training": lambda path: plots.training_curves(
        {"Pretraining": {name: (STEPS, 2 + STEPS) for name in MANY}}, path
    ),
    "against": lambda path: plots.accuracy_against(
        MEASURED, {name: {8.0: name} for name in MANY}, path, "w, tokens"
    ),
    "one panel": lambda path: style.save(
        lambda figure: curves._one_panel(
            figure, dict.fromkeys(MANY, LINES), L, (2.0, 3.0)
        ),
        path,
        4.0,
    ),
    "references": lambda path: style.save(
        lambda figure: curves._panel(
            figure.subplots(), dict.fromkeys(MANY, LINES), LINES
        ),
        path,
        4.0,
    ),
}


@pytest.fixture
def figures(monkeypatch):
    """Figures in the order they are saved."""
    saved = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            saved.append(figure)

    monkeypatch.setattr(style, "FigureCanvasAgg", Canvas)
    return saved


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_for_both_themes_with_labelled_axes(
    name, tmp_path, figures
):
    path = PICTURES[name](tmp_path / "new" / "picture.png")
    backgrounds = []
    for file in (path, plots.dark_path(path)):
        image = imread(file)
        assert image.std() > 0.01, "blank"
        backgrounds.append(image[0, 0, :3].mean())
    assert backgrounds[0] > 0.9 and backgrounds[1] < 0.2
    for figure in figures:
        texts = [figure.get_supxlabel(), figure.get_supylabel()]
        texts += [ax.get_xlabel() + ax.get_ylabel() for ax in figure.axes]
        words = " ".join(texts + [t.get_text() for a in figure.axes for t in a.texts])
        assert any(unit in words for unit in ("token", "step", "plane", "cos")), words
    assert path.name == "picture.png"


@pytest.mark.parametrize("name", OF_MANY)
def test_no_curve_is_left_out_when_the_colours_are_used_up(name, tmp_path, figures):
    OF_MANY[name](tmp_path / "a.png")
    axes = figures[0].axes[0]
    if name == "references":  # in grey, behind the curve they are compared with
        assert len(axes.get_lines()) == len(MANY) + 1
        return
    handles, labels = axes.get_legend_handles_labels()
    assert labels == MANY
    lines = [getattr(handle, "lines", [handle])[0] for handle in handles]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(
        MANY
    )


def test_every_reference_of_an_option_is_drawn(tmp_path, figures):
    plots.accuracy_against(MEASURED, {}, tmp_path / "a.png", "w, tokens", MANY[:4])
    lines = figures[0].axes[0].get_lines()
    assert [line.get_label() for line in lines] == MANY[:4]
    assert len({line.get_linestyle() for line in lines}) == 4


def test_settings_of_the_user_are_left_as_they_were(tmp_path):
    before = dict(matplotlib.rcParams)
    PICTURES["few rows"](tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


def test_curves_are_those_of_the_results_with_the_training_length_marked(
    tmp_path, figures
):
    plots.loss_by_position(RESULTS, tmp_path / "a.png", labels=FEW)
    (axes,) = figures[0].axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    rows = {row["label"]: row for row in RESULTS["rows"]}
    for label in FEW:
        bins = rows[label]["cells"]["256"]["natural"]["by_position"]["equal"]
        np.testing.assert_array_equal(lines[label].get_ydata(), bins["loss"])
    assert any(list(line.get_xdata()) == [L, L] for line in axes.get_lines())
    assert {text.get_text() for text in axes.texts} == set(FEW)


def test_many_rows_get_a_panel_each_beside_the_two_references(tmp_path, figures):
    plots.loss_by_position(RESULTS, tmp_path / "a.png")
    panels = [axes.get_title("left").replace("\n", " ") for axes in figures[0].axes]
    assert sorted(panels) == sorted(
        r for r in synthetic_results.ROWS if r not in FEW[:2]
    )
    assert panels[0] == "ReRoPE w=L/2" and panels[-1].endswith("fine-tuned")
    legend = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert legend == ["Truncated RoPE", "RoPE"]


def test_accuracies_are_drawn_in_percent_with_their_intervals(tmp_path, figures):
    plots.accuracy_by_position(RESULTS, tmp_path / "a.png", labels=["PI"])
    axes = figures[0].axes[0]
    (row,) = [row for row in RESULTS["rows"] if row["label"] == "PI"]
    bins = row["cells"]["256"]["natural"]["by_position"]["equal"]
    line = axes.get_lines()[2]  # behind two grey ones
    np.testing.assert_allclose(line.get_ydata(), 100 * np.array(bins["accuracy"]))
    (band,) = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(100 * max(bins["accuracy_high"]))


def test_an_option_is_drawn_against_the_accuracy_of_its_rows(tmp_path, figures):
    points = {16.0: "ReRoPE w=L/2", 8.0: "ReRoPE w=L/4", 4.0: "not measured"}
    plots.accuracy_against(RESULTS, {"w": points}, tmp_path / "a.png", "w", ["RoPE"])
    rows = {row["label"]: row for row in RESULTS["rows"]}
    for axes, kind in zip(figures[0].axes, ("natural", "repeated"), strict=True):
        curve = axes.containers[0].lines[0]
        assert list(curve.get_xdata()) == [8, 16]
        expected = [
            100 * rows[points[x]]["cells"]["256"][kind]["accuracy"] for x in (8, 16)
        ]
        np.testing.assert_allclose(curve.get_ydata(), expected)


def test_excess_is_the_loss_minus_that_of_truncated_context(tmp_path, figures):
    plots.excess_by_position(RESULTS, tmp_path / "a.png")
    panels = {a.get_title("left").replace("\n", " "): a for a in figures[0].axes}
    losses = {
        row["label"]: row["cells"]["256"]["natural"]["by_position"]["equal"]["loss"]
        for row in RESULTS["rows"]
    }
    excess = {
        label: np.subtract(loss, losses["Truncated RoPE"])
        for label, loss in losses.items()
        if label not in ("Truncated RoPE", "RoPE")
    }
    near = {name for name, loss in excess.items() if np.median(np.abs(loss)) <= 0.5}
    assert set(panels) == near and 0 < len(near) < len(excess)
    axes = panels[min(near)]
    expected = excess[min(near)]
    np.testing.assert_allclose(axes.get_lines()[2].get_ydata(), expected)
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), 0 * expected)
    rows = [row for row in RESULTS["rows"] if not row["truncated"]]
    with pytest.raises(ValueError, match="no truncated row"):
        plots.excess_by_position(RESULTS | {"rows": rows}, tmp_path / "b.png")


def test_a_table_of_references_alone_has_their_panels(tmp_path, figures):
    rows = [row for row in RESULTS["rows"] if row["truncated"]]
    plots.excess_by_position(RESULTS | {"rows": rows}, tmp_path / "a.png")
    titles = [axes.get_title("left") for axes in figures[0].axes]
    assert titles == [row["label"] for row in rows]


def test_distances_never_trained_are_drawn_in_the_signal_colour(tmp_path, figures):
    plots.relative_position_matrices(
        {"RoPE": triangle(64), "ReRoPE": triangle(L - 1)}, L, tmp_path / "a.png"
    )
    signal = matplotlib.colors.to_rgba(style.UNTRAINED)
    for axes, trained_only in zip(figures[0].axes, (False, True), strict=False):
        (image,) = axes.get_images()
        colors = image.to_rgba(image.get_array())
        beyond = np.isclose(colors, signal).all(-1)
        distance = np.ma.filled(image.get_array(), -1.0)
        np.testing.assert_array_equal(beyond, distance >= L)
        assert beyond.any() != trained_only


def test_the_critical_dimension_is_marked_before_its_plane(tmp_path, figures):
    frequencies = rotary.rope(32)
    plots.wavelengths({"RoPE": frequencies}, L, tmp_path / "a.png")
    critical = rotary.critical_dimension(frequencies, L)
    above, below = figures[0].axes
    marks = [line.get_xdata()[0] for line in above.get_lines() if line.get_ls() == ":"]
    assert marks == [critical - 0.5]
    assert any(f"critical dimension {critical}" == t.get_text() for t in below.texts)


def test_angles_of_training_lie_inside_those_beyond(tmp_path, figures):
    PICTURES["rotations"](tmp_path / "a.png")
    for axes, scale in zip(figures[0].axes, (1, 4), strict=True):
        inside, outside = axes.get_lines()
        for line, first, last, divisor in (
            (inside, 0, L, 1),
            (outside, L, 64, scale),
        ):
            z = np.array(line.get_xdata()) + 1j * np.array(line.get_ydata())
            turned = np.exp(1j * np.arange(first, last) / divisor * 1e4 ** (-2 / 8))
            np.testing.assert_allclose(z / abs(z), turned, atol=1e-5)
        assert np.abs(inside.get_xdata()).max() < 1.01


def test_perplexity_is_drawn_with_its_interval_where_there_is_one(tmp_path, figures):
    PICTURES["perplexity"](tmp_path / "a.png")
    (container,) = figures[0].axes[0].containers
    np.testing.assert_array_equal(container.lines[0].get_ydata(), [48, 96])
    (bars,) = container.lines[2]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[40.0, 50.0], [96.0, 96.0]]


def test_numbers_are_written_into_small_matrices_alone(tmp_path, figures):
    small, large = triangle(2)[:4, :4], triangle(64)
    for n, matrix in enumerate((small, large)):
        plots.relative_position_matrices({"ReRoPE": matrix}, L, tmp_path / f"{n}.png")
    written = [[t.get_text() for t in f.axes[0].texts] for f in figures[::2]]
    assert written == [list("0102102210"), []]


def test_a_title_stands_above_a_picture_as_large_as_before(tmp_path, figures):
    for title in (None, "What it shows " * 6):
        plots.context_use(RESULTS, tmp_path / "a.png", title=title)
    plain, titled = figures[0], figures[2]
    (axes,) = titled.axes
    (words,) = [text for part in titled.subfigs for text in part.texts]
    assert words.get_text().split() == ("What it shows " * 6).split()
    plain.dpi = titled.dpi = 160  # as in the files
    place = words.get_window_extent()
    assert axes.get_window_extent().y1 < place.y0 and place.x1 < titled.bbox.x1
    before = plain.axes[0].get_window_extent()
    assert axes.get_window_extent().height == pytest.approx(before.height, rel=0.05)


@pytest.mark.parametrize(("columns", "inches"), [("single", 3.35), ("double", 6.9)])
def test_in_a_paper_a_picture_is_one_page_of_vectors_as_wide_as_said(
    columns, inches, tmp_path, figures
):
    with plots.paper(columns):
        path = plots.loss_by_position(RESULTS, tmp_path / "a.pdf", labels=FEW)
        with pytest.raises(ValueError, match="ends with .pdf"):
            plots.context_use(RESULTS, tmp_path / "b.png")
    content = path.read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ ([\d. ]+) \]", content)
    assert [float(x) for x in box.split()][2] == pytest.approx(72 * inches, abs=0.01)
    assert b"/FontFile2" in content, "type is not embedded as TrueType"
    assert b"/Subtype /Image" not in content, "not all of it is drawn as vectors"
    assert [file.name for file in tmp_path.iterdir()] == ["a.pdf"]
    sizes = {text.get_size() for axes in figures[0].axes for text in axes.texts}
    assert sizes == {style.PAPERS[columns].size}


def test_outside_of_a_paper_pictures_are_for_pages_again(tmp_path):
    with pytest.raises(ValueError, match="expected one of"), plots.paper("triple"):
        pass
    with pytest.raises(ValueError, match="ends with .png"):
        plots.context_use(RESULTS, tmp_path / "a.pdf")


def test_labels_are_moved_apart_in_order():
    heights = curves._spread([1.0, 1.01, 3.0, 1.02], 0.5)
    assert (np.diff(np.sort(heights)) >= 0.5 - 1e-6).all()
    np.testing.assert_array_equal(np.argsort(heights), [0, 1, 3, 2])


def test_a_row_that_fails_does_not_flatten_the_others():
    flat = {"edges": [0, 16, 32, 64], "loss": [2.0, 2.0, 2.0]}
    wild = {"edges": [0, 16, 32, 64], "loss": [2.0, 2.0, 90.0]}
    low, high = curves._room({"flat": flat, "wild": wild}, 32)
    assert low < 2 and high < 2 + 2 * curves.ROOM_ABOVE


def test_smoothing_keeps_length_and_constants():
    np.testing.assert_allclose(curves._smooth([3.0] * 41), [3.0] * 41)
    assert len(curves._smooth([1.0, 2.0])) == 2


def test_a_matrix_as_an_image_has_a_pixel_for_each_entry_and_hides_what_is_hidden():
    shown = imread(io.BytesIO(matrix_image(triangle(64), L)))
    assert shown.shape == (64, 64, 4)
    hidden = np.isnan(triangle(64))
    np.testing.assert_array_equal(shown[..., 3] == 0, hidden)
    untrained = np.allclose(
        shown[L, 0], matplotlib.colors.to_rgba(style.UNTRAINED), atol=0.01
    )
    assert untrained and not np.allclose(shown[L - 1, 0], shown[L, 0], atol=0.01)

"""Pictures of training: what is drawn is what was measured, and everything is labelled."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from sentiment import plots
from sentiment.fitting import EpochReport, FitResult

PNG = b"\x89PNG"


def lines(axes):
    """Label of each line → its points, float (n, 2)."""
    return {line.get_label(): np.array(line.get_xydata(), float) for line in axes.lines}


def points(axes, number):
    return np.array(axes.lines[number].get_xydata(), float)


def result(losses, validation_losses, accuracies, best_epoch):
    columns = zip(losses, validation_losses, accuracies, strict=True)
    history = tuple(EpochReport(i, *values, 1.0) for i, values in enumerate(columns, 1))
    return FitResult(history, best_epoch, 1.5, False)


def test_history(saved_figures, tmp_path):
    results = {
        "plain": result([1.0, 0.5, 0.1], [1.1, 0.8, 0.9], [0.3, 0.6, 0.5], 2),
        "dropout": result([1.0, 0.7], [1.2, 0.7], [0.4, 0.7], 2),
    }
    path = plots.save_history_plot(tmp_path / "history.png", results)
    assert path.read_bytes().startswith(PNG)
    (figure,) = saved_figures
    left, right, below_left, below_right = figure.axes
    assert [left.get_title(), right.get_title()] == ["plain", "dropout"]
    shown = lines(left)
    np.testing.assert_array_equal(shown["training"], [[1, 1.0], [2, 0.5], [3, 0.1]])
    np.testing.assert_array_equal(shown["validation"], [[1, 1.1], [2, 0.8], [3, 0.9]])
    assert shown["best epoch, kept"][:, 0].tolist() == [2, 2]
    np.testing.assert_array_equal(lines(right)["validation"], [[1, 1.2], [2, 0.7]])
    np.testing.assert_array_equal(points(below_left, 0), [[1, 0.3], [2, 0.6], [3, 0.5]])
    np.testing.assert_array_equal(points(below_right, 0), [[1, 0.4], [2, 0.7]])
    assert left.get_ylim() == right.get_ylim()  # to be compared
    assert below_left.get_ylim() == below_right.get_ylim()
    assert left.get_ylabel() == "cross-entropy (nats)"
    assert below_left.get_ylabel() == "validation accuracy"
    assert {below_left.get_xlabel(), below_right.get_xlabel()} == {"epoch"}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "training",
        "validation",
        "best epoch, kept",
    ]


def test_one_history(saved_figures, tmp_path):
    plots.save_history_plot(tmp_path / "one.png", {"only": result([1.0], [1.1], [0.3], 1)})
    assert len(saved_figures[0].axes) == 2


def test_history_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="^`results` must have at least one entry. Received: none"):
        plots.save_history_plot(tmp_path / "none.png", {})


def test_calibration(saved_figures, tmp_path):
    # Ten texts: sure and right in half of them, before; as sure as right, after.
    truth = np.array([0] * 5 + [1] * 5)
    before = np.tile([0.95, 0.05], (10, 1))
    after = np.tile([0.55, 0.45], (10, 1))
    path = plots.save_calibration_plot(tmp_path / "c.png", before, after, truth)
    assert path.read_bytes().startswith(PNG)
    top, bottom = saved_figures[0].axes
    shown = lines(top)
    assert list(shown) == ["perfectly calibrated", "before, error 45.0%", "after, error 5.0%"]
    np.testing.assert_allclose(shown["before, error 45.0%"], [[0.95, 0.5]])
    np.testing.assert_allclose(shown["after, error 5.0%"], [[0.55, 0.5]])
    np.testing.assert_allclose(points(bottom, 0), [[0.95, 1.0]])
    np.testing.assert_allclose(points(bottom, 1), [[0.55, 1.0]])
    assert top.get_title() == "Reliability before and after calibration, 10 texts"
    assert top.get_ylabel() == "share of right answers"
    assert bottom.get_xlabel() == "probability of the predicted label"
    assert bottom.get_ylabel() == "share of texts"
    assert top.get_xlim()[0] == pytest.approx(0.45)  # of two labels, the predicted has at least ½


def test_shares_of_texts(saved_figures, tmp_path):
    truth = np.zeros(4, int)
    before = np.array([[0.95, 0.05], [0.95, 0.05], [0.95, 0.05], [0.65, 0.35]])
    plots.save_calibration_plot(tmp_path / "c.png", before, before, truth)
    np.testing.assert_allclose(points(saved_figures[0].axes[1], 0), [[0.65, 0.25], [0.95, 0.75]])


def test_settings(saved_figures, tmp_path):
    scores = {"last": [0.5, 0.6, 0.55], "max": np.array([0.7, 0.8, 0.6])}
    path = plots.save_settings_plot(tmp_path / "s.png", scores, title="pooling, three seeds")
    assert path.read_bytes().startswith(PNG)
    (axes,) = saved_figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["last", "max"]
    np.testing.assert_allclose(points(axes, 0), [[0.5, -0.15], [0.6, 0], [0.55, 0.15]])
    np.testing.assert_allclose(points(axes, 1), [[0.55, 0]])
    np.testing.assert_allclose(points(axes, 2), [[0.7, 0.85], [0.8, 1], [0.6, 1.15]])
    np.testing.assert_allclose(points(axes, 3), [[0.7, 1]])
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [0.5, 0.6])
    assert axes.get_title() == "pooling, three seeds"
    assert axes.get_xlabel().startswith("accuracy")


def test_settings_of_nothing(tmp_path):
    with pytest.raises(ValueError, match="^`scores` must have at least one entry. Received: none"):
        plots.save_settings_plot(tmp_path / "none.png", {}, title="none")


def test_sizes(saved_figures, tmp_path):
    train = np.array([[0.9, 1.0], [0.8, 0.9]])
    test = np.array([[0.4, 0.5], [0.6, 0.8]])
    path = plots.save_size_plot(tmp_path / "z.png", [100, 1000], train, test)
    assert path.read_bytes().startswith(PNG)
    (axes,) = saved_figures[0].axes
    shown = lines(axes)
    np.testing.assert_allclose(shown["texts learned from"], [[100, 0.95], [1000, 0.85]])
    np.testing.assert_allclose(shown["held-out texts"], [[100, 0.45], [1000, 0.7]])
    corners = [band.get_paths()[0].vertices[:, 1] for band in axes.collections]
    assert [(ys.min(), ys.max()) for ys in corners] == [(0.8, 1.0), (0.4, 0.8)]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "1,000"]
    assert [axes.get_xlabel(), axes.get_ylabel()] == ["training texts", "accuracy"]
    assert axes.get_title() == "Accuracy by training size, mean and range of 2 runs"


NORMS = {
    "rnn": [2.0, 1.5, 1.0, 0.5],
    "lstm, forget bias 1": [0.5, 0.1, 0.02, 0.004],
    "lstm, forget bias 0": [0.5, 0.01, 1e-20, 0.0],
    "attention_gru": [0.3, 0.3, 0.3, 0.3],
}


@pytest.fixture
def distances(saved_figures, tmp_path):
    """The axes of `NORMS`, drawn."""
    path = plots.save_distance_plot(tmp_path / "norms.png", NORMS, title="three cells")
    assert path.read_bytes().startswith(PNG)
    ((axes,),) = [figure.axes for figure in saved_figures]
    return axes


def test_a_line_for_each_network_from_distance_zero(distances):
    assert [line.get_label() for line in distances.lines] == list(NORMS)
    for line, norms in zip(distances.lines, NORMS.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), norms)
    assert [text.get_text() for text in distances.get_legend().get_texts()] == list(NORMS)


def test_colour_is_the_cells_and_lines_of_one_colour_differ(distances):
    colours = [to_hex(line.get_color()).upper() for line in distances.lines]
    assert colours == [plots.VERMILION, plots.BLUE, plots.BLUE, plots.GREEN]
    assert len({line.get_linestyle() for line in distances.lines}) == 4


def test_the_axis_is_logarithmic_and_ends_twelve_powers_below_the_largest(distances):
    assert distances.get_yscale() == "log"
    low, high = distances.get_ylim()
    assert low == pytest.approx(2e-12)
    assert high > 2


def test_says_what_was_compared_in_which_units(distances):
    assert distances.get_title() == "three cells"
    assert distances.get_xlabel() == "distance from the end (words)"
    assert distances.get_ylabel() == "gradient norm (log-odds per unit of vector)"


def test_no_networks_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"^`norms` must have at least one entry\. Received: none$"
    ):
        plots.save_distance_plot(tmp_path / "none.png", {}, title="none")
    assert not (tmp_path / "none.png").exists()

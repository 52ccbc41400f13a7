"""The picture of gradients by distance that notebooks draw."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from sentiment import plots

NORMS = {
    "rnn": [2.0, 1.5, 1.0, 0.5],
    "lstm, forget bias 1": [0.5, 0.1, 0.02, 0.004],
    "lstm, forget bias 0": [0.5, 0.01, 1e-20, 0.0],
    "attention_gru": [0.3, 0.3, 0.3, 0.3],
}


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """The axes of `NORMS`, drawn."""
    figures = []
    save = Figure.savefig

    def keep(figure, *args, **options):
        figures.append(figure)
        save(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    path = plots.save_distance_plot(tmp_path / "norms.png", NORMS, title="three cells")
    assert path.read_bytes().startswith(b"\x89PNG")
    ((axes,),) = [figure.axes for figure in figures]
    return axes


def test_a_line_for_each_network_from_distance_zero(drawn):
    assert [line.get_label() for line in drawn.lines] == list(NORMS)
    for line, norms in zip(drawn.lines, NORMS.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3])
        np.testing.assert_array_equal(line.get_ydata(), norms)
    assert [text.get_text() for text in drawn.get_legend().get_texts()] == list(NORMS)


def test_colour_is_the_cells_and_lines_of_one_colour_differ(drawn):
    colours = [to_hex(line.get_color()).upper() for line in drawn.lines]
    assert colours == [plots.VERMILION, plots.BLUE, plots.BLUE, plots.GREEN]
    assert len({line.get_linestyle() for line in drawn.lines}) == 4


def test_the_axis_is_logarithmic_and_ends_twelve_powers_below_the_largest(drawn):
    assert drawn.get_yscale() == "log"
    low, high = drawn.get_ylim()
    assert low == pytest.approx(2e-12)
    assert high > 2


def test_says_what_was_compared_in_which_units(drawn):
    assert drawn.get_title() == "three cells"
    assert drawn.get_xlabel() == "distance from the end (words)"
    assert drawn.get_ylabel() == "gradient norm (log-odds per unit of vector)"


def test_no_networks_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"^`norms` must have at least one entry\. Received: none$"
    ):
        plots.save_distance_plot(tmp_path / "none.png", {}, title="none")
    assert not (tmp_path / "none.png").exists()

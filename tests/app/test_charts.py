"""The figures: what is drawn is what was given, names are harmless, signs are written out."""

import pytest

from app import charts
from app.charts import MINUS
from probes.intervals import Estimate

HOSTILE = "<b>bold</b> {b} | $x$"


def test_bars_keep_order_values_and_ids():
    figure = charts.bars([("striped wing", 1.5), ("water", -0.25)], axis="contribution")

    (bar,) = figure.data
    assert list(bar.x) == [1.5, -0.25]
    assert list(bar.customdata) == ["striped wing", "water"]
    assert list(bar.text) == ["+1.50", MINUS + "0.25"]
    assert list(figure.layout.yaxis.ticktext) == ["striped wing", "water"]


def test_bars_tell_signs_by_colour_and_neutral_rows_by_grey():
    figure = charts.bars([("a", 1.0), ("b", -1.0), ("rest", 2.0)], axis="", neutral=["rest"])

    assert list(figure.data[0].marker.color) == [charts.RAISES, charts.LOWERS, charts.NEUTRAL]


def test_waterfall_rows_start_where_the_one_above_ended_and_the_last_is_the_logit():
    figure = charts.waterfall(0.5, [("a", 2.0), ("b", -1.0)], rest=0.25, residual=0.0, logit=1.75, target="tern")

    rows = [(bar.base[0], bar.x[0]) for bar in figure.data]
    assert rows == [(0.0, 0.5), (0.5, 2.0), (2.5, -1.0), (1.5, 0.25), (0.0, 1.75)]
    assert list(figure.layout.yaxis.ticktext) == ["bias", "a", "b", "rest of the concepts", "logit of tern"]


def test_waterfall_shows_a_residual_when_there_is_one():
    figure = charts.waterfall(0.0, [("a", 1.0)], rest=0.0, residual=0.5, logit=1.5, target="tern")

    assert list(figure.layout.yaxis.ticktext) == ["bias", "a", "residual", "logit of tern"]


@pytest.mark.parametrize(
    "figure",
    [
        charts.bars([(HOSTILE, 1.0)], axis=""),
        charts.waterfall(0.0, [(HOSTILE, 1.0)], rest=0.0, residual=0.0, logit=1.0, target=HOSTILE),
        charts.before_after([HOSTILE], [0.2], [0.7], axis=""),
        charts.group_dots([HOSTILE], [Estimate(0.5, 0.4, 0.6, 10)]),
        charts.confusion([HOSTILE, "b"], [[3, 1], [0, 2]]),
        charts.aurocs([(HOSTILE, Estimate(0.9, 0.8, 0.95, 50))]),
    ],
)
def test_names_from_data_are_escaped_in_every_text_that_plotly_renders(figure):
    texts = [*(figure.layout.yaxis.ticktext or ()), *(figure.layout.xaxis.ticktext or ())]
    for trace in figure.data:
        for text in [trace.text, trace.hovertext, trace.name]:
            texts += [text] if isinstance(text, str) else [] if text is None else [str(t) for t in text]

    assert not [text for text in texts if "<b>" in text]


def test_before_after_says_the_new_probability_beside_the_dot():
    figure = charts.before_after(["tern", "rail"], [0.9, 0.1], [0.25, 0.75], axis="probability")

    assert [text.strip() for text in figure.data[-1].text] == ["25 %", "75 %"]
    assert list(figure.data[-3].x) == [0.9, 0.1]
    assert list(figure.data[-2].x) == [0.25, 0.75]


def test_group_dots_draw_their_intervals():
    before, after = Estimate(0.6, 0.5, 0.7, 40), Estimate(0.8, 0.7, 0.9, 40)
    figure = charts.group_dots(["land on water"], [before], [after])

    assert [trace.marker.symbol for trace in figure.data] == ["circle-open", "diamond"]
    assert figure.data[1].error_x.array[0] == pytest.approx(0.1)
    assert figure.data[1].error_x.arrayminus[0] == pytest.approx(0.1)
    assert "n = 40" in figure.data[0].hovertext[0]


def test_confusion_shades_by_share_of_the_label_and_writes_counts():
    figure = charts.confusion(["a", "b"], [[3, 1], [0, 8]])

    assert figure.data[0].z[0][0] == 0.75
    assert [list(row) for row in figure.data[0].text] == [["3", "1"], ["", "8"]]


def test_every_figure_is_transparent():
    figure = charts.aurocs([("a", Estimate(0.9, 0.8, 0.95, 50))])

    assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0, 0, 0, 0)"


def test_sankey_numbers_its_nodes_as_promised_and_writes_out_negative_weights():
    links = [("water", "tern", 2.0), ("water", "rail", -1.0), ("stripes", "rail", 0.5)]
    series = charts.sankey(links)["series"][0]

    assert charts.sankey_nodes(links) == [("k:", "water"), ("k:", "stripes"), ("c:", "tern"), ("c:", "rail")]
    assert [node["name"] for node in series["data"]] == ["k:water", "k:stripes", "c:tern", "c:rail"]
    assert [edge["value"] for edge in series["links"]] == [2.0, 1.0, 0.5]
    assert [edge["edgeLabel"]["show"] for edge in series["links"]] == [False, True, False]


def test_a_concept_and_a_class_of_one_name_stay_two_nodes():
    series = charts.sankey([("tern", "tern", 1.0)])["series"][0]

    assert len({node["name"] for node in series["data"]}) == 2


def test_echarts_templates_in_names_stay_text():
    series = charts.sankey([(HOSTILE, "tern", 1.0)])["series"][0]

    assert "{" not in series["data"][0]["label"]["formatter"]


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1.234, "+1.23"), (-0.004, MINUS + "0.004"), (-123.4, MINUS + "123")]
)
def test_signed_writes_the_sign(value, text):
    assert charts.signed(value) == text


def test_spoken_names_the_first_values():
    assert charts.spoken([("a", 1.0), ("b", -2.0)], most=1) == "a +1.00"


def test_a_concept_that_is_weak_here_does_not_read_as_if_it_were_there():
    rows = [
        ("land background", 1.5),
        ("a name that is much too long for the room that a label has", 1.0),
        ("water", 1.0),
    ]

    bars = charts.bars(rows, axis="", low=[name for name, _ in rows[:2]])
    sums = charts.waterfall(0.0, rows, rest=0.0, residual=0.0, logit=3.5, target="tern", low=["land background"])

    labels = list(bars.layout.yaxis.ticktext)
    assert (labels[0], labels[2]) == ("land background (low)", "water")
    assert labels[1].endswith("… (low)")
    assert len(labels[1]) <= 34
    assert "land background (low)" in sums.layout.yaxis.ticktext
    assert bars.data[0].customdata[0] == "land background"


def test_a_tick_is_where_the_value_is_and_stays_on_the_slider():
    middle, beyond = charts.tick(0.5), charts.tick(7.0)

    assert "M150.0 0" in middle
    assert "M294.0 0" in beyond


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.51, "51 %"),
        (0.0999, "10 %"),
        (0.05, "5 %"),
        (0.9999, "over 99.9 %"),
        (1e-6, "under 0.1 %"),
    ],
)
def test_shares_are_never_rounded_to_none_or_all(share, text):
    assert charts.shares([("tern", share)], axis="").data[0].text[0] == text


def test_curves_give_each_line_its_own_dashes_and_one_of_them_its_interval():
    lines = {
        name: [Estimate(0.5, 0.4, 0.6, 9), Estimate(high, high, high, 9)] for name, high in (("a", 0.7), ("b", 0.9))
    }

    figure = charts.curves(lines, axis="accuracy", across="corrected", bounds=["b"], band="a")

    band, a, b = figure.data
    assert list(band.y) == [0.4, 0.7, 0.7, 0.6]
    assert (list(a.y), list(b.y)) == ([0.5, 0.7], [0.5, 0.9])
    assert (a.name, b.name) == ("a", "b")
    assert b.line.color == charts.NEUTRAL


def test_many_curves_still_differ_without_colour():
    lines = {str(i): [Estimate(0.5, 0.4, 0.6, 9)] for i in range(5)}

    dashes = [line.line.dash for line in charts.curves(lines, axis="", across="").data]

    assert len(set(dashes)) == 5


def test_curves_of_taken_away_concepts_differ_without_colour_and_controls_are_grey():
    lines = dict.fromkeys("abcd", (1.0, 0.5, 0.1))

    figure = charts.taken_away((0, 3, 9), lines, axis="probability", across="concepts", controls=["c", "d"])

    assert [list(line.x) for line in figure.data] == [[0, 3, 9]] * 4
    assert [line.line.color == charts.NEUTRAL for line in figure.data] == [False, False, True, True]
    assert len({(line.line.color, line.line.dash) for line in figure.data}) == 4


def test_a_click_on_a_cell_returns_its_name_and_closed_heads_are_crossed():
    figure = charts.clickable(
        b"png", [["1.1", "1.2"], ["2.1", "2.2"]], height=200, chosen="2.1", crossed=["1.2"], told={"1.1": HOSTILE}
    )

    (squares,) = figure.data
    assert list(squares.customdata) == ["1.1", "1.2", "2.1", "2.2"]
    assert (squares.x[2], squares.y[2]) == (0.5, 1.5)
    assert 0 < squares.marker.opacity < 0.1  # a fully transparent one takes no clicks
    assert [shape.type for shape in figure.layout.shapes] == ["line", "line", "rect"]
    assert figure.layout.shapes[2].y0 == 1
    assert figure.layout.images[0].source == "data:image/png;base64,cG5n"


def test_the_first_layer_is_on_top_and_every_head_has_its_number():
    figure = charts.head_values([[0.1, 0.2], [0.3, 0.4]], title="entropy")

    assert figure.layout.yaxis.autorange == "reversed"
    assert [list(row) for row in figure.data[0].z] == [[0.1, 0.2], [0.3, 0.4]]


def test_pruning_curves_have_the_band_of_the_random_orders():
    figure = charts.pruning(
        [0, 5], {"gates": [1.0, 0.9], "random": [1.0, 0.6]}, [(1.0, 1.0), (0.5, 0.7)], band_of="random", axis="cosine"
    )

    band, gates, random = figure.data
    assert list(band.y) == [1.0, 0.5, 0.7, 1.0]
    assert (gates.name, random.name) == ("gates", "random")
    assert random.line.color == charts.NEUTRAL

"""Charts, texts with marked words and drawn pictures as the page shows them."""

from sartor.report.looks import bars, drawing, drawings, is_wide, pieces
from sartor.types import Cause, Chart, Example, Explanation, Insight, Line


def explained(text, *causes):
    return Example("row 3", "spam", "ham", 0.7, text=text, explanation=Explanation("words", causes, "because"))


def test_a_text_is_cut_at_the_words_that_count():
    example = explained("free entry now", Cause("now", -0.1, (11, 14)), Cause("free", 0.4, (0, 4)))
    found = [(piece.text, piece.weight) for piece in pieces(example)]
    assert found == [("free", 1.0), (" entry ", 0.0), ("now", -0.25)]


def test_words_that_overlap_or_lie_outside_are_not_marked():
    example = explained("abc def", Cause("abc", 0.5, (0, 3)), Cause("bc d", 0.5, (1, 5)), Cause("?", 0.5, (9, 12)))
    assert "".join(piece.text for piece in pieces(example)) == "abc def"
    assert sum(piece.weight != 0 for piece in pieces(example)) == 1


def test_causes_without_a_place_are_bars():
    example = explained("", Cause("carat = 0.7", -0.5), Cause("cut = Ideal", 0.25))
    assert bars(example) == [("carat = 0.7", -0.5, 100.0), ("cut = Ideal", 0.25, 50.0)]


def test_lines_span_their_chart():
    found = drawing(Chart("PR", "recall", "precision", (Line("cat", (0.0, 0.5, 1.0), (1.0, 0.5, 0.0)),)))
    assert found.paths[0].path == "M0 0L50 50L100 100"
    assert (0.0, "1") in found.up
    wide = drawing(Chart("error", "price", "dollars", (Line("", (10.0, 20.0), (-3.0, 5.0)),)))
    assert wide.paths[0].path == "M0 100L100 0"


def test_a_chart_without_a_line_is_left_out():
    insight = Insight("test", charts=(Chart("empty", "x", "y", (Line("", (1.0,), (1.0,)),)), Chart("no", "x", "y", ())))
    assert drawings(insight) == []
    assert drawings(None) == []


def test_a_picture_with_something_drawn_in_gets_more_room():
    import numpy as np

    from sartor.media import draw

    pixels = np.zeros((40, 60, 3), np.uint8)
    drawn = draw.boxes(pixels, [((0.1, 0.1, 0.9, 0.9), "cell", draw.colour(0))])
    assert is_wide(Example("", "", "", 0.0, drawn))
    assert not is_wide(Example("", "", "", 0.0, draw.heat(pixels, np.eye(3), side=96)))
    assert not is_wide(Example("", "", "", 0.0))

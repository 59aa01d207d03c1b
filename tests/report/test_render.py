import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import run_files

from sartor.report import charts
from sartor.report.gauges import gauges
from sartor.report.kinds import KINDS, kind_of
from sartor.report.render import render
from sartor.stages.decide import CODES
from sartor.types import Decision, Example, Insight, RunFile, Step, Verdict

VOID = {"meta", "input", "img", "br", "link", "hr"}


class Outline(HTMLParser):
    """Checks that elements nest, and keeps ids, headings and attributes that load something."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.ids: list[str] = []
        self.loads: list[str] = []
        self.labelled: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        self.ids += [given["id"]] if "id" in given else []
        self.labelled += [given["aria-labelledby"]] if "aria-labelledby" in given else []
        self.loads += [given[name] or "" for name in ("src", "href", "data", "action", "srcset") if name in given]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag):
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag


def outline(page: str) -> Outline:
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.stack == []
    return parser


RUNS = {"met": run_files.run_file, "infeasible": run_files.infeasible, "inconclusive": run_files.inconclusive}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render(make()) for name, make in RUNS.items()}


@pytest.mark.parametrize("name", RUNS)
def test_the_page_is_whole_and_loads_nothing(pages, name):
    found = outline(pages[name])
    assert len(found.ids) == len(set(found.ids))
    assert set(found.labelled) <= set(found.ids)
    assert found.tags.count("h1") == 1
    assert all(load.startswith(("data:image/png;base64,", "#")) for load in found.loads)
    # the only address in the page is the name space that SVG elements are made in
    assert set(re.findall(r"https?://[^\s\"'<>)]+", pages[name])) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in pages[name]
    assert "url(" not in pages[name].replace("url(#hatch)", "")


@pytest.mark.parametrize("name", RUNS)
def test_the_verdict_stands_in_the_title_and_on_top(pages, name):
    word = {"met": "Met", "infeasible": "Infeasible", "inconclusive": "Inconclusive"}[name]
    assert f"<title>{word}: digits, accuracy ≥" in pages[name]
    assert f'<span class="stamp">{word}</span>' in pages[name]


@pytest.mark.parametrize("name", RUNS)
def test_the_page_in_chinese_says_the_same(pages, name):
    page = render(RUNS[name](), "zh")
    outline(page)
    assert '<html lang="zh">' in page
    assert '<html lang="en">' in pages[name]
    shown = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    english = {"candidate", "limits", "split", "would", "interval", "cannot", "meets", "misses"}
    assert english.isdisjoint(re.findall(r"[a-z]{3,}", shown))
    before, after = (json.loads(re.search(r'id="run">(.*?)</script>', text)[1]) for text in (pages[name], page))
    assert before.pop("strings") == {}
    assert after.pop("strings")["Nothing meets these limits."] == "没有候选满足这些限制。"
    assert before == after


def test_the_page_is_small(pages):
    without_pictures = re.sub(r"data:image/png;base64,[^\"]*", "", pages["met"])
    assert len(without_pictures.encode()) < 250_000


def test_three_hundred_candidates_fit():
    """A quarter of them measured, as in a real run, the others ruled out by estimate."""
    found = run_files.records()
    more = [run_files.estimated_only(record, f"v{k}") for k in range(3) for record in found]
    page = re.sub(r"data:image/png;base64,[^\"]*", "", render(run_files.run_file(found=[*found, *more])))
    outline(page)
    assert "300 candidates" in page
    assert len(page.encode()) < 400_000


def test_hostile_names_stay_text():
    nasty = '<script>alert("x")</script>'
    labels = (nasty, "</script><img src=x onerror=alert(1)>", "&amp;", "\u2028猫", "'\"`")
    run = run_files.run_file(labels=labels, name=nasty)
    page = render(run)
    assert nasty not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in page
    assert outline(page).tags.count("script") == 2


def test_hostile_values_stay_data():
    run = run_files.run_file()
    record = run.records[0]
    poisoned = replace(
        record.measurements[0], conditions={"note": "</script><script>alert(1)</script>", "html": "<b>&"}
    )
    page = render(replace(run, records=(replace(record, measurements=(poisoned,)), *run.records[1:])))
    assert outline(page).tags.count("script") == 2


def test_numbers_and_labels_are_the_runs_own(pages):
    run = run_files.run_file()
    chosen = next(v for v in run.decision.verdicts if v.limit.metric == "accuracy")
    assert chosen.measurement is not None
    assert f"{chosen.measurement.value:.3f}" in pages["met"]
    assert "test touched once" in pages["met"]


def test_the_table_holds_every_candidate_with_its_code(pages):
    run = run_files.run_file()
    rows = dict(re.findall(r'<tr data-id="([^"]+)">.*?<b class="code \w+">(\w+)</b>', pages["met"], re.DOTALL))
    assert rows == {fate.candidate: fate.code for fate in run.decision.fates}


def test_relaxations_can_be_tried(pages):
    run = run_files.infeasible()
    assert run.decision.certificate is not None
    assert pages["infeasible"].count("data-changes=") == len(run.decision.certificate.relaxations) > 0
    assert "data-changes=" not in pages["met"]


def bare(run: RunFile, **changes: object) -> RunFile:
    return replace(run, **changes)  # type: ignore[arg-type]


def test_a_run_that_found_nothing_at_all():
    empty = Decision("inconclusive", "", (), "the budget ended before anything was trained", (), (), ())
    run = bare(
        run_files.run_file(), records=(), decision=empty, steps=(), curves={}, insights={}, card=run_files.card(())
    )
    page = render(run)
    outline(page)
    assert "0 candidates" in page


def test_one_candidate():
    run = run_files.run_file(found=run_files.records()[3:4])
    page = render(run)
    outline(page)
    assert "1 candidate," in page


def test_no_limits():
    run = run_files.run_file()
    page = render(
        replace(run, requirement=replace(run.requirement, limits=()), decision=replace(run.decision, verdicts=()))
    )
    outline(page)
    assert "No limits were set" in page


def test_a_hundred_and_fifty_classes_with_long_chinese_names():
    labels = tuple(f"非常长的类别名称{k}-with-a-rather-long-english-tail" for k in range(150))
    page = render(run_files.run_file(labels=labels))
    outline(page)
    assert "the 30 classes with most errors, 120 left out" in page
    assert len(page.encode()) < 400_000


def test_insights_with_parts_missing():
    run = run_files.run_file()
    for insight in (
        Insight("test"),
        Insight("", latency_parts_ms={"model": 1.0}),
        Insight("test", mistakes=(Example("a.png", "1", "2", 0.5),)),
        Insight("test", per_class={"1": 1.0}),
        Insight("test", confusion=((1, 0), (0, 1))),  # not of this label set
    ):
        outline(render(replace(run, insights={run.decision.chosen: insight})))


def test_every_documented_code_has_a_kind_and_plugins_codes_are_refusals():
    assert {kind_of(code) for code in CODES} <= set(KINDS)
    assert all(kind_of(code) != "refused" for code in CODES)
    assert kind_of("NO_INT8") == "refused"


# ---------------------------------------------------------------------------------------------- gauges and charts


def verdict_of(metric: str, run: RunFile) -> Verdict:
    return next(v for v in run.decision.verdicts if v.limit.metric == metric)


def test_a_gauge_places_value_limit_and_forbidden_side():
    run = run_files.run_file()
    accuracy, latency, _ = gauges(run.decision.verdicts, run_files.BY_NAME, 1)
    assert latency.mark is not None
    assert latency.mark < latency.limit_at
    assert latency.forbidden[0] == latency.limit_at
    measured = verdict_of("latency_p95_ms", run).measurement
    assert measured is not None
    assert latency.mark / latency.limit_at == pytest.approx(measured.value / 1.0, rel=1e-3)  # a length is a share
    assert accuracy.forbidden[0] == 0
    assert accuracy.mark is not None
    assert accuracy.mark > accuracy.limit_at
    assert accuracy.margin.endswith("to spare")


def test_a_gauge_of_something_unknown_has_no_mark():
    run = run_files.run_file()
    unknown = replace(verdict_of("size_mb", run), outcome="inconclusive", measurement=None)
    (gauge,) = gauges([unknown], run_files.BY_NAME, 0)
    assert gauge.mark is None
    assert gauge.outcome == "unknown"


def test_a_missed_gauge_says_by_how_much():
    run = run_files.infeasible()
    near = run.decision.certificate
    assert near is not None
    fate = next(f for f in run.decision.fates if f.candidate == near.relaxations[0].candidate)
    missed = [g for g in gauges(fate.verdicts, run_files.BY_NAME, 0) if g.outcome == "missed"]
    assert missed
    assert all("off by" in gauge.margin and "× the limit" in gauge.margin for gauge in missed)


def test_confusion_leaves_empty_cells_out_and_counts_the_rest():
    insight = Insight("test", confusion=((5, 1, 0), (0, 6, 0), (2, 0, 4)))
    drawn = charts.confusion(insight, ("a", "b", "c"))
    assert drawn is not None
    assert sum(cell.count for cell in drawn.cells) == 18
    assert drawn.pairs == (("c", "a", 2), ("a", "b", 1))


def test_curves_give_the_chosen_one_a_name_and_names_keep_apart():
    rows = {f"net-{k}": run_files.curve(0.02 + k / 1000, 5.0) for k in range(20)}
    drawn = charts.curves(rows, run_files.ACCURACY, "net-19", 0.9)
    assert drawn is not None
    named = sorted(curve.name_at for curve in drawn.curves if curve.name_at is not None)
    assert len(named) == charts.MOST_NAMES + 1
    assert min(b - a for a, b in zip(named, named[1:], strict=False)) >= 6
    assert drawn.curves[-1].network == "net-19"


def test_no_curves_where_nothing_was_scored():
    assert charts.curves({}, run_files.ACCURACY, "", None) is None


def test_lanes_add_up_and_leave_pauses_out():
    steps = (
        Step("train", "a", 0.0, 5.0, False, "done"),
        Step("train", "b", 86_400.0, 5.0, False, "done"),
        Step("measure", "c", 86_405.0, 1.0, False, "failed"),
        Step("measure", "d", 86_406.0, 0.0, True, "done"),
    )
    train, measure = charts.lanes(steps)
    assert train.time == "10 s"
    assert train.words == "2 done"
    assert measure.words == "1 done, 1 of them refused or failed, 1 reused"
    assert measure.troubled
    assert measure.reused
    moved = charts.without_pauses(steps)
    assert [step.started for step in moved] == [0.0, 5.0, 10.0, 11.0]

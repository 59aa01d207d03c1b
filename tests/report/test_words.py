from dataclasses import replace

import pytest
import run_files

from sartor.errors import SartorError
from sartor.metrics import COST_METRICS, Metric, index
from sartor.report import figures, words
from sartor.types import Limit, Measurement

LATENCY = index(COST_METRICS)["latency_p95_ms"]
THROUGHPUT = index(COST_METRICS)["throughput_per_s"]


def reading(value, low, high, metric=LATENCY, **more):
    return Measurement(metric, value, low, high, more.pop("n", 100), more.pop("basis", "measured"), **more)


@pytest.mark.parametrize(
    ("metric", "value", "written"),
    [
        (LATENCY, 0.2134, "0.213 ms"),
        (LATENCY, 12.34, "12.3 ms"),
        (LATENCY, 123.4, "123 ms"),
        (LATENCY, 12345.6, "12,346 ms"),
        (LATENCY, 0, "0.00 ms"),
        (THROUGHPUT, 1234.5, "1,234/s"),
        (run_files.ACCURACY, 0.98333, "0.983"),
        (run_files.BY_NAME["accuracy_drop"], -0.00253, "-0.003"),
        (Metric("rmse", "", "lower", "quality", "RMSE"), 544.431, "544.4"),
        (Metric("rmse", "", "lower", "quality", "RMSE"), 3997.815, "3,998"),
        (Metric("rmse", "", "lower", "quality", "RMSE"), 0.96149, "0.961"),
        (Metric("rmse", "", "lower", "quality", "RMSE"), 0.0, "0.000"),
        (Metric("ratio", "×", "lower", "cost", "ratio"), 0.4211, "0.421×"),
    ],
)
def test_a_quantity_has_three_digits_and_its_unit(metric, value, written):
    assert figures.quantity(metric, value) == written


def test_an_interval_has_the_decimals_of_its_value():
    assert figures.interval(LATENCY, reading(0.2134, 0.2, 0.23)) == "0.200 … 0.230"


def test_an_exact_value_has_no_interval():
    assert figures.interval(LATENCY, reading(3.0, 3.0, 3.0)) == ""


@pytest.mark.parametrize(
    ("value", "written"), [(0.97, "≤ 0.97 ms"), (1, "≤ 1 ms"), (1500.0, "≤ 1,500 ms"), (0.00001, "≤ 1e-05 ms")]
)
def test_a_bound_keeps_the_digits_asked_for(value, written):
    assert figures.bound(LATENCY, Limit("latency_p95_ms", "max", value, "k")) == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.42, "0.4 s"), (31.2, "31 s"), (118.0, "1:58"), (7390, "2:03:10"), (59.7, "1:00")]
)
def test_a_duration_reads_like_a_clock(seconds, written):
    assert figures.duration(seconds) == written


@pytest.mark.parametrize(
    ("size", "written"), [(12, "12 bytes"), (61_200, "61 KB"), (4_200_000, "4.2 MB"), (24e9, "24 GB")]
)
def test_a_file_size_is_decimal(size, written):
    assert figures.file_size(int(size)) == written


def test_an_estimate_says_so():
    text = words.provenance(LATENCY, reading(2.0, 1.0, 3.0, n=0, basis="estimated"))
    assert text == "(1.00 … 3.00, estimated)"


def test_untrained_and_noisy_are_said():
    text = words.provenance(LATENCY, reading(2.0, 1.0, 3.0, trained=False, noisy=True))
    assert "untrained weights" in text
    assert "noisy machine" in text


def test_the_verdict_comes_first_with_every_limit_and_its_interval():
    run = run_files.run_file()
    lines = words.verdict_lines(run)
    assert lines[0].startswith("MET   " + words.shown(run.decision.chosen))
    accuracy, latency, size = lines[1:4]
    assert "n=360, test touched once" in accuracy
    assert "≥ 0.93" in accuracy
    assert accuracy.endswith("met")
    assert "ms" in latency
    assert "≤ 1 ms" in latency
    assert "(" not in size  # the size of a file is exact
    assert any(line.startswith("Why this one  ") for line in lines)


def test_columns_are_aligned():
    lines = words.verdict_lines(run_files.run_file())[1:4]
    signs = {max(line.find("≥"), line.find("≤")) for line in lines}
    assert len(signs) == 1


def test_how_often_test_was_touched_is_counted_from_the_records():
    run = run_files.inconclusive()
    assert words.test_uses(run) == 2
    assert "test touched by 2 candidates" in "\n".join(words.verdict_lines(run))


def test_an_infeasible_run_names_binding_limit_best_value_and_what_would_do():
    run = run_files.infeasible()
    text = "\n".join(words.verdict_lines(run))
    assert text.startswith("INFEASIBLE")
    assert "binding limit   latency p95 ≤ 0.02 ms   best reached" in text
    assert "would do, each from a measured candidate" in text
    certificate = run.decision.certificate
    assert certificate is not None
    assert all(words.shown(item.candidate) in text for item in certificate.relaxations)


def test_no_relaxation_is_said():
    run = run_files.infeasible()
    assert run.decision.certificate is not None
    bare = replace(run.decision, certificate=replace(run.decision.certificate, relaxations=()))
    text = "\n".join(words.certificate_lines(replace(run, decision=bare)))
    assert "no measured candidate" in text


def test_an_inconclusive_run_says_what_would_settle_it():
    text = "\n".join(words.verdict_lines(run_files.inconclusive()))
    assert text.startswith("INCONCLUSIVE")
    assert "Advice" in text


def test_every_reason_code_has_one_line_and_the_counts_add_up():
    decision = run_files.run_file().decision
    lines = words.reason_lines(decision)[1:]
    codes = {fate.code for fate in decision.fates if fate.candidate != decision.chosen}
    assert len(lines) == len(codes)
    assert sum(int(line.split()[0]) for line in lines) == len(decision.fates) - 1


def test_one_candidate_alone_has_no_others():
    run = run_files.run_file()
    alone = replace(run.decision, fates=tuple(f for f in run.decision.fates if f.candidate == run.decision.chosen))
    assert words.reason_lines(alone) == ["Not chosen    there was no other candidate"]


def test_a_candidate_is_shown_with_fate_numbers_and_parent():
    text = "\n".join(words.candidate_lines(run_files.run_file(), "tiny-vit-xs/int8/onnxruntime"))
    assert "was not chosen: SLOWER_THAN_PARENT" in text
    assert "parent: tiny-vit-xs · fp32 · onnxruntime" in text
    assert "artifact " in text


@pytest.mark.parametrize("typed", ["resnet9-s · int8 · openvino", "resnet9-s/int8/openvino", "resnet9-s/int8/openv"])
def test_a_candidate_is_found_however_it_is_written(typed):
    record, _ = words.find(run_files.run_file(), typed)
    assert record.candidate.id == "resnet9-s/int8/openvino"


def test_a_misspelt_candidate_gets_the_nearest():
    with pytest.raises(SartorError, match="Did you mean resnet9-s/int8/openvino"):
        words.find(run_files.run_file(), "resnet9-s/int8/openvno")


def test_an_ambiguous_candidate_lists_what_fits():
    with pytest.raises(SartorError, match="fits 6 candidates"):
        words.find(run_files.run_file(), "resnet9-s")


def test_a_metric_nobody_knows_is_still_worded():
    run = run_files.run_file()
    strange = replace(run.requirement, limits=(Limit("charm", "min", 3.0, "limits.charm.min"),))
    assert words.limits_sentence(replace(run, requirement=strange)) == "charm ≥ 3"


def test_time_spent_leaves_out_what_was_reused():
    run = run_files.run_file()
    assert words.run_seconds(run) == pytest.approx(sum(step.seconds for step in run.steps if not step.reused))

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

import run_files

from sartor.cli.explain import command
from sartor.errors import SartorError
from sartor.evidence import write_json
from sartor.stages.decide import decide


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "digits-7f3a"
    write_json(place / "decision.json", run_files.run_file())
    return place


def said(capsys, *arguments, **options) -> str:
    run, *words = arguments
    assert command(run, list(words), **{"html": False, "json": False, **options}) == 0
    return capsys.readouterr().out


def test_the_decision_in_words(folder, capsys):
    text = said(capsys, folder)
    for part in (
        "Requirement",
        "Data          1,224 train",
        "MET   ",
        "Why this one",
        "Not chosen    74",
        "Next",
        "≥ 0.93",
    ):
        assert part in text


def test_the_file_itself_will_do(folder, capsys):
    assert "MET" in said(capsys, folder / "decision.json")


def test_one_candidate(folder, capsys):
    text = said(capsys, folder, "tiny-vit-xs/int8/onnxruntime")
    assert text.startswith("tiny-vit-xs · int8 · onnxruntime was not chosen: SLOWER_THAN_PARENT")


def test_other_limits_decide_again_without_computing(folder, capsys):
    before = sorted(path.name for path in folder.iterdir())
    text = said(capsys, folder, "limits.latency_p95_ms.max=0.1")
    assert "≤ 1 ms  →  ≤ 0.1 ms" in text
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_limit_can_be_dropped(folder, capsys):
    run = run_files.run_file()
    facts = json.loads(said(capsys, folder, "limits.latency_p95_ms=none", "limits.size_mb=none", json=True))
    kept = [limit for limit in run.requirement.limits if limit.metric == "accuracy"]
    assert [limit["metric"] for limit in facts["requirement"]["limits"]] == ["accuracy"]
    expected = decide(run_files.requirement(("accuracy", "min", kept[0].value)), run.records, run.metrics)
    assert facts["decision"]["chosen"] == expected.chosen


def test_a_candidate_under_other_limits(folder, capsys):
    text = said(capsys, folder, "depthwise-l/int8/openvino", "limits.latency_p95_ms.max=0.1")
    assert "≤ 1 ms  →  ≤ 0.1 ms" in text
    assert "was not chosen: TOO_SLOW" in text


def test_json_of_one_candidate(folder, capsys):
    facts = json.loads(said(capsys, folder, "linear/fp32/onnxruntime", json=True))
    assert facts["fate"]["candidate"] == "linear/fp32/onnxruntime"
    assert facts["record"]["measurements"]


def test_the_report_is_written_and_a_what_if_does_not_replace_it(folder, capsys):
    assert said(capsys, folder, html=True).strip() == str(folder / "report.html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert said(capsys, folder, "limits.size_mb=none", html=True).strip() == str(folder / "report-what-if.html")
    assert (folder / "report.html").read_text(encoding="utf-8") == page
    assert (folder / "report-what-if.html").read_text(encoding="utf-8") != page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing-like-it"], "is not a candidate of this run"),
        (["tiny-vit-xs/int8/onxruntime"], "Did you mean tiny-vit-xs/int8/onnxruntime"),
        (["a", "b"], "one candidate at a time"),
        (["seed=3"], "seed cannot be changed after the fact"),
        (["limits.acuracy.min=0.3"], "Did you mean accuracy"),
        (["limits.latency_p95_ms.max=fast"], "fast"),
    ],
)
def test_bad_input_gets_a_sentence(folder, words, message):
    with pytest.raises(SartorError, match=message):
        command(folder, words, html=False, json=False)


def test_a_folder_without_a_decision_gets_a_sentence(tmp_path):
    with pytest.raises(SartorError, match="holds no decision.json"):
        command(tmp_path, [], html=False, json=False)


def test_reading_needs_no_trainer(folder):
    """Explaining and rendering import nothing heavy."""
    code = (
        "import sys; from pathlib import Path; from sartor.cli.explain import command;"
        f"command(Path({str(folder)!r}), ['limits.size_mb.max=3'], html=True, json=False);"
        "heavy = {'torch', 'numpy', 'onnxruntime', 'openvino', 'pyarrow'} & set(sys.modules);"
        "assert heavy <= {'numpy'}, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

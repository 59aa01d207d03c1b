"""Lines that a run prints as it goes."""

from __future__ import annotations

from types import SimpleNamespace

from sartor.cli._progress import Progress
from sartor.types import Candidate, Network, Record


def said(capsys, act):
    act(Progress(SimpleNamespace(task="image-classification", target=SimpleNamespace(device="local"))))
    return " ".join(capsys.readouterr().out.split())


def trained(model, score):
    job = SimpleNamespace(network=Network(model, "s", {}, (8, 8), 2))
    return job, SimpleNamespace(score=score)


def test_what_earlier_runs_trained_is_named(capsys):
    pairs = [trained("mobile", 0.7), trained("resnet9", 0.8), trained("mobile", 0.75)]
    text = said(capsys, lambda progress: progress.recalling(pairs))
    assert text == "3 trainings of earlier runs on the same data are at hand, best resnet9-s 0.800 on validation"
    assert not said(capsys, lambda progress: progress.recalling([]))


def test_families_that_few_runtimes_can_run_are_named(capsys):
    tree, net = Network("gradient-boosting", "s", {}, (8,), 2), Network("tabular-mlp", "s", {}, (8,), 2)
    ways = [(net, "onnxruntime"), (net, "openvino"), (tree, "onnxruntime")]
    records = [Record(Candidate(network, "none", runtime, "fp32", 1)) for network, runtime in ways]
    text = said(capsys, lambda progress: progress.searching(records))
    assert "2 networks in 2 ways" in text
    assert text.endswith("; gradient-boosting in fp32 onnxruntime alone")

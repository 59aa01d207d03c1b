"""Lines that a run prints as it goes."""

from __future__ import annotations

from types import SimpleNamespace

from sartor.catalog.contracts import Action, Outcome
from sartor.cli._progress import Progress
from sartor.jobs import Recipe, TrainResult
from sartor.types import Artifact, Candidate, Network, Record, Refusal


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
    assert "3: 0 baselines, 2 networks in up to 2 ways" in text
    assert "declined" not in text
    assert text.endswith("; gradient-boosting in fp32 onnxruntime alone")


def test_what_is_declined_at_once_counts_as_no_network(capsys):
    net, needy = Network("tabular-mlp", "s", {}, (8,), 2), Network("text-encoder", "", {}, (8,), 2)
    records = [Record(Candidate(net, "none", "onnxruntime", "fp32", 1))]
    refusals = (Refusal("NO_CHECKPOINT", "name its folder"),)
    records.append(Record(Candidate(needy, "none", "onnxruntime", "fp32", 1), refusals=refusals))
    text = said(capsys, lambda progress: progress.searching(records))
    assert "2: 0 baselines, 1 networks in up to 1 ways (fp32 onnxruntime); 1 declined at once" in text


def test_a_phase_is_said_once_however_often_the_run_comes_back_to_it(capsys):
    """Networks are measured between trainings too: that adds to the line of the training, and makes none of its own."""

    class Known:
        measured = 0

        def decision(self):
            return SimpleNamespace(fates=[SimpleNamespace(code="NOT_TRIED", verdicts=[])] * 3)

        def records(self):
            speed = SimpleNamespace(basis="measured", metric=SimpleNamespace(name="latency_p50_ms"))
            return [SimpleNamespace(measurements=[speed])] * self.measured

    known = Known()
    job = SimpleNamespace(recipe=SimpleNamespace(epochs=1, teacher=None, augment=()))
    with_weights = TrainResult(Artifact("0" * 64, "safetensors", 1), (), 0.9, 1.0, 1.0)

    def course(progress):
        stages = ["describe", "measure", "throughput", "measure", "train", "measure", "evaluate", "measure", "compare"]
        purposes = ["estimate", "probe", "train", "probe", "train", "probe", "select", "confirm", "confirm"]
        for stage, purpose in zip(stages, purposes, strict=True):
            known.measured += (stage, purpose) == ("measure", "probe")
            action = Action(stage, job, "mobile-s", purpose)
            progress.doing(action)
            result = with_weights if stage == "train" else None
            progress.learned(action, Outcome("", result, None, 1.0, False), known)
        progress._close_phase()

    act = Progress(SimpleNamespace(task="image-classification", budget=SimpleNamespace(seconds=60)))
    course(act)
    text = " ".join(capsys.readouterr().out.split())
    assert [text.count(phase) for phase in ("estimated", "measured 2", " trained 1", "confirmed")] == [1, 1, 1, 1], text
    assert "mobile-s 0.900 on validation after 1 epoch, 1.0 s" in text
    assert "1 training, best mobile-s 0.900 on validation; 1 more measured on the target" in text


def test_a_reason_is_told_once_for_all_ways_to_run_a_network(capsys):
    known = SimpleNamespace(measured=1, decision=SimpleNamespace(fates=()), records=lambda: ())
    progress = Progress(SimpleNamespace(task="image-classification", budget=SimpleNamespace(seconds=60)))
    for subject in ("one/w8/openvino", "one/w8/onnxruntime", "two/w8/openvino"):
        refusal = Refusal("NOTHING_TO_SHRINK", "it is small")
        action = Action("compress", None, subject, "select")
        progress.learned(action, Outcome("", None, refusal, 1.0, False), known)
    lines = [line for line in capsys.readouterr().out.splitlines() if "NOTHING_TO_SHRINK" in line]
    assert [line.split()[0] for line in lines] == ["one/w8/openvino:", "two/w8/openvino:"]


def test_a_training_without_the_augmentation_of_another_says_so(capsys):
    known = SimpleNamespace(measured=1, decision=SimpleNamespace(fates=()), records=lambda: ())
    progress = Progress(SimpleNamespace(task="image-classification", budget=SimpleNamespace(seconds=60)))
    for subject, augment in (("one", ("auto",)), ("one", ()), ("two", ())):
        recipe = Recipe(2.0, 8, "adamw", 0.1, 0.0, augment=augment)
        result = TrainResult(Artifact("s", "safetensors", 1), (), 0.9, 1.0, 1.0)
        action = Action("train", SimpleNamespace(recipe=recipe), subject, "train")
        progress.learned(action, Outcome("", result, None, 1.0, False), known)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if "validation" in line]
    assert lines == [
        "one 0.900 on validation after 2 epochs, 1.0 s",
        "one 0.900 on validation after 2 epochs, without augmentation, 1.0 s",
        "two 0.900 on validation after 2 epochs, 1.0 s",
    ]

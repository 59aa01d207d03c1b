"""A checkpoint of the hub, from ``model`` in a requirement to a file that answers without its tokenizer's library."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from running import count_as_probed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
library = pytest.importorskip("tokenizers")

from sartor import registry  # noqa: E402
from sartor.errors import Unsupported  # noqa: E402
from sartor.evidence import Workspace  # noqa: E402
from sartor.jobs import ExportJob, PrepareJob, TrainJob  # noqa: E402
from sartor.pipeline import ENCODER, Predictor  # noqa: E402
from sartor.stages.candidates import candidates  # noqa: E402
from sartor.stages.compress import export  # noqa: E402
from sartor.stages.data import prepare, stamp  # noqa: E402
from sartor.stages.measure.staging import lay_out_package  # noqa: E402
from sartor.stages.requirement import read_requirement  # noqa: E402
from sartor.stages.train import train  # noqa: E402
from sartor.testing.runtimes import device  # noqa: E402
from sartor.types import DataSource, Pipeline  # noqa: E402

TASK = "text-classification"
GOOD, BAD = ("a wonderful stay", "酒店很好 🎉", "lovely rooms"), ("a terrible stay", "酒店太差 😡", "dirty rooms")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("reviews")
    for split, count in (("train", 12), ("validation", 3), ("test", 3)):
        rows = [(text, label) for label, texts in (("good", GOOD), ("bad", BAD)) for text in texts]
        lines = [{"text": f"{text} {split} {n}", "label": label} for n in range(count) for text, label in rows]
        (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source, workspace = DataSource(str(root)), Workspace(root / "workspace")
    return source, workspace, prepare(PrepareJob(source, TASK, 0, stamp(source)), workspace).card


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> Path:
    """A tiny RoBERTa with a tokenizer of byte pairs, as the hub's cache holds it: its padding is 1, not 0."""
    folder = tmp_path_factory.mktemp("hub") / "models--owner--tiny" / "snapshots" / "0123456789abcdef"
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = library.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>"]
    trainer = library.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special)
    made.train_from_iterator([*GOOD, *BAD], trainer)
    config = transformers.RobertaConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=17, pad_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.RobertaModel(config).save_pretrained(folder)
    made.save(str(folder / "tokenizer.json"))
    return folder


def offered(source, card, model, family):
    search = {"models": [family], "runtimes": ["onnxruntime"], "precisions": ["fp32"]}
    asked = {"task": TASK, "data": source.train, "model": model, "search": search}
    here = replace(device(), runtimes={"onnxruntime": "1"})
    record, *adapted = candidates(read_requirement(asked), card, here)
    assert [one.candidate.network.id for one in adapted] == (
        [f"{record.candidate.network.id}-lora"] if family == "text-encoder" else []
    )
    return record.candidate.network


def learnt_by(family, data, network):
    recipe = registry.get("models", family).recipe(network, 72, 8)
    recipe = recipe if family == "sentence-encoder" else replace(recipe, learning_rate=3e-3)
    return train(TrainJob(TASK, network, data[2].fingerprint, recipe, 0, 1), data[1])


def test_a_folder_is_fine_tuned(data, snapshot):
    network = offered(data[0], data[2], str(snapshot), "text-encoder")
    assert learnt_by("text-encoder", data, network).score > 0.9


def test_adapters_are_offered_where_there_is_time_and_what_makes_them(data, snapshot, monkeypatch):
    here = replace(device(), runtimes={"onnxruntime": "1"})
    asked = {"task": TASK, "data": data[0].train, "model": str(snapshot), "search": {"models": ["text-encoder"]}}
    quick = candidates(read_requirement({**asked, "budget": {"effort": "quick"}}), data[2], here)
    assert not [record for record in quick if record.candidate.network.id.endswith("-lora")]
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "peft" else found(name, *more))
    without = candidates(read_requirement(asked), data[2], here)
    refusals = {r.candidate.network.id: [refusal.code for refusal in r.refusals] for r in without}
    assert [codes for name, codes in refusals.items() if name.endswith("-lora")] == [["MISSING_EXTRA"]]
    assert [codes for name, codes in refusals.items() if not name.endswith("-lora")] == [[]]


@pytest.mark.slow
@pytest.mark.long
def test_a_run_searches_the_whole_and_adapters_and_measures_them_once(data, snapshot, tmp_path):
    """Through the command line; what is trained last hangs on the machine, so that is not asked."""
    pytest.importorskip("peft")
    count_as_probed(tmp_path / "ws")
    asked = {
        "task": TASK, "data": data[0].train, "model": str(snapshot), "target": {"threads": 1},
        "budget": {"time": "100s"},
        "search": {"models": ["text-encoder"], "runtimes": ["onnxruntime"], "precisions": ["fp32"]},
        "limits": {"latency_p95_ms": {"max": 5000}},
    }  # fmt: skip
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    places = ["--workspace", str(tmp_path / "ws"), "--runs", str(tmp_path / "runs")]
    command = [sys.executable, "-m", "sartor.cli", "run", str(tmp_path / "asked.json"), *places]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (written,) = (tmp_path / "runs").glob("*/decision.json")
    found = json.loads(written.read_text())
    whole = f"text-encoder-tiny-{snapshot.name[:7]}"
    assert {fate["candidate"].split("/")[0] for fate in found["decision"]["fates"]} == {whole, f"{whole}-lora"}
    timed = {record["candidate"]["network"]["variant"] for record in found["records"] if record["measurements"]}
    assert len(timed) == 2
    made = [entry.job["weights"] for entry in Workspace(tmp_path / "ws").evidence().of_stage("export")]
    assert made.count("") == 1
    assert Predictor(written.parent / "package").predict(b"a wonderful stay 99")["label"] in ("good", "bad")


def test_from_an_id_of_the_hub_to_a_file_that_answers(data, snapshot, monkeypatch, tmp_path):
    stand_in = types.SimpleNamespace(snapshot_download=lambda name, **_: str(snapshot))
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    source, workspace, card = data
    network = offered(source, card, "hub:owner/tiny", "sentence-encoder")
    assert (network.variant, network.input_size) == ("tiny-0123456", (15,))  # of 17 places two come before the text
    trained = learnt_by("sentence-encoder", data, network)
    assert trained.score > 0.9
    made = export(ExportJob(TASK, network, card.fingerprint, trained.weights.sha256, 1, 0), workspace).artifact
    pipeline = Pipeline(
        TASK, card.labels, network.input_size, "model.onnx", "onnxruntime", "fp32", 1, 1,
        encoding=network.encoding, learnt=made.learnt,
    )  # fmt: skip
    lay_out_package(tmp_path / "package", made.sha256, pipeline, workspace)
    assert (tmp_path / "package" / ENCODER).stat().st_size < 20_000
    for name in ("tokenizers", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    predictor = Predictor(tmp_path / "package")
    answers = [predictor.predict(text.encode())["label"] for text in ("a wonderful stay 99", "酒店太差 😡 99")]
    assert answers == ["good", "bad"]


def test_a_tokenizer_that_is_not_known_declines_the_candidate(data, snapshot, tmp_path):
    source, workspace, card = data
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(snapshot / name)
    content = json.loads((snapshot / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "pre_tokenizer": {"type": "UnicodeScripts"}}))
    network = offered(source, card, str(tmp_path), "text-encoder")
    with pytest.raises(Unsupported, match="UnicodeScripts"):
        export(ExportJob(TASK, network, card.fingerprint, "", 1, 0), workspace)

"""What the probe's children measure, on graphs whose arithmetic is known."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest

from sartor import registry
from sartor.catalog.devices import _rates
from sartor.codec import canonical_json
from sartor.errors import SartorError, Unsupported
from sartor.testing.runtimes import device


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Graphs that run in a millisecond."""
    monkeypatch.setattr(_rates, "SIDE", 32)
    monkeypatch.setattr(_rates, "CHANNELS", 16)
    monkeypatch.setattr(_rates, "PIXELS", 8)
    monkeypatch.setattr(_rates, "SECONDS", 0.01)
    monkeypatch.setattr(_rates, "BUFFER_BYTES", 1 << 20)


def test_operations_of_the_chains_by_hand():
    assert _rates.matrix_chain(8, quantised=False)[2] == 8 * 2 * 32**3
    assert _rates.convolution_chain(3, quantised=True)[2] == 3 * 2 * 16 * 16 * 8 * 8 * 9


@pytest.mark.parametrize("build", [_rates.matrix_chain, _rates.convolution_chain])
@pytest.mark.parametrize("quantised", [False, True])
def test_chains_are_valid_graphs_that_hold_all_their_products(build, quantised):
    model, example, _ = build(8, quantised=quantised)
    onnx.checker.check_model(model, full_check=True)
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("MatMul") + operators.count("Conv") == 8
    assert ("QuantizeLinear" in operators) is quantised
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (answer,) = session.run(None, {"input": example})
    assert answer.size == 1
    assert np.isfinite(answer).all()


@pytest.mark.parametrize("build", [_rates.matrix_chain, _rates.convolution_chain])
def test_quantised_chains_run_in_int8(build, tmp_path):
    model, _, _ = build(2, quantised=True)
    (tmp_path / "model").write_bytes(model.SerializeToString())
    session = registry.get("runtimes", "onnxruntime").load(tmp_path / "model", "int8", 1)
    assert session.effective_precision == "int8"


def test_the_fastest_call_counts_and_the_warm_up_does_not(monkeypatch):
    durations, now = iter([9.0, 4.0, 2.0, 3.0]), [0.0]
    monkeypatch.setattr(_rates.time, "perf_counter", lambda: now[0])

    def call():
        now[0] += next(durations)

    assert _rates.fastest(call, seconds=1.0) == 2.0


def test_rates_of_a_runtime_by_precision():
    found = _rates.runtime_rates("onnxruntime", device(("avx2",)))
    assert set(found["rates"]) == {"fp32", "int8"}
    assert all(rate > 0 for rate in found["rates"].values())
    assert found["problems"] == []


def test_a_rate_belongs_to_the_precision_truly_used(monkeypatch):
    class Pretender:
        name, accepts = "pretender", frozenset({"onnx"})
        version = staticmethod(lambda: "1")
        precisions = staticmethod(lambda device: {"bf16": "none", "int8": "int8-static"})

        def load(self, path, precision, threads):
            if precision == "int8":
                raise Unsupported("NO_INT8", "no")
            session = registry.get("runtimes", "onnxruntime").load(path, "fp32", threads)
            return type("S", (), {"run": staticmethod(session.run), "effective_precision": "fp32"})()

    monkeypatch.setattr(_rates.registry, "get", lambda kind, name, real=registry.get: (
        Pretender() if name == "pretender" else real(kind, name)
    ))  # fmt: skip
    found = _rates.runtime_rates("pretender", device())
    assert set(found["rates"]) == {"fp32"}
    assert found["problems"] == ["pretender in int8: NO_INT8: no"] * 2


def test_a_runtime_that_multiplies_wrongly_is_found(tmp_path):
    class Wrong:
        name = "wrong"

        def load(self, path, precision, threads):
            return type("S", (), {"run": staticmethod(lambda batch: np.zeros((4, 3), np.float32))})()

    with pytest.raises(SartorError, match="wrongly"):
        _rates.self_test(Wrong(), tmp_path / "model")
    _rates.self_test(registry.get("runtimes", "onnxruntime"), tmp_path / "model")


def test_bandwidth_of_a_tiny_buffer_is_a_number():
    assert _rates.bandwidth(replace(device(), cores=3)) > 1e6


def test_the_child_answers_in_json():
    command = [sys.executable, "-P", "-m", "sartor.catalog.devices._rates", "bandwidth"]
    small_device = replace(device(), memory_bytes=16 << 20)
    child = subprocess.run(command, input=canonical_json(small_device), capture_output=True, text=True, timeout=60)
    assert child.returncode == 0, child.stderr
    assert json.loads(child.stdout.splitlines()[-1])["bytes_per_s"] > 0

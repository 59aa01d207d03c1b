"""Static int8 made by NNCF: loud channels of activations are moved into the weights first, biases corrected after."""

from __future__ import annotations

import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from sartor.catalog.compressors.parts.options import require_tolerance, settings_of
from sartor.catalog.compressors.parts.qdq import Reader, between, prepare, suiting, weighted_places
from sartor.catalog.compressors.parts.qdq_suiting import drop_clipping, store_activations, store_biases
from sartor.catalog.compressors.parts.trials import Trials
from sartor.errors import MissingExtra, SartorError, Unsupported
from sartor.registry import register
from sartor.types import Device, Options, Provenance

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

ALL = 1.0  # of the noise of plain int8


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Args:
        tolerance: share of the noise of plain int8 that may be left, above 0, at most 1; at 1 nothing is compared.
        activation, reduce_range: as for ``int8-static``.
    """

    tolerance: float = ALL
    activation: Literal["uint8", "int8"] = "uint8"
    reduce_range: bool = False


@register("compressors", "int8-nncf")
class Int8Nncf:
    """NNCF's quantisation after training: a repair of static int8 that keeps every product in 8 bits.

    In networks with attention, what makes one channel of activations loud goes into the weights behind it
    (SmoothQuant). Ranges are the extremes seen: the means of samples' extremes, NNCF's own choice, left more noise.
    Weights have a scale per channel, and biases take back what quantisation shifts. Operators are those that
    ``int8-static`` quantises, and the file is run like one of its.

    Source: Xiao et al. 2022, arXiv:2211.10438 (SmoothQuant); Nagel et al. 2019, arXiv:1906.04721 (biases).
    """

    name: str
    accepts = frozenset({"onnx"})
    produces = "onnx"
    precision = "int8"
    needs_products = True
    repairs = "int8-static"
    in_bytes = True
    extra = "nncf"
    provenance = Provenance(
        source="https://github.com/openvinotoolkit/nncf", licence="Apache-2.0", paper="https://arxiv.org/abs/2211.10438"
    )

    def is_installed(self) -> bool:
        """Whether NNCF is there; nothing is imported."""
        return importlib.util.find_spec("nncf") is not None

    def options(self, device: Device) -> Options:
        """Options that suit a device: what is fast and exact on its instruction sets."""
        return suiting(device)

    def apply(self, source: Path, target: Path, calibration: Array, options: Options, seed: int) -> str:
        """Quantise the ONNX file ``source`` into ``target``.

        Args:
            source: a graph with one input of static shape (batch, …).
            target: written whole.
            calibration: (n, …) of the input's type; below a tolerance of 1 half of it judges what the other half made.
            options: see :class:`Settings`.
            seed: unused; samples are taken in order.

        Returns:
            Who quantised it, in one sentence.

        Raises:
            Unsupported: ``BAD_OPTION``; ``NOTHING_TO_QUANTISE`` for a graph without weighted operators;
                ``NO_CALIBRATION`` without samples; ``NOT_REPAIRED`` where more noise is left than the tolerance allows,
                or would be: in networks without attention; ``QUANTISATION_FAILED``.
            MissingExtra: NNCF is not installed.
        """
        import onnx

        settings = settings_of("int8-nncf", Settings, options)
        require_tolerance(settings.tolerance)
        if len(calibration) == 0:
            raise Unsupported("NO_CALIBRATION", "int8-nncf needs calibration samples and was given none")
        if not weighted_places(onnx.load(source, load_external_data=False).graph):
            raise Unsupported("NOTHING_TO_QUANTISE", "the graph has no convolution or matrix product that may be 8-bit")
        compared = settings.tolerance < ALL
        with TemporaryDirectory(dir=target.parent, prefix="quantise-") as folder, _quiet():
            prepared = Path(folder) / "prepared.onnx"
            try:
                model = prepare(source, prepared)
                if compared and not has_attention(model.graph):
                    raise Unsupported("NOT_REPAIRED", "without attention NNCF leaves about the noise of plain int8")
                made = quantised(_import(), model, calibration[::2] if compared else calibration, settings)
                left = share_of_noise(prepared, made, calibration, settings) if compared else 0.0
            except (OSError, SartorError):  # a full disk, say, is no reason against a graph
                raise
            except Exception as error:  # NNCF raises classes of its own, all bare Exceptions
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                raise Unsupported("QUANTISATION_FAILED", f"NNCF cannot quantise this graph: {reason}") from error
            if left > settings.tolerance:
                raise Unsupported("NOT_REPAIRED", f"quantised by NNCF it keeps {left:.0%} of the noise of plain int8")
            onnx.save(made, target)
        return "quantised by NNCF"


def quantised(nncf: Any, model: Any, calibration: Array, settings: Settings) -> Any:
    """The graph (a ``ModelProto`` that ``prepare`` wrote) in 8 bits, ranges from samples (n, …)."""
    from nncf.quantization.advanced_parameters import QuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    reader = Reader(model.graph.input[0], calibration)
    chosen = set(between(model.graph, weighted_places(model.graph)))
    made = nncf.quantize(
        model,
        nncf.Dataset(list(reader)),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(reader),
        fast_bias_correction=True,
        model_type=nncf.ModelType.TRANSFORMER if has_attention(model.graph) else None,
        ignored_scope=nncf.IgnoredScope(
            names=[node.name for node in model.graph.node if node.name not in chosen], validate=False
        ),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE if settings.reduce_range else nncf.OverflowFix.DISABLE,
            # of depthwise convolutions NNCF would give activations a scale per channel, which ONNX Runtime cannot run
            activations_quantization_params=QuantizationParameters(per_channel=False),
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        ),
    )
    store_activations(made, settings.activation)
    drop_clipping(made)
    store_biases(made)
    return made


def share_of_noise(prepared: Path, made: Any, samples: Array, settings: Settings) -> float:
    """Noise of a quantised graph over that of plain int8, on samples that gave neither a range."""
    trials = Trials(
        prepared, samples, per_channel=True, reduce_range=settings.reduce_range, activation=settings.activation
    )
    plain = trials.noise(trials.made(trials.ranges("MinMax"), trials.weighted))
    return trials.noise(made) / max(plain, 1e-12)


def has_attention(graph: Any) -> bool:
    """Whether a graph multiplies activations with activations."""
    held = {tensor.name for tensor in graph.initializer}
    return any(
        node.op_type == "Attention" or (node.op_type == "MatMul" and not held & set(node.input)) for node in graph.node
    )


def _import() -> Any:
    """NNCF without its telemetry client, and without what it does to the loggers of others.

    Raises:
        MissingExtra: it is not installed.
    """
    hidden = "openvino_telemetry"
    there, loggers = sys.modules.get(hidden), logging.getLoggerClass()
    sys.modules[hidden] = None  # type: ignore[assignment]  # makes its import an ImportError: then nothing is sent
    try:
        import nncf
    except ImportError as error:
        raise MissingExtra("int8-nncf", "nncf", "nncf") from error
    finally:
        logging.setLoggerClass(loggers)
        del sys.modules[hidden]
        if there is not None:
            sys.modules[hidden] = there
    nncf.set_log_level(logging.CRITICAL)  # what ends it comes as an exception
    return nncf


@contextmanager
def _quiet() -> Iterator[None]:
    """Progress bars and deprecations of others' interfaces are not for the user."""
    with redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

"""A torch module as the operations that its exported graph would hold, from one forward pass without arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sartor.stages.predict.operations import Operation, Shape

if TYPE_CHECKING:
    import torch

Seen = Callable[[str, Sequence[Any], Mapping[str, Any], Any], None]
"""Told an operator's name, its arguments and what it gave."""

PLAIN: Mapping[str, str] = {
    **{name: name.title() for name in ("relu", "sigmoid", "tanh", "gelu", "erf", "exp", "sqrt", "log", "neg", "abs")},
    **{"hardswish": "HardSwish", "silu": "HardSwish", "hardtanh": "Clip", "clamp": "Clip", "relu6": "Clip"},
    **{"leaky_relu": "LeakyRelu", "elu": "Elu", "hardsigmoid": "HardSigmoid", "softplus": "Softplus", "mish": "Mish"},
    **{"add": "Add", "sub": "Sub", "rsub": "Sub", "mul": "Mul", "div": "Div", "pow": "Pow", "rsqrt": "Sqrt"},
    **{"maximum": "Max", "minimum": "Min", "where": "Where", "masked_fill": "Where"},
    **{"_softmax": "Softmax", "_safe_softmax": "Softmax", "_log_softmax": "LogSoftmax"},
    **{"native_layer_norm": "LayerNormalization", "native_group_norm": "GroupNormalization"},
    **{"_to_copy": "Cast", "clone": "Identity", "cat": "Concat", "stack": "Concat", "constant_pad_nd": "Pad"},
    **{"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin", "max": "ReduceMax"},
    **{"argmax": "ArgMax", "topk": "TopK", "cumsum": "CumSum", "linalg_vector_norm": "ReduceL2"},
    **{"_adaptive_avg_pool2d": "GlobalAveragePool", "avg_pool2d": "AveragePool", "max_pool2d_with_indices": "MaxPool"},
    **{"upsample_nearest2d": "Resize", "upsample_bilinear2d": "Resize", "_upsample_nearest_exact2d": "Resize"},
    **{"embedding": "Gather", "index_select": "Gather", "gather": "GatherElements", "index": "Gather"},
    **{"permute": "Transpose", "transpose": "Transpose", "t": "Transpose"},
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "alias", "detach"), "Reshape"),
    **dict.fromkeys(("slice", "select", "narrow"), "Slice"),
    **{"expand": "Expand", "split": "Split", "split_with_sizes": "Split", "chunk": "Split", "unbind": "Split"},
    **dict.fromkeys(("mm", "bmm"), "MatMul"),
}
"""Operator of torch to that of ONNX, where the inputs stand in the same order."""
CONVOLUTIONS = frozenset({"convolution", "_convolution"})
NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})


class Tracer:
    """Takes down operations while a module runs; ``seen`` is called by a dispatch mode, ``watching`` hooks recurrences.

    Args:
        module: whose parameters and buffers are constants.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self.operations: list[Operation] = []
        self._names: dict[int, str] = {}
        self._kept: list[Any] = []  # so that no id is given out twice
        self._fixed: set[str] = set()
        self._muted = 0
        for tensor in (*module.parameters(), *module.buffers()):
            self._fixed.add(self._name(tensor))

    def _name(self, tensor: Any) -> str:
        if id(tensor) not in self._names:
            self._names[id(tensor)] = f"t{len(self._kept)}"
            self._kept.append(tensor)
        return self._names[id(tensor)]

    def _made(self, tensor: Any) -> str:
        """A new name, also where an operator changed a tensor that was there."""
        self._names[id(tensor)] = name = f"t{len(self._kept)}"
        self._kept.append(tensor)
        return name

    def seen(self, operator: str, args: Sequence[Any], kwargs: Mapping[str, Any], out: Any) -> None:
        """Take down one call of an operator of torch."""
        if self._muted:
            return
        tensors, settings = _read(operator.removesuffix("_"), args, kwargs)
        made = _first(out)
        if made is None or not tensors:
            return
        names = tuple(self._name(one) for one in tensors)
        if all(name in self._fixed for name in names):  # folded before it runs
            self._fixed.add(self._made(made))
            return
        kind = _kind(operator.removesuffix("_"), args)
        if operator in ("add", "mul", "sub", "div") and len(tensors) == 1:
            settings = {**settings, "scalar": True}
        fixed = tuple(name in self._fixed for name in names)
        given: tuple[Shape | None, ...] = tuple(tuple(one.shape) for one in tensors)
        outputs = tuple(self._made(one) for one in _all(out))
        self.operations.append(Operation(kind, names, outputs, given, tuple(made.shape), fixed, settings))

    @contextmanager
    def watching(self, module: torch.nn.Module) -> Iterator[None]:
        """Recurrences are one operation, as they are exported; what torch makes of them is not taken down."""
        from torch import nn

        def before(part: Any, given: Any) -> None:
            self._muted += 1

        def after(part: Any, given: Any, out: Any) -> None:
            self._muted -= 1
            if not self._muted:
                self._recurrence(part, given[0], out[0])

        parts = [part for part in module.modules() if isinstance(part, (nn.LSTM, nn.GRU))]
        handles = [part.register_forward_pre_hook(before) for part in parts]
        handles += [part.register_forward_hook(after) for part in parts]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _recurrence(self, part: Any, x: Any, out: Any) -> None:
        """One operation per layer; weights are named after it."""
        batch, length, _ = x.shape if part.batch_first else (x.shape[1], x.shape[0], 0)
        ways, gates = 2 if part.bidirectional else 1, 4 if part.mode == "LSTM" else 3
        name, width = self._name(x), x.shape[-1]
        for layer in range(part.num_layers):
            weights: tuple[Shape, ...] = (
                (ways, gates * part.hidden_size, width),
                (ways, gates * part.hidden_size, part.hidden_size),
            )
            last = self._made(out) if layer == part.num_layers - 1 else f"{name}-{layer}"
            names = (name, f"{last}-w", f"{last}-r")
            made = (length, ways, batch, part.hidden_size)
            given = ((length, batch, width), *weights)
            self.operations.append(Operation(part.mode, names, (last,), given, made, (False, True, True)))
            name, width = last, ways * part.hidden_size


def _all(out: Any) -> list[Any]:
    import torch

    parts = out if isinstance(out, (tuple, list)) else (out,)
    return [one for one in parts if isinstance(one, torch.Tensor)]


def _first(out: Any) -> Any:
    return next(iter(_all(out)), None)


def _kind(operator: str, args: Sequence[Any]) -> str:
    if operator in CONVOLUTIONS:
        return "ConvTranspose" if args[6] else "Conv"
    if operator in NORMS:
        return "BatchNormalization"
    if operator == "addmm":
        return "Gemm"
    return PLAIN.get(operator, operator)


def _read(operator: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The tensors an operator takes, in ONNX's order, and what else of its arguments matters."""
    import torch

    flat: list[Any] = []
    for one in (*args, *kwargs.values()):
        flat += one if isinstance(one, (tuple, list)) else [one]
    tensors = [one for one in flat if isinstance(one, torch.Tensor)]
    if operator in CONVOLUTIONS:
        return tensors, {"group": args[8], "strides": list(args[3])}
    if operator in NORMS:
        return tensors[:1], {}
    if operator == "addmm":  # bias first
        return [tensors[1], tensors[2], tensors[0]], {}
    if operator in ("max_pool2d_with_indices", "avg_pool2d"):
        return tensors, {"kernel_shape": list(args[1])}
    return tensors, {}

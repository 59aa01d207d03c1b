"""What a network costs whatever its weights: operations, parameters, bytes moved, layers. Nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sartor import registry
from sartor.errors import MissingExtra, Unsupported
from sartor.evidence import Workspace
from sartor.jobs import DescribeJob, DescribeResult, NetworkCost
from sartor.networks import build, example
from sartor.progress import Tell, silent
from sartor.stages.predict.kernels import RULES, fused
from sartor.stages.predict.tracing import Seen, Tracer
from sartor.types import Network

if TYPE_CHECKING:
    import torch

FP32_BYTES = 4


def describe(job: DescribeJob, workspace: Workspace, tell: Tell = silent) -> DescribeResult:
    """Count what each network costs at batch 1, on torch's meta device: shapes only, no memory, no arithmetic.

    A network that cannot be built or run has no cost and is left out: it gets no estimate, and what is wrong with it
    is the refusal that its export gives.

    Example:
        >>> describe(DescribeJob(task, (network,)), workspace).costs[0].operations  # doctest: +SKIP

    Raises:
        MissingExtra: torch is not installed.
    """
    costs = []
    for place, network in enumerate(job.networks):
        tell(f"counting {network.id}", place / len(job.networks))
        try:
            costs.append(cost_of(network, job.task))
        except Unsupported as refusal:
            tell(str(refusal))
    return DescribeResult(tuple(costs))


def cost_of(network: Network, task: str) -> NetworkCost:
    """Cost of one network from a forward pass on the meta device, or on the CPU where a family needs values.

    A family that runs what torch does not see counts itself, by a method ``cost``.

    Raises:
        Unsupported: ``NO_COST``: it cannot be built, or not run on its input size.
    """
    own = getattr(registry.get("models", network.model), "cost", None)
    if own is not None:
        counted: NetworkCost = own(network)
        return counted
    try:
        import torch
    except ModuleNotFoundError as error:
        raise MissingExtra("counting a network's operations", "train", "torch") from error

    try:
        return _count(network, task, torch.device("meta"))
    except Exception:  # a family may raise anything: initialisers that look at values (SVD, .item()) have no meta form
        try:
            return _count(network, task, torch.device("cpu"))
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise Unsupported("NO_COST", f"{network.id} cannot be run on {network.input_size}: {reason}") from error


def _count(network: Network, task: str, device: torch.device) -> NetworkCost:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with device:
        module = build(network, task).eval()
        blank = example(network, task)
    tracer = Tracer(module)
    counter = counting_mode(tracer.seen)
    # fused attention on the CPU is one opaque operator; the plain form shows its two matrix products
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), tracer.watching(module), counter:
        module(blank)
    return NetworkCost(
        network=network.id,
        operations=counter.operations,
        parameters=_kept_numbers(module, counter.read | counter.looked_up),
        activation_bytes=counter.activation_bytes,
        layers=counter.layers,
        looked_up=sum(
            tensor.numel()
            for tensor in (*module.parameters(), *module.buffers())
            if tensor.is_floating_point() and _storage(tensor) in counter.looked_up - counter.read
        ),
        rows=counter.rows,
        kernels={runtime: fused(tracer.operations, runtime) for runtime in RULES},
    )


def _kept_numbers(module: torch.nn.Module, used: set[int]) -> int:
    """Parameters, and float buffers that hold what was learnt (of a k-nearest-neighbours model, its samples).

    Running statistics of batch normalisation are not counted: they fold into the layer before. Nor are
    parameters that an answer does not use (what a margin loss compares with): they do not ship.
    """
    from torch.nn.modules.batchnorm import _NormBase

    folded = {id(buffer) for part in module.modules() if isinstance(part, _NormBase) for buffer in part.buffers()}
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point() and id(buffer) not in folded]
    parameters = [tensor for tensor in module.parameters() if _storage(tensor) in used]
    return sum(tensor.numel() for tensor in (*parameters, *buffers))


def counting_mode(seen: Seen | None = None) -> Any:
    """A torch dispatch mode that counts while a module runs; ``seen`` is told of every operator's call.

    Its ``operations`` are 2 × multiply-accumulates of convolutions and matrix products (the formulas are torch's own
    ``flop_registry``), ``layers`` their number, ``activation_bytes`` the fp32 bytes that all operators write.
    ``looked_up`` names the tables of which rows were taken, ``rows`` counts the numbers taken; ``read`` names what was
    read whole.
    """
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves
    from torch.utils.flop_counter import flop_registry

    class Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.operations = self.activation_bytes = self.layers = self.rows = 0
            self.looked_up: set[int] = set()
            self.read: set[int] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if seen is not None:
                seen(func._overloadpacket.__name__, args, kwargs or {}, out)
            formula = flop_registry.get(func._overloadpacket)
            if formula is not None:
                self.layers += 1
                self.operations += int(formula(*args, **(kwargs or {}), out_val=out))
            if _writes(func):
                given = [_storage(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
                written = sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
                if func._overloadpacket.__name__ in _LOOK_UPS:
                    self.looked_up.update(given[:1])
                    self.rows += _rows_taken(func._overloadpacket.__name__, args, written)
                else:
                    self.read.update(given)
                self.activation_bytes += written * FP32_BYTES
            return out

    return Counting()


_LOOK_UPS = frozenset({"embedding", "_embedding_bag", "_embedding_bag_forward_only", "index_select", "gather", "index"})
"""Operators that take a few rows of their first tensor."""


def _rows_taken(operator: str, args: Sequence[Any], written: int) -> int:
    """Numbers that a look-up reads: as many as it writes, but for a bag, which writes the sum of its rows."""
    return int(args[1].numel() * args[0].shape[1]) if "bag" in operator else written


def _storage(tensor: torch.Tensor) -> int:
    """Names the memory behind a tensor and its views, on the meta device too."""
    return int(tensor.untyped_storage()._cdata)


def _writes(func: Any) -> bool:
    """False for views, which only give a tensor another shape."""
    if func._overloadpacket.__name__ == "_unsafe_view":  # a view whose schema does not say so
        return False
    aliases = [given.alias_info for given in func._schema.returns]
    return any(alias is None or alias.is_write for alias in aliases)

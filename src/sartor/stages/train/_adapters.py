"""Low-rank adapters beside the attention of a frozen network, and back to plain weights. Needs torch; import it lazily.

Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", arXiv:2106.09685, by peft (Apache-2.0).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sartor import tuning
from sartor.errors import Unsupported
from sartor.stages.train._layers import following

_STRENGTH = 2.0  # what an adapter adds is multiplied by it


def adapt(module: nn.Module, rank: int, name: str) -> None:
    """Freeze a module, in place, but for adapters of its attention projections and what comes after the last of them.

    At first the adapters add nothing (one of the two matrices is 0); the caller has seeded torch for the other.

    Raises:
        Unsupported: ``NO_ATTENTION``: there is nothing to adapt.
        MissingExtra: peft is not installed.
    """
    tuning.require()
    targets = attention_projections(module)
    if not targets:
        raise Unsupported("NO_ATTENTION", f"{name} has no attention whose projections adapters could change")
    named = dict(module.named_parameters())
    head = [named[parameter] for parameter in following(module, targets[-1])]
    from peft import LoraConfig, inject_adapter_in_model

    exact = "|".join(re.escape(target) for target in targets)
    config = LoraConfig(r=rank, lora_alpha=_STRENGTH * rank, target_modules=f"({exact})", bias="none")
    inject_adapter_in_model(config, module)
    for parameter in head:
        parameter.requires_grad_(True)


def attention_projections(module: nn.Module) -> list[str]:
    """Names of the linear layers within attention: those that lie in a part whose class says that it is attention."""
    attention = [name for name, part in module.named_modules() if "attention" in type(part).__name__.lower()]
    within = tuple(f"{name}." for name in attention)
    return [name for name, part in module.named_modules() if isinstance(part, nn.Linear) and name.startswith(within)]


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Add what adapters learnt to the weights beside them, in place: the module is the plain one again."""
    if not is_adapted(module):
        return
    from peft.tuners.lora import LoraLayer

    for name, part in list(module.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge()
            module.set_submodule(name, part.get_base_layer())


def is_adapted(module: nn.Module) -> bool:
    """Whether anything in it is an adapter; does not load peft."""
    return any(hasattr(part, "lora_A") for part in module.modules())


def moving_names(module: nn.Module) -> list[str]:
    """Names of the state that training changes, in its order: weights that are learnt, and all buffers."""
    frozen = {name for name, weight in module.named_parameters(remove_duplicate=False) if not weight.requires_grad}
    return [name for name in module.state_dict() if name not in frozen]


def state_of(module: nn.Module, names: Sequence[str]) -> dict[str, Tensor]:
    """So much of a module's state."""
    state = module.state_dict()
    return {name: state[name] for name in names}

"""How high in a network each weight lies, from the order of its parts. Needs torch; import it inside functions only."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def rate_shares(module: nn.Module, lowest: float) -> dict[str, float]:
    """Name of a parameter -> the share of the learning rate at which it learns.

    What comes before the first block has the share ``lowest``, what comes after the last one, the head, has 1; over the
    blocks it grows by the same factor from each to the next. So a value means the same for six blocks and for
    twenty-four. All have 1 where there are no blocks to tell apart.

    Source: Howard and Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning).
    """
    heights: dict[str, int] = {}
    height, last = 0, None
    above: list[str] = []
    for name, block in _in_order(module, ""):
        if block is not None and block is not last:
            height, last, above = height + 1, block, []
        elif block is None:
            above.append(name)
        heights[name] = height
    if not height:
        return dict.fromkeys(heights, 1.0)
    heights |= dict.fromkeys(above, height + 1)
    return {name: lowest ** (1 - place / (height + 1)) for name, place in heights.items()}


def following(module: nn.Module, layer: str) -> list[str]:
    """Names of the parameters above the block that a layer lies in, in order."""
    found: list[str] = []
    own: nn.Module | None = None
    reached = False
    for name, block in _in_order(module, ""):
        if name.startswith(f"{layer}."):
            own, reached, found = block, True, []
        elif reached and (block is None or block is not own):
            found.append(name)
    return found


def _in_order(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module | None]]:
    """Every parameter in the order of the parts, with the block it lies in.

    What a module that holds blocks has of its own counts as above them: centres of classes are, and for the places of
    patches a higher rate is no harm.
    """
    for name, child in module.named_children():
        if not _is_stack(child):
            yield from _in_order(child, f"{prefix}{name}.")
            continue
        for number, member in child.named_children():
            place = f"{prefix}{name}.{number}."
            if any(_is_stack(part) for part in member.modules()):  # a stage
                yield from _in_order(member, place)
            else:
                yield from ((place + inner, member) for inner, _ in member.named_parameters())
    yield from ((prefix + name, None) for name, _ in module.named_parameters(recurse=False))


def _is_stack(part: nn.Module) -> bool:
    """Whether it is a row of blocks: of one class, each made of parts, with weights."""
    members = list(part.children())
    return (
        isinstance(part, (nn.Sequential, nn.ModuleList))
        and len(members) > isinstance(part, nn.Sequential)
        and len({type(member) for member in members}) == 1
        and all(list(member.children()) and any(True for _ in member.parameters()) for member in members)
    )

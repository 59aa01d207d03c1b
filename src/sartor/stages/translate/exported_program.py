"""Reads a program that ``torch.export.save`` wrote without running any of what the file may bring along.

``torch.export.load`` is not safe on a stranger's file (torch 2.13): sample inputs, tensor subclasses, opaque objects
and the weights of older files are unpickled with ``weights_only=False``; sizes go through ``sympy.sympify``, which
evaluates them; guards, argument names and names of nodes become source code; a target may be any attribute of torch;
compiled code is loaded. So torch is given an archive written anew: raw tensors and the graph alone, every name, size
and target of which is held to an allow-list.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from sartor.errors import Refused
from sartor.modelfile import MAX_BYTES

_GRAPH = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_PLAIN = frozenset({"archive_format", "archive_version", "byteorder", ".data/version"})
_UNREAD = re.compile(
    r"data/sample_inputs/\w+\.pt|\.data/serialization_id|\.format_version|\.storage_alignment|extra/.+"
)
_MOST_MEMBERS = 100_000
_LONGEST_EXTRA = 1 << 20  # bytes

_NAME = re.compile(r"\w+(\.\w+)*")  # parameters of unnamed layers begin with a digit
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims)\.(?!from_file)\w+\.\w+"
    r"|torch\.ops\.higher_order\.wrap_with_set_grad_enabled"
    r"|torch\.sym_\w+|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|and_|or_|eq|ne|lt|le|gt|ge)"
)
_SYMBOL = re.compile(r"(s|u|zuf|zf)\d+")
_FUNCTION_NAMES = (
    "Symbol Integer Float Rational Add Mul Pow positive negative nonnegative integer real finite precision evaluate "
    "Max Min Eq Ne Lt Le Gt Ge And Or Not True False ceiling floor FloorDiv ModularIndexing Where PythonMod Mod "
    "CleanDiv CeilToInt FloorToInt CeilDiv IntTrueDiv FloatTrueDiv TruncToInt TruncToFloat RoundToInt ToFloat Identity"
)
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_SIZES = re.compile(r"(?:[\w\s+\-*/(),.<>=]|'(?:(?:s|u|zuf|zf)\d+|-?\d+\.?\d*)'){0,1000}")
_TREES = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})


def read_program(content: bytes, name: str) -> tuple[bytes, Mapping[str, str]]:
    """An archive that ``torch.export.load`` may read, and the texts that the file carries beside the graph.

    Args:
        content: of a file ``.pt2``.
        name: of the file, for messages.

    Raises:
        Refused: it is damaged, of another kind, or holds what would be run or unpickled.
    """
    parts, extra = _members(content, name)
    graph = _document(parts, _GRAPH, name)
    _check_graph(graph, name)
    parts[_GRAPH] = json.dumps(graph).encode()
    for config in _CONFIGS:
        document = _document(parts, config, name)
        for label, entry in document.get("config", {}).items():
            if not isinstance(entry, dict) or entry.get("use_pickle") or not entry.get("tensor_meta"):
                raise Refused(
                    f"{name} keeps {_shown(label)} as a pickle; export it with plain tensors on the processor"
                )
            if not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
                raise Refused(
                    f"{name} keeps {_shown(label)} in {_shown(entry.get('path_name'))}; that is no raw tensor"
                )
        _onto_cpu(document)
        parts[config] = json.dumps(document).encode()
    parts["data/sample_inputs/model.pt"] = b""  # a pickle; torch does without
    return _archive(parts), extra


def _members(content: bytes, name: str) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is read of an archive, by name within its one folder, and the texts of the folder ``extra``."""
    parts: dict[str, bytes] = {}
    extra: dict[str, str] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if min((entry.header_offset for entry in entries), default=1):
                raise zipfile.BadZipFile(
                    "its directory is that of an archive within"
                )  # the end of the outer is missing
            if len(entries) > _MOST_MEMBERS or sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise Refused(f"{name} unpacks to more than {MAX_BYTES:,} bytes; that is not loaded")
            for entry in entries:
                _, _, member = entry.filename.partition("/")
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise Refused(f"{name}: {_shown(member)} is compressed, which torch.export.save does not do")
                if member in _PLAIN or member == _GRAPH or member in _CONFIGS or _RAW.fullmatch(member):
                    if member in parts:
                        raise Refused(f"{name} holds {_shown(member)} twice")
                    parts[member] = archive.read(entry)
                elif not _UNREAD.fullmatch(member):
                    raise Refused(f"{name} holds {_shown(entry.filename)}{_reason(entry.filename)}")
                elif member.startswith("extra/") and entry.file_size <= _LONGEST_EXTRA:
                    extra[member.removeprefix("extra/")] = archive.read(entry).decode("utf-8", "replace")
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise Refused(f"{name} is not a program of torch.export.save, or it is cut off ({error})") from None
    missing = [part for part in (_GRAPH, *_CONFIGS, "archive_version") if part not in parts]
    if missing:
        raise Refused(f"{name} lacks {missing[0]}; save the program anew with torch.export.save")
    return parts, extra


def _reason(member: str) -> str:
    """Why a member is not read, and what would be right."""
    if member.endswith("data.pkl"):
        return ", a pickle of torch.save; export the network itself: torch.export.save(torch.export.export(…), path)"
    if "aotinductor" in member:
        return ", compiled code; save the exported program instead: torch.export.save"
    if member.endswith((".pt", ".json")):
        return ", of a format with pickled weights; save it anew with torch.export.save of torch 2.9 or later"
    return ", which torch would unpickle or run; save a program of tensors and standard operators alone"


def _document(parts: Mapping[str, bytes], member: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(parts[member])
    except (ValueError, RecursionError):
        raise Refused(f"{name}: {member} is not valid JSON; the file is damaged") from None
    if not isinstance(found, dict):
        raise Refused(f"{name}: {member} is no JSON object; the file is damaged")
    return found


# -------------------------------------------------------------------------------------------------------- graph


def _check_graph(document: dict[str, Any], name: str) -> None:
    """Refuse a graph that could do more than compute; in place: without guards, traces and foreign devices."""
    document["guards_code"] = []  # source code that checks sizes; the runtime checks them too
    module = document.get("graph_module")
    if not isinstance(module, dict):
        raise Refused(f"{name} holds no graph; the file is damaged")
    module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
    for part in _objects(document):
        if "target" in part and "inputs" in part:
            part["metadata"] = {}  # traces of the machine it was made on
            _check_target(part["target"], name, part.get("name") or _first_output(part))
        if part.get("as_operator") is not None:
            _check_target(part["as_operator"], name, "?")
        if "class_fqn" in part:
            raise Refused(f"{name} uses an object of the class {_shown(part['class_fqn'])}; only tensors are loaded")
        if "expr_str" in part:
            _check_sizes(part["expr_str"], name)
        for key in ("in_spec", "out_spec"):
            if key in part:
                _check_tree(part[key], name)
        for key in ("name", "fqn"):
            if part.get(key) and not (isinstance(part[key], str) and _NAME.fullmatch(part[key])):
                raise Refused(f"{name} calls something {_shown(part[key])}; names are letters, digits, '_' and '.'")
    _onto_cpu(document)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object within a value; a stack, not a recursion, as files may nest as they like."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _first_output(node: Mapping[str, Any]) -> str:
    found = re.search(r'"name": "(\w+)"', json.dumps(node.get("outputs")))
    return found[1] if found else "?"


def _check_target(target: Any, name: str, node: str) -> None:
    if not isinstance(target, str) or not _TARGET.fullmatch(target):
        raise Refused(
            f"{name}: node {_shown(node)} calls {_shown(target)}, which is not a standard operator of torch; only "
            "aten, prims and arithmetic on sizes are loaded"
        )


def _check_sizes(text: Any, name: str) -> None:
    """A size as an expression: symbols and arithmetic, nothing that evaluating it could reach further with."""
    good = isinstance(text, str) and _SIZES.fullmatch(text) is not None and "__" not in text
    if good:
        words = re.findall(r"[A-Za-z_]\w*", text)
        good = all(word in _FUNCTIONS or _SYMBOL.fullmatch(word) for word in words)
        good = good and not re.search(r"\.\s*[A-Za-z_]", text)  # attributes
        powers = text.count("**") + words.count("Pow")
        good = (
            good and not re.search(r"\d{19}", text) and (not powers or (powers < 3 and not re.search(r"\d{3}", text)))
        )
    if not good:
        raise Refused(f"{name} holds the size {_shown(text)}; sizes are arithmetic on numbers and symbols")


def _check_tree(text: Any, name: str) -> None:
    """How arguments nest: plain tuples, lists and dictionaries with names as keys."""
    try:
        for part in _objects(json.loads(text)):
            kind, context = part.get("type"), part.get("context")
            keys = json.loads(context) if isinstance(context, str) and context else None
            named = keys is None or (
                isinstance(keys, list) and all(isinstance(one, str) and one.isidentifier() for one in keys)
            )
            if (kind is not None and kind not in _TREES) or not named:
                raise Refused(
                    f"{name} takes or gives {_shown(kind)}; only tensors in tuples, lists and dictionaries are loaded"
                )
    except (ValueError, TypeError, RecursionError):
        raise Refused(f"{name} does not say how its arguments nest; the file is damaged") from None


def _onto_cpu(document: Any) -> None:
    """Devices that this machine need not have become the processor, in place."""
    for part in _objects(document):
        if set(part) == {"type", "index"} and isinstance(part["type"], str):
            part.update(type="cpu", index=None)


# ------------------------------------------------------------------------------------------------------ archive


def _archive(parts: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for member, content in parts.items():
            archive.writestr(f"model/{member}", content)
    return made.getvalue()


def _shown(value: Any) -> str:
    text = str(value)
    return repr("".join(letter if letter.isprintable() else "?" for letter in text[:80]) + ("…" if text[80:] else ""))

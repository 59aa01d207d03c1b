"""Request bodies: read within a size and a time, and the inputs taken out of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from sartor.serve.guard import Problem

MAX_INPUTS = 64
_BOUNDARY = re.compile(r'boundary="?([^";,\s]{1,70})"?', re.IGNORECASE)


async def read_body(request: Request, limit: int, seconds: float) -> bytes:
    """The whole body.

    Raises:
        Problem: 413 when it is larger than ``limit`` bytes, 408 when it does not arrive in ``seconds``, 400 when empty.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        raise Problem(413, f"the body may have at most {limit:,} bytes")
    try:
        body = await asyncio.wait_for(_collect(request, limit), seconds)
    except TimeoutError:
        raise Problem(408, f"the body did not arrive within {seconds:g} s") from None
    except ClientDisconnect:
        raise Problem(400, "the connection ended before the body did") from None
    if not body:
        raise Problem(400, "the body is empty; send the bytes of one input file")
    return body


async def _collect(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Problem(413, f"the body may have at most {limit:,} bytes")
        parts.append(part)
    return b"".join(parts)


def one_input(body: bytes, content_type: str) -> bytes:
    """The input of a plain body, or the first file of a multipart form.

    Raises:
        Problem: 400, the form holds no file.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        return body
    found = _BOUNDARY.search(content_type)
    if not found:
        raise Problem(400, "the multipart body names no boundary")
    mark = b"--" + found[1].encode("latin-1")
    start = body.find(mark)
    while start >= 0:
        end = body.find(b"\r\n" + mark, start + len(mark))
        head, separator, content = body[start:end].partition(b"\r\n\r\n")
        if end < 0 or not separator:
            break
        if b"filename=" in head[:2000]:
            return content
        start = end + 2
    raise Problem(400, "the form holds no file; send one as the field 'file'")


@dataclass(frozen=True)
class Inference:
    """A request of the Open Inference Protocol: inputs as file bytes, which outputs are wanted (all where empty)."""

    inputs: tuple[bytes, ...]
    outputs: tuple[str, ...]
    id: str


def inference(body: bytes, content_type: str) -> Inference:
    """Read a V2 request: one BYTES tensor of base64 text, or a body that is the input itself.

    Raises:
        Problem: 400, with what would be right.
    """
    if not content_type.lower().startswith(("application/json", "text/json")) and content_type:
        return Inference((one_input(body, content_type),), (), "")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON; send a V2 inference request, or image bytes as image/*") from None
    tensors = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise Problem(400, "inputs must be a list of one tensor of datatype BYTES")
    tensor = tensors[0]
    data = tensor.get("data")
    flat = data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list) else data
    if tensor.get("datatype") != "BYTES" or not isinstance(flat, list) or not 1 <= len(flat) <= MAX_INPUTS:
        raise Problem(400, f"inputs[0] must have datatype BYTES and 1 to {MAX_INPUTS} base64 strings as data")
    wanted = request.get("outputs") or []
    names = (
        [one.get("name") if isinstance(one, dict) else None for one in wanted] if isinstance(wanted, list) else [None]
    )
    if not all(isinstance(name, str) for name in names):
        raise Problem(400, "outputs must be a list of objects with a name")
    return Inference(tuple(_decoded(item) for item in flat), tuple(map(str, names)), str(request.get("id", ""))[:200])


def _decoded(item: Any) -> bytes:
    try:
        if isinstance(item, str):
            return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Problem(400, "an element of inputs[0].data is not base64 text of a file")

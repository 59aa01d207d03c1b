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
_JSON_TYPES = ("application/json", "text/json")
_CHARSET = re.compile(r'charset="?([a-z0-9._-]{1,40})"?')
_CHARSETS = ("iso-8859-1", "iso-8859-15", "windows-1252", "utf-16")  # few: some of Python's are slow to decode
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


def one_input(body: bytes, content_type: str, media: str = "image") -> bytes:
    """The input of a plain body, or the first file of a multipart form.

    A text may also come as a JSON string or in another encoding than UTF-8, where the content type says so.

    Raises:
        Problem: 400, the form holds no file, or the body is not what its content type says.
    """
    kind = content_type.lower()
    if media == "text" and kind.startswith(_JSON_TYPES):
        return _string(body)
    if media == "text" and kind.startswith("text/plain"):
        return _recoded(body, kind)
    if not kind.startswith("multipart/form-data"):
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


def _string(body: bytes) -> bytes:
    try:
        text = json.loads(body)
        if isinstance(text, str):
            return text.encode()
    except (ValueError, RecursionError):  # half a surrogate pair is a ValueError too
        pass
    raise Problem(400, "the body is not a JSON string; send the text as one, or as text/plain")


def _recoded(body: bytes, content_type: str) -> bytes:
    """Text of a declared charset as UTF-8."""
    found = _CHARSET.search(content_type)
    if found is None or found[1] in ("utf-8", "utf8", "us-ascii"):
        return body
    if found[1] not in _CHARSETS:
        raise Problem(400, f"text is read as UTF-8, or as {', '.join(_CHARSETS)} where its content type says so")
    try:
        return body.decode(found[1]).encode()
    except ValueError:
        raise Problem(400, "the body is not text in the charset that its content type names; send UTF-8") from None


@dataclass(frozen=True)
class Inference:
    """A request of the Open Inference Protocol: raw inputs, which outputs are wanted (all where empty)."""

    inputs: tuple[bytes, ...]
    outputs: tuple[str, ...]
    id: str


def inference(body: bytes, content_type: str, media: str = "image") -> Inference:
    """Read a V2 request: one BYTES tensor, or a body that is the input itself.

    Elements of the tensor are base64 text of files for tasks about pictures, else the texts or records themselves.

    Raises:
        Problem: 400, with what would be right.
    """
    if not content_type.lower().startswith(_JSON_TYPES) and content_type:
        return Inference((one_input(body, content_type, media),), (), "")
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem(400, "the body is not JSON; send a V2 inference request, or the bytes of one input") from None
    tensors = request.get("inputs") if isinstance(request, dict) else None
    if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
        raise Problem(400, "inputs must be a list of one tensor of datatype BYTES")
    tensor = tensors[0]
    data = tensor.get("data")
    flat = data[0] if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list) else data
    if tensor.get("datatype") != "BYTES" or not isinstance(flat, list) or not 1 <= len(flat) <= MAX_INPUTS:
        kind = "base64 strings" if media == "image" else "strings"
        raise Problem(400, f"inputs[0] must have datatype BYTES and 1 to {MAX_INPUTS} {kind} as data")
    wanted = request.get("outputs") or []
    names = (
        [one.get("name") if isinstance(one, dict) else None for one in wanted] if isinstance(wanted, list) else [None]
    )
    if not all(isinstance(name, str) for name in names):
        raise Problem(400, "outputs must be a list of objects with a name")
    read = _decoded if media == "image" else _plain
    return Inference(tuple(read(item) for item in flat), tuple(map(str, names)), str(request.get("id", ""))[:200])


def _plain(item: Any) -> bytes:
    try:
        if isinstance(item, str):
            return item.encode()
    except UnicodeEncodeError:
        pass
    raise Problem(400, "an element of inputs[0].data is not a string of Unicode text")


def _decoded(item: Any) -> bytes:
    try:
        if isinstance(item, str):
            return base64.b64decode(item, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Problem(400, "an element of inputs[0].data is not base64 text of a file")

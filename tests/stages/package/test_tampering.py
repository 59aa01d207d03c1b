"""Whatever is done to a package, it is refused, naming the file, before any content is parsed."""

import json
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

import sartor
from sartor.codec import canonical_json
from sartor.errors import Refused, SartorError
from sartor.stages.package import manifest as manifests
from sartor.stages.package import open_package, read
from sartor.testing.tiny_package import picture

FILES = [
    "MANIFEST.json",
    "README.md",
    "decision.json",
    "golden/000.png",
    "golden/golden.json",
    "golden/outputs.npy",
    "labels.json",
    "model.onnx",
    "pipeline.json",
    "requirement.json",
]


@pytest.fixture(autouse=True)
def nothing_is_parsed(monkeypatch):
    """The documents of a refused package are never read."""
    monkeypatch.setattr(read, "from_plain", lambda *_: pytest.fail("content was parsed before it was checked"))
    monkeypatch.setattr("sartor.modelfile.check_model", lambda *_: pytest.fail("the model was touched"))


def refused(package: Path, *words: str) -> str:
    with pytest.raises(Refused) as caught:
        sartor.load(package)
    message = str(caught.value)
    assert message.isprintable()
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte(package, name):
    path = package / name
    content = bytearray(path.read_bytes())
    for place in {0, len(content) // 2, len(content) - 1}:
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        refused(package, *([name] if name != "MANIFEST.json" else []))  # its lines are about other files


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_and_a_longer_one(package, name):
    path = package / name
    content = path.read_bytes()
    for changed in (content[:-1], content[: len(content) // 2], b"", content + b"\n"):
        path.write_bytes(changed)
        refused(package, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(package, name):
    (package / name).unlink()
    refused(package, name)


@pytest.mark.parametrize("name", FILES)
def test_a_renamed_file(package, name):
    path = package / name
    path.rename(path.with_name(f"x{path.name}"))
    refused(package, name)


@pytest.mark.parametrize("name", FILES)
def test_a_symbolic_link_in_place_of_a_file(package, name, tmp_path):
    path = package / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    refused(package, name)


@pytest.mark.parametrize("name", FILES)
def test_a_hard_link_in_place_of_a_file(package, name, tmp_path):
    os.link(package / name, tmp_path / "second")
    refused(package, name, "hard link")


@pytest.mark.parametrize(
    "name", ["extra", ".git", ".hidden/hook", "golden/999.png", "README.md~", "sub/deep/er/file", "é"]
)
def test_an_added_file(package, name):
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_text("more")
    refused(package)


def test_two_files_swapped(package):
    one, other = package / "golden/000.png", package / "golden/001.png"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    refused(package, "golden/000.png")


def test_an_added_folder_a_linked_folder_a_pipe_and_a_socket(package, tmp_path, monkeypatch):
    (package / "empty").mkdir()
    refused(package, "empty")
    (package / "empty").rmdir()
    shutil.move(package / "golden", tmp_path / "golden")
    (package / "golden").symlink_to(tmp_path / "golden", target_is_directory=True)
    refused(package, "golden", "no links")
    (package / "golden").unlink()
    shutil.move(tmp_path / "golden", package / "golden")
    os.mkfifo(package / "pipe")
    refused(package, "pipe")
    (package / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(package)  # socket names are short
        server.bind("plug")
        refused(package, "plug")


def test_a_changed_case(package):
    (package / "labels.json").rename(package / "Labels.json")
    refused(package, "labels.json")


def test_the_package_itself_may_be_reached_through_a_link(package, tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / "latest").symlink_to(package, target_is_directory=True)
    assert sartor.load(tmp_path / "latest").predict(picture("red"))["label"] == "red"


def test_what_is_no_package(tmp_path):
    with pytest.raises(SartorError, match="does not exist"):
        open_package(tmp_path / "nothing")
    refused(tmp_path, "MANIFEST.json")
    (tmp_path / "text.sartor").write_text("hello")
    refused(tmp_path / "text.sartor", "text.sartor")


def test_permissions_are_told(package):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    (package / "labels.json").chmod(0)
    refused(package, "labels.json")


# ------------------------------------------------------------------------------------- a manifest with intent


def rewrite(package: Path, change, *, canonical: bool = True) -> None:
    path = package / "MANIFEST.json"
    body = json.loads(path.read_bytes())
    body = change(body) or body
    path.write_text(canonical_json(body) if canonical else json.dumps(body))


ENTRY = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "a/../../b",
        "..",
        "golden/../../x",
        "a\\..\\b",
        "a//b",
        "a/",
        "./a",
        "",
        "\x00",
        "a\x00b",
        "a\nb",
        "C:evil",
        "-rf",
        ".hidden",
        "a b",
        "%2e%2e",
        "naïve",
        "x" * 200,
        "a/b/c/d/e",
        "MANIFEST.json",
    ],
)
def test_names_that_lead_elsewhere(package, name):
    rewrite(package, lambda body: body["files"].update({name: ENTRY}))
    refused(package)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.update(format=0),
        lambda body: body.update(format="1"),
        lambda body: body.update(format=True) or body,
        lambda body: body.update(extra=1),
        lambda body: body.pop("sartor") and None,
        lambda body: body.update(sartor=1),
        lambda body: body.update(files=[]),
        lambda body: body["files"]["model.onnx"].update(bytes=-1),
        lambda body: body["files"]["model.onnx"].update(bytes=True),
        lambda body: body["files"]["model.onnx"].update(bytes="320"),
        lambda body: body["files"]["model.onnx"].update(sha256="0" * 63),
        lambda body: body["files"]["model.onnx"].update(sha256="G" * 64),
        lambda body: body["files"]["model.onnx"].update(mode=7),
        lambda body: body["files"].update({"model.onnx": 7}),
        lambda body: body["files"].update({"Model.onnx": ENTRY}),
        lambda body: body["files"].update({"model.onnx/x": ENTRY}),
        lambda body: [1],
        lambda body: "text",
    ],
)
def test_manifests_that_lie(package, change):
    rewrite(package, change)
    refused(package)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"format":1,"format":1}', b"null", b"NaN"]
)
def test_manifests_that_are_none(package, content):
    (package / "MANIFEST.json").write_bytes(content)
    refused(package, "MANIFEST.json")


def test_a_manifest_in_another_writing_and_one_too_large(package):
    rewrite(package, lambda body: None, canonical=False)
    refused(package, "MANIFEST.json")
    (package / "MANIFEST.json").write_bytes(b" " * (manifests.MAX_MANIFEST_BYTES + 1))
    refused(package, "larger than")


def test_a_package_of_a_newer_format_says_what_to_do(package):
    rewrite(package, lambda body: body.update(format=manifests.FORMAT + 1, sartor="9.9"))
    refused(package, "9.9", "pip install --upgrade sartor")


def test_a_package_of_an_older_format_says_what_to_do(package):
    rewrite(package, lambda body: body.update(format=1, sartor="0.0.9"))
    refused(package, "0.0.9", "Run the requirement again")


def test_files_are_only_read(package):
    for path in package.rglob("*"):
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    package.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert len(manifests.check_manifest(package).files) > 8
    package.chmod(stat.S_IRWXU)

"""The one-file form: exact, and no other file is taken for it."""

import io
import random
import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sartor
from sartor.errors import Refused
from sartor.stages.package import open_package, pack
from sartor.testing.tiny_package import picture


@pytest.fixture(scope="session")
def packed(made):
    target = made / "one.sartor"
    pack(made / "package", target)
    return target


@pytest.fixture(scope="session")
def raw(packed):
    return packed.read_bytes()


def refused(path, *words):
    with pytest.raises(Refused) as caught:
        open_package(path)
    assert str(caught.value).isprintable()
    for word in words:
        assert word in str(caught.value)


def test_it_answers_like_the_folder(made, packed):
    assert sartor.load(packed).predict(picture("green")) == sartor.load(made / "package").predict(picture("green"))
    assert open_package(packed).manifest.digest == open_package(made / "package").manifest.digest


def test_the_same_content_gives_the_same_bytes(package, packed, tmp_path, raw):
    pack(package, tmp_path / "again.sartor")
    assert (tmp_path / "again.sartor").read_bytes() == raw


def test_any_zip_tool_opens_it(packed):
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        assert archive.namelist()[0] == "MANIFEST.json"
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())


def test_the_extracted_copy_goes_with_the_model(packed):
    contents = open_package(packed)
    folder = contents.folder
    assert folder.is_dir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    del contents
    assert not folder.exists()


def test_a_refused_file_leaves_nothing_behind(packed, raw, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    changed = raw.replace(b"MET by", b"met by")
    assert changed != raw
    path = tmp_path / "changed.sartor"
    path.write_bytes(changed)
    refused(path, "changed.sartor")
    assert [child.name for child in tmp_path.iterdir()] == ["changed.sartor"]


def test_every_byte_of_the_zip_structure_counts(raw, tmp_path):
    """Flip every byte that belongs to no file's content (headers and directory), and a sample of the others."""
    structural = set()
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        for info in archive.infolist():
            structural.update(range(info.header_offset, info.header_offset + 30 + len(info.filename)))
        structural.update(range(archive.start_dir, len(raw)))
    generator = random.Random(0)
    path = tmp_path / "flipped.sartor"
    for place in sorted(generator.sample(sorted(structural), 300)) + generator.sample(range(len(raw)), 100):
        changed = bytearray(raw)
        changed[place] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        refused(path)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_no_damaged_file_is_ever_accepted_or_crashes(raw, tmp_path_factory, data):
    content = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete", "copy"]))
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        length = data.draw(st.integers(1, 64))
        if kind == "flip" and content:
            content[place] ^= data.draw(st.integers(1, 255))
        elif kind == "cut":
            del content[place:]
        elif kind == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=64))
        elif kind == "delete":
            del content[place : place + length]
        else:
            content[place:place] = content[:length]
    if bytes(content) == raw:
        return
    path = tmp_path_factory.mktemp("fuzz") / "x.sartor"
    path.write_bytes(bytes(content))
    refused(path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "x.sartor"
    path.write_bytes(content)
    refused(path)


# ------------------------------------------------------------------------------------------------ hostile zips


def zipped(path, entries, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, content, mode in entries:
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                info.compress_type = options.get("compression", zipfile.ZIP_STORED)
                archive.writestr(info, content)
    return path


PLAIN = stat.S_IFREG | 0o644


@pytest.mark.parametrize(
    "entries",
    [
        [("../escaped", b"x", PLAIN)],
        [("/tmp/escaped", b"x", PLAIN)],
        [("a\\..\\..\\escaped", b"x", PLAIN)],
        [("MANIFEST.json", b"/etc/passwd", stat.S_IFLNK | 0o777)],
        [("MANIFEST.json", b"{}", PLAIN), ("MANIFEST.json", b"{}", PLAIN)],
        [("a", b"x", PLAIN), ("A", b"x", PLAIN)],
        [("a", b"x", PLAIN), ("a/b", b"x", PLAIN)],
        [("folder/", b"", stat.S_IFDIR | 0o755)],
        [("device", b"", stat.S_IFCHR | 0o644)],
        [],
    ],
)
def test_hostile_names_and_kinds(tmp_path, entries):
    refused(zipped(tmp_path / "evil.sartor", entries))
    assert not list(tmp_path.parent.rglob("escaped"))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = zipped(tmp_path / "bomb.sartor", [("a", bytes(50_000_000), PLAIN)], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path)


def test_overlapping_entries_are_refused(raw, tmp_path):
    """Point every entry of the directory at the first one, as overlap bombs do."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        start = archive.start_dir
    changed = bytearray(raw)
    place = start
    while changed[place : place + 4] == b"PK\1\2":
        length = struct.unpack_from("<H", changed, place + 28)[0]
        struct.pack_into("<I", changed, place + 42, 0)
        place += 46 + length
    path = tmp_path / "overlap.sartor"
    path.write_bytes(changed)
    refused(path)


def test_a_file_before_or_behind_it_is_refused(raw, tmp_path):
    for content in (b"#!/bin/sh\n" + raw, raw + b"more", raw[:-2] + b"\1\0x"):
        path = tmp_path / "polyglot.sartor"
        path.write_bytes(content)
        refused(path)


def test_a_compressed_copy_of_a_sound_package_is_refused(package, tmp_path):
    path = tmp_path / "deflated.sartor"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(package).as_posix())
    refused(path)


def test_a_damaged_folder_is_not_packed(package, tmp_path):
    (package / "labels.json").write_text("[]")
    with pytest.raises(Refused, match=r"labels\.json"):
        pack(package, tmp_path / "x.sartor")
    assert not (tmp_path / "x.sartor").exists()

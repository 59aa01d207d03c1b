"""Members of a tar are read in place; what no data set needs is refused."""

import io
import tarfile

import pytest

from sartor.errors import DataError
from sartor.reading.archives import open_tar


def packed(path, files, **odd):
    """A tar of name -> bytes; ``odd``: attributes of one more member."""
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        if odd:
            member = tarfile.TarInfo(odd.pop("name"))
            for key, value in odd.items():
                setattr(member, key, value)
            archive.addfile(member)
    return path


def test_members_are_read_by_name_and_hidden_ones_left_out(tmp_path):
    archive = open_tar(packed(tmp_path / "a.tar", [("./a/1.txt", b"one"), ("a/._1.txt", b"mac"), ("b", b"")]))
    assert archive.names == ("a/1.txt", "b")
    assert archive.read("a/1.txt") == b"one"
    assert archive.read("b") == b""


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a\\b"])
def test_paths_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads out"):
        open_tar(packed(tmp_path / "a.tar", [("fine", b"x"), (name, b"x")]))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with pytest.raises(DataError, match="link or a special file"):
        open_tar(packed(tmp_path / "a.tar", [("fine", b"x")], name="odd", type=kind, linkname="fine"))


def test_doubles_damage_and_compression_are_told(tmp_path):
    with pytest.raises(DataError, match="twice"):
        open_tar(packed(tmp_path / "a.tar", [("x", b"1"), ("./x", b"2")]))
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(DataError, match="not a tar"):
        open_tar(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "c.tar", "w:gz"):
        pass
    with pytest.raises(DataError, match="gunzip"):
        open_tar(tmp_path / "c.tar")
    whole = packed(tmp_path / "d.tar", [("x", b"1" * 2000)])
    archive = open_tar(whole)
    with whole.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DataError, match="cut off"):
        archive.read("x")

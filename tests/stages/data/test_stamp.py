import os

from sartor.stages.data import stamp
from sartor.types import DataSource


def test_stamp_changes_when_a_file_does(tmp_path, fill):
    folder = fill(tmp_path / "d", cat=3, dog=3)
    source = DataSource(str(folder))
    stamps = [stamp(source)]
    assert stamp(source) == stamps[0]
    os.utime(folder / "cat" / "000.png", ns=(1, 1))
    stamps.append(stamp(source))
    (folder / "cat" / "new.png").write_bytes(b"x")
    stamps.append(stamp(source))
    (folder / "cat" / "new.png").rename(folder / "cat" / "newer.png")
    stamps.append(stamp(source))
    (folder / "emu").mkdir()
    stamps.append(stamp(source))
    stamps.append(stamp(DataSource(str(folder), test=str(folder))))
    assert len(set(stamps)) == len(stamps)


def test_stamp_of_what_has_no_files(tmp_path):
    assert stamp(DataSource("hub:owner/a")) != stamp(DataSource("hub:owner/b"))
    assert stamp(DataSource(str(tmp_path / "none"))) == stamp(DataSource(str(tmp_path / "none")))


def test_stamp_of_loops_and_odd_names(tmp_path, fill):
    folder = fill(tmp_path / "d", cat=2)
    (folder / "cat" / "loop").symlink_to(folder)
    (folder / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
    with open(os.fsencode(folder) + b"/cat/\xff.png", "wb"):
        pass
    assert len(stamp(DataSource(str(folder)))) == 64

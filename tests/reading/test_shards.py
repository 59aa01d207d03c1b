"""Large data in shards: Parquet, Arrow, tar; what is in them, where they lie, and what is wrong with one of them."""

import contextlib
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from sartor.errors import DataError
from sartor.media.image import to_png
from sartor.reading.locate import locate
from sartor.reading.tables import class_names, column_names, is_table, read_rows
from sartor.reading.texts import read_texts
from sartor.types import DataSource

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import feather, ipc, parquet  # noqa: E402

CLASSES = ("cat", "dog")


def png(seed):
    return to_png(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8))


def write_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def pairs(first, count=4, label="cls"):
    """A picture and its label for each of some samples."""
    found = {}
    for number in range(first, first + count):
        found[f"{number:06}.png"] = png(number)
        found[f"{number:06}.{label}"] = str(number % 2).encode()
    return found


def write_shard(path, first=0, count=4, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"image": [png(number) for number in range(first, first + count)]}
    content |= {"label": [CLASSES[number % 2] for number in range(first, first + count)]} | columns
    table = pyarrow.table({name: values for name, values in content.items() if values is not None})
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    elif path.suffix == ".feather":
        feather.write_feather(table, str(path), compression="lz4")
    elif path.suffix == ".ipc":
        with ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
    elif path.suffix == ".arrow":
        with ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    else:
        write_tar(path, {k: v for k, v in pairs(first, count).items()})
    return path


def samples(train, split="train", **given):
    (part,) = [part for part in locate(DataSource(str(train), **given)) if part.split == split]
    return list(part.samples)


FORMS = [".parquet", ".arrow", ".ipc", ".feather", ".tar"]


@pytest.mark.parametrize("form", FORMS)
def test_a_file_a_pattern_and_folders_of_every_form(tmp_path, form):
    for number in range(2):
        write_shard(tmp_path / "plain" / f"part-{number}{form}", 10 * number)
        write_shard(tmp_path / "split" / f"train_{number}{form}", 10 * number)
        write_shard(tmp_path / "below" / "train" / f"a{number}{form}", 10 * number)
    write_shard(tmp_path / "split" / f"test-000{form}", 50)
    write_shard(tmp_path / "below" / "test" / f"x{form}", 50)
    (tmp_path / "plain" / "_SUCCESS").touch()
    wanted = [png(number) for number in (0, 1, 2, 3, 10, 11, 12, 13)]
    labels = ["0", "1"] * 4 if form == ".tar" else [*CLASSES] * 4
    for address in ("plain", "plain/part-*", "split", "below", "below/train"):
        found = samples(f"{tmp_path}/{address}")
        assert [sample.raw for sample in found] == wanted, address
        assert [sample.label for sample in found] == labels
    assert len(samples(tmp_path / "split", "test")) == len(samples(tmp_path / "below", "test")) == 4
    assert len(samples(next((tmp_path / "plain").glob("part-0*")))) == 4


@pytest.mark.parametrize("form", [".arrow", ".ipc", ".feather"])
def test_arrow_in_large_record_batches_gives_the_same_rows(tmp_path, form):
    path = write_shard(tmp_path / f"t{form}", 0, 300)
    assert is_table(path)
    assert column_names(path) == ["image", "label"]
    assert [row["image"] for row in read_rows(path, ["image"])] == [png(number) for number in range(300)]
    assert set(next(read_rows(path, ["label"]))) == {"label"}


def test_class_names_of_arrow_files_of_the_datasets_library(tmp_path):
    features = {"info": {"features": {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}}}
    schema = pyarrow.schema([("label", pyarrow.int64())], {"huggingface": json.dumps(features)})
    with ipc.new_stream(str(tmp_path / "t.arrow"), schema) as writer:
        writer.write_batch(pyarrow.record_batch([[0, 1]], schema=schema))
    assert class_names(tmp_path / "t.arrow", "label") == CLASSES


def test_members_of_a_tar_by_key(tmp_path):
    members = {
        "a/one.jpg": b"j1",
        "a/one.json": json.dumps({"label": "cat", "width": 3}).encode(),
        "a/two.seg.png": b"mask",
        "a/two.jpg": b"j2",
        "a/two.txt": "a hält\n".encode(),
        "a/three.png": b"p3",
        "a/three.jpg": b"j3",
        "b/three.cls": b" 7\n",
    }
    rows = list(read_rows(write_tar(tmp_path / "t.tar", members)))
    assert rows[0] == {"label": "cat", "width": 3, "image": b"j1"}
    assert rows[1] == {"seg.png": b"mask", "txt": "a hält\n", "image": b"j2"}
    assert rows[2] == {"png": b"p3", "jpg": b"j3"}  # two pictures: data.input has to say which
    assert rows[3] == {"cls": "7"}


def test_texts_in_tar_shards(tmp_path):
    members = {}
    for number in range(6):
        members |= {f"{number}.txt": f"text {number}".encode(), f"{number}.cls": str(number % 2).encode()}
    write_tar(tmp_path / "s" / "0.tar", members)
    write_tar(tmp_path / "s" / "1.tar", {f"x{name}": content for name, content in members.items()})
    (part,) = read_texts(DataSource(str(tmp_path / "s")))
    found = list(part.samples)
    assert len(found) == 12
    assert (found[1].raw, found[1].label) == (b"text 1", "1")


class TestWhatIsWrongIsSaidOfTheShard:
    """Each in one sentence that names the file."""

    def refused(self, folder, match):
        with pytest.raises(DataError, match=match) as caught:
            samples(folder)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("form", [".parquet", ".arrow", ".ipc", ".feather"])
    def test_broken_before_anything_is_read(self, tmp_path, form):
        for number in range(3):
            path = write_shard(tmp_path / f"part-{number}{form}")
        path.write_bytes(b"nonsense" * 20)
        self.refused(tmp_path, rf"part-2\{form}: it is not a readable (Parquet|Arrow) file")
        path.write_bytes(b"")
        self.refused(tmp_path, rf"part-2\{form}: it is not a readable (Parquet|Arrow) file")

    @pytest.mark.parametrize("form", [".arrow", ".ipc"])
    def test_damaged_inside(self, tmp_path, form):
        path = write_shard(tmp_path / f"part-0{form}", 0, 50)
        content, said = path.read_bytes(), []
        for place in range(300, 1500, 60):
            path.write_bytes(content[:place] + b"\x7f" * 8 + content[place + 8 :])
            with contextlib.suppress(DataError) as none:
                assert len(samples(path)) == 50  # a value was hit, if any
                continue
            said.append(none)
        assert said

    def test_cut_short(self, tmp_path):
        path = write_shard(tmp_path / "part-0.ipc", 0, 300)
        path.write_bytes(path.read_bytes()[:-2000])
        self.refused(path, r"part-0\.ipc: it is (damaged|not a readable)")
        path = write_shard(tmp_path / "t" / "part-0.tar", 0, 30)
        path.write_bytes(path.read_bytes()[:-12_000])
        self.refused(path, r"part-0\.tar.*(damaged|cut off)")

    def test_columns_that_are_missing_or_different(self, tmp_path):
        write_shard(tmp_path / "a" / "0.parquet")
        write_shard(tmp_path / "a" / "1.parquet", label=None)
        self.refused(tmp_path / "a", r"1\.parquet: it has no column 'label', which 0\.parquet has")
        write_shard(tmp_path / "a" / "1.parquet", label=[0, 1, 0, 1])
        self.refused(tmp_path / "a", r"1\.parquet: its column 'label' holds numbers, that of 0\.parquet text")
        write_shard(tmp_path / "a" / "1.parquet", further=[1, 2, 3, 4])
        assert len(samples(tmp_path / "a")) == 8

    def test_other_classes_behind_the_same_numbers(self, tmp_path):
        for number, names in enumerate((["cat", "dog"], ["dog", "cat"])):
            features = {"info": {"features": {"label": {"names": names}}}}
            table = pyarrow.table({"image": [png(0)], "label": [0]})
            parquet.write_table(
                table.replace_schema_metadata({"huggingface": json.dumps(features)}), tmp_path / f"{number}.parquet"
            )
        self.refused(tmp_path, r"1\.parquet: its column 'label' declares other classes than 0\.parquet")

    def test_kinds_together(self, tmp_path):
        write_shard(tmp_path / "0.parquet")
        write_shard(tmp_path / "1.tar")
        self.refused(tmp_path, r"it holds \.parquet and \.tar files; keep shards of one kind")

    def test_a_tar_whose_members_lead_outside(self, tmp_path):
        write_tar(tmp_path / "0.tar", pairs(0))
        write_tar(tmp_path / "1.tar", {"../../etc/x.png": b"1", "a.cls": b"1"})
        self.refused(tmp_path, r"1\.tar: the member '\.\./\.\./etc/x\.png' leads out of the archive")

    def test_a_tar_without_labels_beside_one_with(self, tmp_path):
        write_tar(tmp_path / "0.tar", pairs(0))
        write_tar(tmp_path / "1.tar", {f"{number}.png": png(number) for number in range(3)})
        self.refused(tmp_path, r"1\.tar: none of its first samples has a member 'cls'")
        self.refused(tmp_path / "1.tar", r"1\.tar: no column looks like the label among image")

    def test_a_tar_that_is_no_tar_or_holds_no_json(self, tmp_path):
        (tmp_path / "0.tar").write_bytes(b"nonsense" * 1000)
        self.refused(tmp_path, r"0\.tar is not a tar file, or it is damaged")
        write_tar(tmp_path / "0.tar", {"a.png": png(0), "a.json": b"{"})
        self.refused(tmp_path, r"0\.tar: the member 'a\.json' is not JSON")
        write_tar(tmp_path / "0.tar", {"a.png": png(0), "a.cls": b"\xff"})
        self.refused(tmp_path, r"0\.tar: the member 'a\.cls' is not UTF-8")

    def test_missing_members_of_some_samples_are_theirs_alone(self, tmp_path):
        members = {**pairs(0), "000009.cls": b"1", "000010.png": png(10)}
        found = samples(write_tar(tmp_path / "0.tar", members))
        assert found[4].problem == "there is no path and no bytes in this row"
        assert found[5].label is None


SHARD_MB, SHARDS, MOST_MB = 40, 2, 55
CHILD = """
import sys
from sartor.reading.locate import locate
from sartor.types import DataSource
import pyarrow.parquet, pyarrow.ipc

def peak():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])

(part,) = locate(DataSource(sys.argv[1]))
before = peak()
print(sum(len(sample.raw) for sample in part.samples), (peak() - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
@pytest.mark.parametrize("form", [".parquet", ".arrow", ".tar"])
def test_shards_larger_than_the_memory_they_may_take(tmp_path, form):
    """80 MB of shards, each a single row group or record batch, in two thirds of it.

    A page of Parquet holds up to 1,024 rows where its writer was told nothing else, and is unpacked whole.
    """
    noise = np.random.default_rng(0)
    size = 10_000
    for shard in range(SHARDS):
        path = tmp_path / f"part-{shard}{form}"
        rows = [noise.bytes(size) for _ in range(SHARD_MB * 100)]
        if form == ".tar":
            write_tar(
                path, {f"{n}.{end}": row for n, one in enumerate(rows) for end, row in (("png", one), ("cls", b"1"))}
            )
            continue
        table = pyarrow.table({"image": rows, "label": [0] * len(rows)})
        if form == ".parquet":
            parquet.write_table(table, path, row_group_size=len(rows))
        else:
            with ipc.new_file(str(path), table.schema) as writer:
                writer.write_table(table, max_chunksize=len(rows))
    done = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    count, grown_mb = done.stdout.split()
    assert int(count) == SHARDS * SHARD_MB * 100 * size
    assert float(grown_mb) < MOST_MB

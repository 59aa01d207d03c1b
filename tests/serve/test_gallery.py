"""Who is it, of these people: a package of faces with a gallery, on the command line and behind a server."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from sartor.errors import DataError
from sartor.serve.served import Served
from sartor.stages.package import build_package, load
from sartor.testing.tiny_package import LABELS, SIZE, picture, tiny_run, write_colour_model
from sartor.types import Insight, Pipeline, Table

PIPELINE = Pipeline("face-recognition", LABELS, (SIZE, SIZE), "model.onnx", "onnxruntime", "fp32", 1, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A package that tells people by their colour, and a gallery of two of them."""
    folder = tmp_path_factory.mktemp("gallery")
    model = write_colour_model(folder / "made.onnx")
    run = tiny_run(model, pipeline=PIPELINE)
    rows = (("0.01", "0.7", "1"), ("0.001", "0.9", "1"))
    table = Table("Thresholds", ("false accept rate", "similarity", "true accept rate"), rows)
    run = dataclasses.replace(run, insights={run.decision.chosen: Insight("test", tables=(table,))})
    build_package(run, model, PIPELINE, [picture(label) for label in LABELS], folder / "package")
    for name, colour in (("Rose", "red"), ("Ivy", "green")):
        (folder / "staff" / name).mkdir(parents=True)
        (folder / "staff" / name / "1.png").write_bytes(picture(colour, shade=150))
    for colour in LABELS:
        (folder / f"{colour}.png").write_bytes(picture(colour))
    return folder


def predict(*arguments):
    import typer

    from sartor.cli.predict import command

    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_predict_names_people_with_a_gallery(place):
    done = predict(place / "package", place / "red.png", place / "blue.png", "--gallery", place / "staff", "--json")
    known, stranger = (json.loads(line) for line in done.stdout.splitlines())
    assert (known["label"], stranger["label"]) == ("Rose", "unknown")
    assert known["threshold"] == 0.9
    words = predict(place / "package", place / "red.png", "--gallery", place / "green.png", "--false-accepts", 0.01)
    assert "unknown" in words.stdout
    assert "from 0.700 on it counts as one person" in words.stdout


def test_served_faces_are_named_in_the_readers_language(place):
    served = Served(str(place / "package"), str(place / "staff"))
    answer = served.answer((place / "red.png").read_bytes(), "zh")
    assert answer["label"] == "Rose"
    assert "相似度" in answer["note"]
    alone = Served(str(place / "package")).answer((place / "red.png").read_bytes())
    assert (alone["label"], alone["threshold"]) == ("unknown", 0.9)


def test_what_compares_nothing_has_no_gallery(package, place):
    with pytest.raises(DataError, match="image-classification compares inputs with nothing"):
        load(package).enrol(place / "staff")

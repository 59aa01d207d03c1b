"""sartor check: what may fit on which device, and in which order devices are named."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from sartor.check import check
from sartor.cli import main
from sartor.cli._outlook import compared, told
from sartor.outlook import Room, hourly, ranked
from sartor.run import Silence, place_of
from sartor.stages.requirement import read_requirement

DEVICES = ["raspberry-pi-5", "l4", "epyc-9654", "tpu-v5e"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A requirement on three dozen small pictures, and where its evidence is."""
    folder = tmp_path_factory.mktemp("check")
    for place in range(36):
        path = folder / "data" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 7 * place).save(path)
    (folder / "req.yaml").write_text(
        "task: image-classification\ndata: data\ntarget: {threads: 2}\nbudget: {time: 1m, effort: quick}\n"
        "limits: {accuracy: {min: 0.9}, latency_p95_ms: {max: 40}}\n"
        "search: {models: [majority-class, mobile, resnet9]}\n"
    )
    return folder


@pytest.fixture(scope="module")
def outlooks(asked):
    requirement = read_requirement(asked / "req.yaml")
    place = place_of(requirement, asked / "ws", asked / "runs")
    return dict(zip(DEVICES, check(requirement, place, Silence(), DEVICES, {"l4": 0.5}), strict=True))


def test_a_quoted_device_needs_no_calibration(outlooks):
    found = outlooks["raspberry-pi-5"]
    assert (found.verdict, found.basis, found.provable) == ("possible", "quoted", True)
    assert {family.family for family in found.families} == {"majority-class", "mobile", "resnet9"}
    assert found.best.low < found.best.value < found.best.high
    assert found.best.basis == "estimated"
    assert found.room.low < found.room.factor < found.room.high
    assert outlooks["epyc-9654"].best.value < found.best.value


def test_what_a_run_costs_is_bounded_by_the_budget(outlooks):
    board, card = outlooks["raspberry-pi-5"].cost, outlooks["l4"].cost
    assert board.seconds == 60
    assert board.energy_kwh == pytest.approx(12 * 60 / 3.6e6)
    assert board.usd is None
    assert card.usd == pytest.approx(0.5 / 60)
    assert board.epoch_s[0] < board.epoch_s[1]
    assert hourly(outlooks["raspberry-pi-5"]) == pytest.approx(80 / (3 * 8766))


def test_what_is_known_of_quality_before_training(outlooks):
    known = outlooks["l4"].quality
    assert (known.metric, known.wanted, known.reached) == ("accuracy", 0.9, None)
    assert known.guess == pytest.approx(0.5, abs=0.2)


def test_what_earlier_runs_reached_is_said(outlooks):
    reached = replace(outlooks["l4"].quality, reached=0.913, by="mobile-s")
    text = "\n".join(told(replace(outlooks["l4"], quality=reached)))
    assert "accuracy 0.913 on validation in earlier runs on this data (mobile-s); the limit is 0.9" in text


def test_where_nothing_runs_the_reason_is_said(outlooks):
    found = outlooks["tpu-v5e"]
    assert found.verdict == "impossible"
    assert found.refusal == "no runtime of the catalogue runs models on Google TPU v5e, one chip"


def test_the_cheapest_that_leaves_room_comes_first(outlooks):
    order = [found.address for found in ranked(outlooks.values())]
    assert order == ["raspberry-pi-5", "epyc-9654", "l4", "tpu-v5e"]
    tight = replace(
        outlooks["raspberry-pi-5"], room=Room("limits.latency_p95_ms.max", "latency_p95_ms", "x", 1.2, 0, 9)
    )
    order = [found.address for found in ranked([tight, outlooks["epyc-9654"]])]
    assert order == ["epyc-9654", "raspberry-pi-5"]


def test_the_words_name_every_device_and_every_family(outlooks):
    text = "\n".join(compared(ranked(outlooks.values())))
    assert all(name in text for name in DEVICES)
    assert "limits cannot be proven there yet" in text
    one = "\n".join(told(outlooks["raspberry-pi-5"]))
    assert "always giving the most frequent answer scores" in one
    assert "$80 to buy (announced price, October 2023)" in one


@pytest.fixture
def sartor(asked, monkeypatch, capsys):
    """Runs sartor check; gives exit code, output and errors."""

    def run(*words):
        arguments = ["sartor", "check", str(asked / "req.yaml"), *words, "--workspace", str(asked / "ws")]
        monkeypatch.setattr("sys.argv", arguments)
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code, *capsys.readouterr()

    return run


def test_as_typed(sartor, outlooks):
    code, out, _ = sartor("--device", "raspberry-pi-5", "--json")
    assert code == 0
    assert json.loads(out)["device"]["name"] == "Raspberry Pi 5, 8 GB"
    code, out, _ = sartor("--device", "raspberry-pi-5", "--device", "l4")
    assert code == 0
    assert "on 2 devices" in out
    code, out, _ = sartor("limits.memory_peak_mb.max=1", "target.device=raspberry-pi-5")
    assert code == 2
    assert "IMPOSSIBLE" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--device", "raspbery-pi-5"], "Did you mean raspberry-pi-5"),
        (["--device", "l4", "--price-per-hour", "cheap"], "is no price"),
        (["--device", "l4", "--price-per-hour", "t4=1"], "t4 is none of the devices asked: l4"),
        (["--device", "tpu-v5e"], "no runtime of the catalogue"),
    ],
)
def test_what_cannot_be_is_one_sentence(sartor, outlooks, words, said):
    code, _, errors = sartor(*words)
    assert code == 1
    assert said in errors
    assert errors.count("\n") == 1

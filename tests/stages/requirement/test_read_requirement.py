from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor.errors import RequirementError
from sartor.stages.requirement import read_requirement, to_mapping
from sartor.stages.requirement.form import available_cores
from sartor.types import Budget, DataSource, Limit, Objective, Requirement, SearchSpace, Target

FULL = """
$schema: any
name: pears
task: fruit-sorting
data: {train: photos/train, test: photos/test, label: kind, max_broken_share: 0.1}
target: {device: device.json, threads: 2, batch: 4}
limits:
  accuracy:        {min: 0.90, max_drop: 1 %, per_class_min: 0.5}
  latency_p95_ms:  {max: 0.5 s}
  size_mb:         {max: 200 KB}
  throughput_per_s: {min: 1e2}
objectives: {accuracy: 3, latency_p95_ms: 1}
decision: {confidence: 0.9}
budget: {time: 1h30m, effort: thorough, processes: 4, cluster: 'head.lan:6379'}
search: {models: [pear-net], runtimes: [crate], precisions: [fp32, int4]}
seed: 7
model: elsewhere
"""


def full(folder: Path) -> Requirement:
    return Requirement(
        name="pears",
        task="fruit-sorting",
        data=DataSource(
            train=str(folder / "photos/train"),
            test=str(folder / "photos/test"),
            label="kind",
            options={"max_broken_share": 0.1},
        ),
        target=Target(str(folder / "device.json"), 2, 4),
        limits=(
            Limit("accuracy", "min", 0.9, "limits.accuracy.min"),
            Limit("accuracy_drop", "max", 0.01, "limits.accuracy.max_drop"),
            Limit("accuracy_per_class_min", "min", 0.5, "limits.accuracy.per_class_min"),
            Limit("latency_p95_ms", "max", 500.0, "limits.latency_p95_ms.max"),
            Limit("size_mb", "max", 0.2, "limits.size_mb.max"),
            Limit("throughput_per_s", "min", 100.0, "limits.throughput_per_s.min"),
        ),
        objectives=(Objective("accuracy", 3.0), Objective("latency_p95_ms", 1.0)),
        confidence=0.9,
        budget=Budget(5400.0, "thorough", 4, "head.lan:6379"),
        search=SearchSpace(("pear-net",), ("crate",), ("fp32", "int4")),
        seed=7,
        model=str(folder / "elsewhere"),
    )


def test_everything_that_can_be_said(orchard: Path) -> None:
    (orchard / "req.yaml").write_text(FULL)
    assert read_requirement(orchard / "req.yaml") == full(orchard)
    assert read_requirement("req.yaml") == full(orchard)


def test_task_and_data_are_enough(orchard: Path) -> None:
    (orchard / "my pears.yaml").write_text("task: fruit-sorting\ndata: photos/train\nlimits:\ntarget: {threads: }\n")
    assert read_requirement("my pears.yaml") == Requirement(
        name="my-pears",
        task="fruit-sorting",
        data=DataSource(train=str(orchard / "photos/train")),
        target=Target("local", available_cores(), 1),
        limits=(),
        objectives=(Objective("accuracy", 1.0),),
        confidence=0.95,
        budget=Budget(900.0, "balanced"),
    )


def test_text_mapping_and_json_say_the_same(orchard: Path) -> None:
    values = {"task": "fruit-sorting", "data": {"train": Path("photos/train")}, "limits": {"accuracy": {"min": 0.5}}}
    written = {**values, "data": "photos/train"}
    (orchard / "requirement.json").write_text(json.dumps(written, indent="\t"))
    expected = read_requirement(values)
    assert expected.limits == (Limit("accuracy", "min", 0.5, "limits.accuracy.min"),)
    assert read_requirement("requirement.json") == expected
    assert read_requirement(json.dumps(written)) == expected
    assert read_requirement("task: fruit-sorting\ndata: photos/train\nlimits: {accuracy: {min: 0.5}}") == expected
    assert read_requirement({**values, "data": "train"}, folder=orchard / "photos") == expected


def test_a_requirement_passes_through_and_takes_overrides(orchard: Path) -> None:
    requirement = read_requirement(FULL)
    assert read_requirement(requirement) is requirement
    changed = read_requirement(requirement, ["limits.latency_p95_ms.max=3", "limits.size_mb=null", "seed=8"])
    assert [str(limit) for limit in changed.limits] == [
        "accuracy ≥ 0.9",
        "accuracy_drop ≤ 0.01",
        "accuracy_per_class_min ≥ 0.5",
        "latency_p95_ms ≤ 3",
        "throughput_per_s ≥ 100",
    ]
    assert changed.seed == 8
    assert changed.data == requirement.data


def test_paths_of_a_finished_requirement_are_not_looked_for_again(orchard: Path) -> None:
    requirement = read_requirement(FULL)
    (orchard / "photos/test").rmdir()
    assert read_requirement(requirement, ["seed=1"]).data == requirement.data
    with pytest.raises(RequirementError, match="override  data.test .* does not exist"):
        read_requirement(requirement, ["data.test=photos/test", "seed=1"])


def test_relative_paths_are_relative_to_the_file_and_overrides_to_the_current_folder(orchard: Path) -> None:
    (orchard / "photos/req.yaml").write_text("task: fruit-sorting\ndata: train\n")
    assert read_requirement("photos/req.yaml").data.train == str(orchard / "photos/train")
    changed = read_requirement("photos/req.yaml", ["data.test=photos/test", "data.input=picture"])
    assert changed.data == DataSource(str(orchard / "photos/train"), test=str(orchard / "photos/test"), input="picture")
    assert read_requirement("photos/req.yaml", ["data=elsewhere"]).data == DataSource(str(orchard / "elsewhere"))


def test_dots_in_a_path_are_resolved(orchard: Path) -> None:
    values = {"task": "fruit-sorting", "data": "elsewhere/../photos/./train"}
    assert read_requirement(values).data.train == str(orchard / "photos/train")


def test_hub_ids_and_addresses_pass_through(orchard: Path) -> None:
    values = {"task": "fruit-sorting", "data": "hub:owner/name", "model": "hub:o/m", "target": {"device": "ssh://pi"}}
    requirement = read_requirement(values)
    assert (requirement.data.train, requirement.model, requirement.target.device) == (
        "hub:owner/name",
        "hub:o/m",
        "ssh://pi",
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search.models=[pear-net, plum-net]", ("pear-net", "plum-net")),
        ("search.models= [ plum-net ]", ("plum-net",)),
        ("search={models: [plum-net]}", ("plum-net",)),
        ("search.models=[]", ()),
        ("search=null", ()),
    ],
)
def test_overrides_are_yaml(orchard: Path, override: str, expected: tuple[str, ...]) -> None:
    assert read_requirement({"task": "fruit-sorting", "data": "elsewhere"}, [override]).search.models == expected


def test_the_last_override_wins_and_mends_what_the_file_has_wrong(orchard: Path) -> None:
    text = "task: fruit-sorting\ndata: photos/train\nseed: soon\nlimits: {accuracy: {min: .nan}}\n"
    requirement = read_requirement(text, ["seed=1", "seed=2", "limits.accuracy.min=0.7"])
    assert (requirement.seed, requirement.limits[0].value) == (2, 0.7)


def test_a_default_name_is_always_a_valid_one(orchard: Path) -> None:
    for stem in ("..", "ü", "a b/../c", "x" * 200, "-a"):
        file = orchard / f"{Path(stem).name}.yaml"
        file.write_text("task: fruit-sorting\ndata: photos\n")
        requirement = read_requirement(file)
        assert read_requirement(to_mapping(requirement)) == requirement


numbers = st.floats(min_value=1e-9, max_value=1, exclude_max=True, allow_subnormal=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from(["accuracy", "latency_p95_ms", "ripeness_error", "size_mb"]), numbers),
    drop=st.none() | numbers,
    seconds=st.integers(1, 2_000_000) | st.floats(1, 1e6).map(lambda value: round(value, 6)),
    options=st.dictionaries(
        st.text(min_size=4, max_size=40)
        .filter(lambda key: not any(sign in key for sign in "\0"))
        .map(lambda key: f"qqqq_{key}_qqqq_option"),
        st.integers() | st.booleans() | st.text().filter(lambda text: "\0" not in text),
    ),
    threads=st.integers(1, 4096),
)
def test_what_is_written_reads_back_as_the_same(
    orchard: Path,
    limits: dict[str, float],
    drop: float | None,
    seconds: float,
    options: dict[str, object],
    threads: int,
) -> None:
    bounds = {"accuracy": "min"}
    parts: dict[str, dict[str, object]] = {name: {bounds.get(name, "max"): value} for name, value in limits.items()}
    if drop is not None:
        parts.setdefault("accuracy", {})["max_drop"] = drop
    values = {
        "task": "fruit-sorting",
        "data": {"train": "photos", **options},
        "limits": parts,
        "budget": {"time": f"{seconds:.6f}s"},
        "target": {"threads": threads},
    }
    try:
        requirement = read_requirement(values)
    except RequirementError:
        assert any(abs(value) > 1e300 for value in options.values() if isinstance(value, int))
        return
    assert read_requirement(to_mapping(requirement)) == requirement
    assert read_requirement(json.dumps(to_mapping(requirement))) == requirement


def test_levels_of_a_family_are_names_that_there_are(orchard: Path) -> None:
    text = "task: fruit-sorting\ndata: photos/train\ntarget: {levels: [avx2, LEVEL]}\n"
    found = read_requirement(text.replace("LEVEL", "amx"))
    assert found.target.levels == ("avx2", "amx")
    assert read_requirement(to_mapping(found)).target == found.target
    with pytest.raises(RequirementError, match=r'levels\[1\] is "avx512vnni".*Did you mean avx512-vnni'):
        read_requirement(text.replace("LEVEL", "avx512vnni"))

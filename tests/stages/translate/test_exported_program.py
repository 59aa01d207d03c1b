"""Programs of torch.export: what becomes of them, and that nothing they bring along is run."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest

from sartor.errors import Refused, Unsupported
from sartor.evidence import Workspace
from sartor.stages.translate import job_of, placed, translate
from sartor.stages.translate.exported_program import read_program

torch = pytest.importorskip("torch")


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.see = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.settle = torch.nn.BatchNorm2d(4)
        self.add_module("3", torch.nn.Linear(4, 3))  # as layers of a Sequential are called

    def forward(self, x):
        return self.get_submodule("3")(self.settle(self.see(x)).relu().mean(dim=(2, 3)))


class Fourier(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x.flatten(1))


def saved(path, module, example, *, open_batch, **options):
    dynamic = {"x": {0: torch.export.Dim("batch", min=1, max=512)}} if open_batch else None
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=dynamic), path, **options)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("program") / "mine.pt2"
    module = Small()
    saved(path, module, torch.rand(2, 3, 16, 16), open_batch=True, extra_files={"names": '["a", "b", "c"]'})
    return path, module.eval()


def changed(path, edit):
    """The archive with its members edited: ``edit(members)`` with a dictionary of name to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    edit(members)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def graph_changed(path, edit):
    """The archive with its graph edited as a JSON document."""

    def apply(members):
        name = next(one for one in members if one.endswith("models/model.json"))
        document = json.loads(members[name])
        edit(document)
        members[name] = json.dumps(document).encode()

    return changed(path, apply)


def run(path, workspace):
    job = job_of(str(path))
    return placed(translate(job, workspace), job, workspace)


def test_a_program_answers_as_onnx_whatever_the_batch(program, tmp_path):
    path, module = program
    made = run(path, Workspace(tmp_path))
    assert made.name == "mine.onnx"
    model = onnx.load(made)
    assert {entry.key: entry.value for entry in model.metadata_props} == {"names": '["a", "b", "c"]'}
    pictures = torch.rand(5, 3, 16, 16)
    session = onnxruntime.InferenceSession(made.read_bytes())
    (found,) = session.run(None, {model.graph.input[0].name: pictures.numpy()})
    with torch.no_grad():
        assert found == pytest.approx(module(pictures).numpy(), abs=1e-5)


def test_names_beside_a_program_are_its_names_and_change_the_job(program, tmp_path):
    path = tmp_path / "mine.pt2"
    path.write_bytes(program[0].read_bytes())
    before = job_of(str(path))
    path.with_suffix(".names").write_text("x\ny\nz\n")
    assert job_of(str(path)).stamp != before.stamp
    model = onnx.load(run(path, Workspace(tmp_path / "workspace")))
    assert model.metadata_props[0].value == '["x", "y", "z"]'


def test_an_operator_without_onnx_form_is_named_with_its_node(tmp_path):
    path = saved(tmp_path / "bessel.pt2", Fourier(), torch.rand(1, 3, 4, 4), open_batch=False)
    with pytest.raises(Unsupported, match=r"bessel\.pt2 as ONNX: node 'bessel_j0' \(prims\.bessel_j0\.default\) has"):
        translate(job_of(str(path)), Workspace(tmp_path))


class Canary:
    """Unpickled, it leaves a folder."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_a_pickle_of_sample_inputs_is_not_opened(program, tmp_path):
    def plant(members):
        name = next(one for one in members if "sample_inputs" in one)
        members[name] = pickle.dumps(Canary(str(tmp_path / "ran")))

    path = tmp_path / "planted.pt2"
    path.write_bytes(changed(program[0], plant))
    run(path, Workspace(tmp_path / "workspace"))
    assert not (tmp_path / "ran").exists()


def test_guards_are_not_compiled(program, tmp_path):
    path = tmp_path / "guarded.pt2"
    code = f"__import__('os').mkdir({str(tmp_path / 'ran')!r})"
    path.write_bytes(graph_changed(program[0], lambda document: document.update(guards_code=[code])))
    run(path, Workspace(tmp_path / "workspace"))
    assert not (tmp_path / "ran").exists()


def first_node(document):
    return document["graph_module"]["graph"]["nodes"][0]


def a_size(document):
    """A size of the input that is open."""
    values = document["graph_module"]["graph"]["tensor_values"]
    return next(side["as_expr"] for value in values.values() for side in value["sizes"] if "as_expr" in side)


def planted_size(text):
    return lambda document: a_size(document).update(expr_str=text)


def planted_tree(text):
    def plant(document):
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = text

    return plant


HOSTILE_GRAPHS = {
    "calls 'torch.hub.load'": lambda document: first_node(document).update(target="torch.hub.load"),
    "calls 'torch.ops.load_library'": lambda document: first_node(document).update(target="torch.ops.load_library"),
    "calls 'torch.ops.aten.from_file.default'": lambda document: first_node(document).update(
        target="torch.ops.aten.from_file.default"
    ),
    "calls '#there:anything'": lambda document: first_node(document).update(target="#there:anything"),
    "calls something 'a;import os'": lambda document: first_node(document).update(name="a;import os"),
    "holds the size": planted_size("__import__('os').system('true')"),
    "holds the size \"Symbol('s0').func": planted_size("Symbol('s0').func.__globals__"),
    "holds the size '9**9**9": planted_size("9**9**9**9"),
    "takes or gives 'collections.defaultdict'": planted_tree(
        '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'
    ),
    "takes or gives 'builtins.dict'": planted_tree(
        '[1, {"type": "builtins.dict", "context": "[\\"a=print(1)\\"]", "children_spec": []}]'
    ),
}


@pytest.mark.parametrize("sentence", HOSTILE_GRAPHS)
def test_a_graph_that_could_do_more_than_compute_is_refused(program, sentence):
    content = graph_changed(program[0], HOSTILE_GRAPHS[sentence])
    with pytest.raises(Refused, match="hostile.pt2") as refused:
        read_program(content, "hostile.pt2")
    assert sentence in str(refused.value)


def pickled_weight(members):
    name = next(one for one in members if one.endswith("model_weights_config.json"))
    document = json.loads(members[name])
    document["config"]["see.weight"]["use_pickle"] = True
    members[name] = json.dumps(document).encode()


def weight_elsewhere(members):
    name = next(one for one in members if one.endswith("model_weights_config.json"))
    document = json.loads(members[name])
    document["config"]["see.weight"]["path_name"] = "../../models/model.json"
    members[name] = json.dumps(document).encode()


HOSTILE_ARCHIVES = {
    "keeps 'see.weight' as a pickle": pickled_weight,
    "keeps 'see.weight' in '../../models/model.json'": weight_elsewhere,
    "compiled code": lambda members: members.update({"mine/data/aotinductor/model/x.so": b"\x7fELF"}),
    "opaque_obj_0', which torch would unpickle": lambda members: members.update(
        {"mine/data/constants/opaque_obj_0": pickle.dumps(1)}
    ),
    "with pickled weights": lambda members: members.update({"mine/data/weights/model.pt": pickle.dumps({})}),
    "lacks models/model.json": lambda members: [members.pop(one) for one in list(members) if "models/" in one],
    "is not valid JSON": lambda members: members.update(
        {one: b"[[[" for one in members if one.endswith("models/model.json")}
    ),
}


@pytest.mark.parametrize("sentence", HOSTILE_ARCHIVES)
def test_an_archive_with_more_than_tensors_is_refused(program, sentence):
    with pytest.raises(Refused) as refused:
        read_program(changed(program[0], HOSTILE_ARCHIVES[sentence]), "hostile.pt2")
    assert str(refused.value).startswith("hostile.pt2")
    assert sentence in str(refused.value)


def test_what_torch_save_wrote_is_refused_as_a_pickle(tmp_path):
    torch.save(Small().state_dict(), tmp_path / "weights.pt2")
    with pytest.raises(Refused, match=r"data\.pkl', a pickle of torch\.save; export the network itself"):
        read_program((tmp_path / "weights.pt2").read_bytes(), "weights.pt2")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_refused(program, share):
    content = program[0].read_bytes()
    with pytest.raises(Refused, match="is not a program of torch.export.save, or it is cut off"):
        read_program(content[: int(share * len(content))], "short.pt2")


def test_a_program_saved_for_a_graphics_card_becomes_one_for_the_processor(program):
    def onto_cuda(document):
        for value in document["graph_module"]["graph"]["tensor_values"].values():
            value["device"] = {"type": "cuda", "index": 0}

    archive, _ = read_program(graph_changed(program[0], onto_cuda), "cuda.pt2")
    loaded = torch.export.load(io.BytesIO(archive))
    values = [node.meta.get("val") for node in loaded.graph.nodes]
    assert {str(value.device) for value in values if isinstance(value, torch.Tensor)} == {"cpu"}
    assert np.shape(loaded.module(check_guards=False)(torch.zeros(2, 3, 16, 16)).detach()) == (2, 3)

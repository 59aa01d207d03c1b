"""The page in a real browser: choose a picture, write a text, fill in a record; see the answer and what it rests on."""

import contextlib
import hashlib
import json
import shutil

import numpy as np
import pytest

from sartor import registry
from sartor.stages.package import build_package
from sartor.testing.tiny_package import picture, tiny_run
from sartor.types import Pipeline

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOKEN = "a-token-of-thirty-two-letters-xx"


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=900,700"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    with contextlib.suppress(Exception):
        driver.quit()


def wait_for(browser, selector, seconds=15):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(browser, seconds).until(lambda it: it.find_elements("css selector", selector))


def choose(browser, path):
    wait_for(browser, "#drop:not([hidden])")
    browser.find_element("css selector", "#drop input").send_keys(str(path))


def complaints(browser):
    return [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]


def test_a_picture_is_answered_with_confidence_and_latency(browser, server, tmp_path):
    (tmp_path / "green.png").write_bytes(picture("green", 64))
    browser.get(server.url)
    choose(browser, tmp_path / "green.png")
    rows = wait_for(browser, ".row")
    assert rows[0].text.split() == ["green", "99.0", "%"]
    assert len(rows) == 3
    assert browser.find_element("css selector", ".label").text == "green"
    assert "ms from input to answer (decode" in browser.find_element("css selector", "#answers .quiet").text
    browser.find_element("css selector", "#explain").click()
    assert wait_for(browser, "#why img")[0].size["width"] > 0
    assert "green" in browser.find_element("css selector", "#why .quiet").text
    assert complaints(browser) == []
    browser.save_screenshot(str(tmp_path / "page.png"))


def test_what_is_no_picture_gets_its_sentence(browser, server, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    browser.get(server.url)
    choose(browser, tmp_path / "text.png")
    assert "not a picture" in wait_for(browser, ".error")[0].text


def test_a_token_is_asked_for_once(browser, package, start, tmp_path):
    (tmp_path / "red.png").write_bytes(picture("red", 64))
    server = start(package, "--token", TOKEN).wait()
    browser.get(server.url)
    field = wait_for(browser, "#token[style*=block] input")[0]
    assert field.is_displayed()
    field.send_keys(TOKEN)
    field.submit()
    choose(browser, tmp_path / "red.png")
    assert wait_for(browser, ".row")[0].text.startswith("red")
    assert not field.is_displayed()


def test_an_example_is_answered_with_one_click(browser, server):
    browser.get(server.url)
    wait_for(browser, "#examples button")[0].click()
    assert wait_for(browser, ".label")[0].text in ("red", "green", "blue")


def test_the_page_speaks_the_language_chosen(browser, server):
    browser.get(server.url)
    wait_for(browser, "#drop:not([hidden])")
    browser.find_element("css selector", "[data-code=zh]").click()
    assert "图片" in browser.find_element("css selector", "#drop").text
    assert browser.find_element("css selector", "html").get_attribute("lang") == "zh"
    browser.find_element("css selector", "[data-code=en]").click()
    assert "picture" in browser.find_element("css selector", "#drop").text


# ------------------------------------------------------------------------------------------ texts and records

LONG = "Donaudampfschifffahrtsgesellschaft" * 4
ROWS = [{"colour of its roof, as seen from above": "red" if n % 2 else "green", "kg": 1.0 + n} for n in range(30)]


def spam_file(path):
    """Counts a hash of "free" among the first eight of a text."""
    from onnx import TensorProto, helper, numpy_helper

    encode = registry.get("tasks", "text-classification").recall("ngrams-4096", b"")
    table = np.zeros((4096, 2), np.float32)
    table[:, 0], table[encode("free", (1,))[0]] = 0.1, (0, 4)
    nodes = [
        helper.make_node("Gather", ["table", "input"], ["vectors"]),
        helper.make_node("ReduceSum", ["vectors", "axes"], ["sums"], keepdims=0),
        helper.make_node("Softmax", ["sums"], ["output"], axis=1),
    ]
    kept = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")]
    return write(path, nodes, kept, TensorProto.INT32, 8)


def weight_file(path):
    """Heavy from 15 kg on; the other column counts for nothing."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("IsNaN", ["input"], ["missing"]),
        helper.make_node("Where", ["missing", "none", "input"], ["known"]),
        helper.make_node("Gemm", ["known", "w", "b"], ["y"]),
        helper.make_node("Softmax", ["y"], ["output"], axis=1),
    ]
    weights, shift = np.array([[0, 0], [0, 0.4]], np.float32), np.array([0, -6], np.float32)
    values = {"w": weights, "b": shift, "none": np.zeros(1, np.float32)}
    kept = [numpy_helper.from_array(value, name) for name, value in values.items()]
    return write(path, nodes, kept, TensorProto.FLOAT, 2)


def write(path, nodes, kept, kind, length):
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info("input", kind, [1, length])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 2])]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, kept)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path


def written_package(folder):
    model = spam_file(folder / "made.onnx")
    pipeline = Pipeline(
        "text-classification", ("ham", "spam"), (8,), "model.onnx", "onnxruntime", "fp32", 1, 1, encoding="ngrams-4096"
    )
    golden = [b"free money", b"see you tomorrow", LONG.encode()]
    build_package(tiny_run(model, pipeline=pipeline), model, pipeline, golden, folder / "package")


def filled_package(folder):
    task = registry.get("tasks", "tabular-classification")
    model, encoder = weight_file(folder / "made.onnx"), folder / "encoder.bin"
    raws = [json.dumps(row).encode() for row in ROWS]
    encoder.write_bytes(task.learn("", (2,), map(task.decode, raws), np.arange(30) // 15))
    learnt = hashlib.sha256(encoder.read_bytes()).hexdigest()
    pipeline = Pipeline(
        "tabular-classification", ("light", "heavy"), (2,), "model.onnx", "onnxruntime", "fp32", 1, 1, learnt=learnt
    )
    run = tiny_run(model, pipeline=pipeline)
    build_package(run, model, pipeline, raws[:3], folder / "package", encoder=encoder)


def write_text(browser):
    browser.find_element("css selector", "#text").send_keys(f"free money {LONG}")


def fill_record(browser):
    field = browser.find_element("css selector", "#fields input[name=kg]")
    field.clear()
    field.send_keys("28")


@pytest.mark.parametrize(
    ("build", "form", "fill", "label", "cause"),
    [
        (written_package, "#write", write_text, "spam", "free"),
        (filled_package, "#record", fill_record, "heavy", "kg"),
    ],
)
def test_what_is_written_is_answered_and_explained(browser, start, tmp_path, build, form, fill, label, cause):
    build(tmp_path)
    server = start(tmp_path / "package").wait()
    complaints(browser)  # what a test before wanted to be refused
    browser.get(server.url)
    wait_for(browser, f"{form}:not([hidden])")
    fill(browser)
    browser.find_element("css selector", f"{form} button.main").click()
    rows = wait_for(browser, ".row")
    assert browser.find_element("css selector", ".label").text == label
    assert rows[0].text.split()[0] == label
    assert float(rows[0].text.split()[1]) > 90
    assert "ms from input to answer" in browser.find_element("css selector", "#answers .quiet").text
    browser.find_element("css selector", "#explain").click()
    wait_for(browser, "#why .bar, #why mark, #why [title]")
    assert cause in browser.find_element("css selector", "#why").text
    too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not browser.execute_script(too_wide)
    browser.set_window_size(420, 800)
    assert not browser.execute_script(too_wide)
    browser.save_screenshot(str(tmp_path / "page.png"))
    browser.set_window_size(900, 700)
    assert complaints(browser) == []

"""The page in a real browser: choose a picture, see the answer."""

import contextlib
import shutil

import pytest

from sartor.testing.tiny_package import picture

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

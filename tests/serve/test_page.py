"""The gallery page in a real browser, used as a person uses it."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from serve.launch import Server
from tests.serve.conftest import TOKEN, png
from unlearn.artifacts import VARIANTS

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver import Chrome, ChromeOptions, ChromeService  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = [
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
]
FLAGS += ["disable-component-update", "disable-sync", "window-size=1200,900"]


@pytest.fixture
def page(server: Server, tmp_path: Path) -> Iterator[Chrome]:
    """The gallery in a fresh browser, opened with the token."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(f"--{flag}")
    browser = Chrome(options=options, service=ChromeService(DRIVER))
    browser.get(server.url)
    yield browser
    browser.quit()


def find(page: Chrome, css: str) -> WebElement:
    """Wait for a visible element that matches; return the first."""

    def visible(page: Chrome) -> WebElement | Literal[False]:
        for element in page.find_elements(By.CSS_SELECTOR, css):
            if element.is_displayed():
                return element
        return False

    return WebDriverWait(page, 20).until(visible)


def enter(page: Chrome, token: str = TOKEN) -> None:
    find(page, "#token").send_keys(token + "\n")


def pixels(page: Chrome, label: int, seed: int) -> list[np.ndarray]:
    """Return the three pictures as the screen shows them, in grey levels."""
    pictures = f"#sheets img[data-shown='{label}/{seed}']"
    WebDriverWait(page, 20).until(
        lambda page: len(page.find_elements(By.CSS_SELECTOR, pictures)) == 3
    )
    images = page.find_elements(By.CSS_SELECTOR, pictures)
    WebDriverWait(page, 20).until(
        lambda page: all(image.get_property("naturalWidth") for image in images)
    )
    return [
        np.asarray(Image.open(io.BytesIO(image.screenshot_as_png)).convert("L"), float)
        for image in images
    ]


def test_a_person_sees_three_different_pictures_of_each_label(page: Chrome) -> None:
    enter(page)
    forgotten = find(page, "#labels label.lost")
    assert forgotten.text.split() == ["1", "forgotten"]
    first = pixels(page, 1, 0)
    find(page, "#labels label:nth-child(4)").click()
    third = pixels(page, 3, 0)
    for pictures in (first, third):
        assert all(picture.std() > 20 for picture in pictures)
        pairs = [(0, 1), (0, 2), (1, 2)]
        assert all(np.abs(pictures[i] - pictures[j]).mean() > 3 for i, j in pairs)
    assert np.abs(first[0] - third[0]).mean() > 3
    captions = [
        caption.text.split("\n")[0]
        for caption in page.find_elements(By.CSS_SELECTOR, "#sheets figcaption")
    ]
    assert captions == ["original", "amnesiac", "oracle"]
    assert set(captions) == set(VARIANTS)


def test_a_person_reads_the_card_and_asks_for_another_seed(page: Chrome) -> None:
    enter(page)
    pixels(page, 1, 0)
    assert "selective-amnesia" in find(page, "#facts").text
    rows = [row.text for row in page.find_elements(By.CSS_SELECTOR, "#scores tbody tr")]
    assert "forget probability 0.97 0.02 0.05" in rows
    seed = find(page, "#seed")
    seed.clear()
    seed.send_keys("7\t")
    pixels(page, 1, 7)
    find(page, "#again").click()
    WebDriverWait(page, 20).until(lambda page: seed.get_property("value") != "7")
    pixels(page, 1, int(str(seed.get_property("value"))))


def test_a_wrong_token_is_refused_and_asked_for_again(page: Chrome) -> None:
    enter(page, "wrong")
    assert WebDriverWait(page, 20).until(lambda page: "not accepted" in find(page, "#ask-why").text)
    enter(page)
    pixels(page, 1, 0)


def test_the_page_shows_why_a_request_was_refused(page: Chrome) -> None:
    enter(page)
    pixels(page, 1, 0)
    find(page, "#seed").send_keys("99999999999\t")
    assert "seed must be a whole number from 0 to 4294967295" in find(page, "#error").text


def test_a_person_draws_and_uploads_for_a_classifier(page: Chrome, tmp_path: Path) -> None:
    enter(page)
    pixels(page, 1, 0)
    Select(find(page, "#model")).select_by_value("reader")
    pad = find(page, "#pad")
    ActionChains(page).move_to_element_with_offset(pad, 0, -60).click_and_hold().move_by_offset(
        0, 120
    ).release().perform()
    bars = "#readings figure:nth-child(1) .bars li"
    WebDriverWait(page, 20).until(
        lambda page: len(page.find_elements(By.CSS_SELECTOR, "#readings .bars li")) == 30
    )
    read = {
        row.text.split()[0]: float(row.text.split()[1])
        for row in page.find_elements(By.CSS_SELECTOR, bars)
    }
    assert max(read, key=lambda label: read[label]) == "1"
    (tmp_path / "wide.png").write_bytes(png(np.zeros((30, 30), np.uint8)))
    find(page, "#file").send_keys(str(tmp_path / "wide.png"))
    assert "this model needs 28 x 28" in find(page, "#error").text


def test_the_docs_page_lists_the_routes_without_the_internet(page: Chrome, server: Server) -> None:
    page.get(f"{server.url}/docs")
    find(page, "section h2")
    routes = [title.text for title in page.find_elements(By.CSS_SELECTOR, "section h2")]
    assert {
        "GET /v1/models",
        "POST /v1/models/{name}/generate",
        "POST /v1/models/{name}/classify",
    } <= set(routes)
    assert "a whole number from 1 to 256" in page.find_element(By.TAG_NAME, "body").text

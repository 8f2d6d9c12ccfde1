"""The gallery page in a real browser, used as a person uses it."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from tests.chrome import chrome
from tests.serve.conftest import TOKEN, card, png
from tests.serve.local import listening, local_app
from unlearn.gallery import VARIANTS, Gallery
from unlearn.metrics import columns as metric_columns

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver import Chrome  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

PAGE = Path(__file__).parents[2] / "serve" / "page.html"
PATIENCE_S = 60
RATES = {"rate": 0.25, "low": 0.1, "high": 0.5, "tries": 20}
RECORD: dict[str, Any] = {
    "seed": 0,
    "judge": {"network": "deep", "seed": 1, "test_accuracy": 0.98},
    "attacks": [
        {
            "name": "random-z",
            "about": "Draw images from `z`.",
            "blind_spot": "",
            "recovered": True,
            "models": {"amnesiac": RATES, "original": {**RATES, "rate": 0.75}},
            "comparison": {"excess": 0.25, "excess_low": 0.05, "excess_high": 0.4},
            "pictures": {"amnesiac": "random-z.amnesiac.png"},
        },
        {
            "name": "relearning",
            "about": "",
            "blind_spot": "",
            "recovered": None,
            "models": {
                "amnesiac": {"relearn_steps": [0, 2], "relearn_forget_accuracy": [0, 1]},
                "oracle": {"relearn_steps": [0, 2], "relearn_forget_accuracy": [0, 0.5]},
            },
            "comparison": {"ain_points": None},
            "pictures": {},
        },
    ],
}


@pytest.fixture(scope="module")
def gallery(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """The gallery of all tests of serving, with an audited third version of `digits`."""
    root = tmp_path_factory.mktemp("page") / "gallery"
    shutil.copytree(made, root)
    gallery = Gallery(str(root))
    version = gallery.current("digits")
    variants = {variant: gallery.load("digits", version, variant) for variant in VARIANTS}
    old = gallery.card("digits")
    kept = {key: old[key] for key in ("knobs", "scores", "provenance")}
    picture = png(np.full((20, 20), 200, np.uint8))
    documents = {"audit.json": json.dumps(RECORD).encode(), "random-z.amnesiac.png": picture}
    new = card("generator", "cvae-mlp", "selective-amnesia", **kept, why="best val score")
    gallery.publish("digits", variants, new, documents)
    return gallery


@pytest.fixture(scope="module")
def url(gallery: Gallery) -> Iterator[str]:
    with listening(local_app(gallery, token=TOKEN)) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests: it takes seconds to start."""
    with chrome(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def page(browser: Chrome, url: str) -> Chrome:
    """The gallery, opened without the token."""
    browser.get(f"{url}/docs")
    browser.execute_script("sessionStorage.clear()")
    browser.get(f"{url}/")
    return browser


def wait_for(page: Chrome, condition: Callable[[Chrome], Any]) -> Any:
    """Wait until the condition holds; the page may replace an element while it is read."""
    ignored = [StaleElementReferenceException]
    return WebDriverWait(page, PATIENCE_S, ignored_exceptions=ignored).until(condition)


def find(page: Chrome, css: str) -> WebElement:
    """Wait for a visible element that matches; return the first."""

    def visible(page: Chrome) -> WebElement | Literal[False]:
        for element in page.find_elements(By.CSS_SELECTOR, css):
            if element.is_displayed():
                return element
        return False

    found: WebElement = wait_for(page, visible)
    return found


def enter(page: Chrome, token: str = TOKEN) -> None:
    find(page, "#token").send_keys(token + "\n")


def open_at(page: Chrome, url: str, state: str) -> None:
    """Enter the token, then open the page at a state of its address."""
    enter(page)
    find(page, "#name")
    page.get("data:,")
    page.get(f"{url}/#{state}")


def pixels(page: Chrome, label: int, seed: int, n: int = 16) -> list[np.ndarray]:
    """Return the three pictures as the screen shows them, in grey levels."""
    pictures = f"#sheets img[data-shown='{label}/{seed}/{n}']"
    wait_for(page, lambda page: len(page.find_elements(By.CSS_SELECTOR, pictures)) == 3)
    images = page.find_elements(By.CSS_SELECTOR, pictures)
    wait_for(page, lambda page: all(image.get_property("naturalWidth") for image in images))
    wait_for(page, lambda page: not page.find_elements(By.CSS_SELECTOR, "#sheets .waiting"))
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


def test_a_person_asks_for_another_seed_and_number(page: Chrome) -> None:
    enter(page)
    pixels(page, 1, 0)
    seed = find(page, "#seed")
    seed.clear()
    seed.send_keys("7\t")
    pixels(page, 1, 7)
    Select(find(page, "#n")).select_by_value("4")
    pixels(page, 1, 7, n=4)
    find(page, "#again").click()
    wait_for(page, lambda page: seed.get_property("value") != "7")
    pixels(page, 1, int(str(seed.get_property("value"))), n=4)


def test_the_address_holds_what_is_shown(page: Chrome, url: str) -> None:
    open_at(page, url, "model=digits&tab=try&label=3&seed=5&n=4")
    pixels(page, 3, 5, n=4)
    find(page, "#tab-card").click()
    assert "selective-amnesia" in find(page, "#facts").text
    assert "tab=card" in page.current_url
    page.back()
    pixels(page, 3, 5, n=4)
    assert find(page, "#tab-try").get_attribute("aria-selected") == "true"


def test_main_scores_come_first_with_their_meaning_and_direction(page: Chrome, url: str) -> None:
    open_at(page, url, "model=reader&tab=scores")
    find(page, "#main-scores tbody tr")
    rows = page.find_elements(By.CSS_SELECTOR, "#main-scores tbody tr")
    names = [row.get_attribute("data-score") for row in rows]
    assert names == ["test_forget_accuracy", "test_retain_accuracy"]
    assert "lower is better" in rows[0].text
    values = [cell.text for cell in rows[0].find_elements(By.CSS_SELECTOR, "td:not(.scale)")]
    assert values == ["0.980", "0", "–"]


def test_every_main_score_is_a_column() -> None:
    script = PAGE.read_text("utf-8").partition("const MAIN = ")[2].partition("};")[0]
    known = {**metric_columns(), "relearn_batches_points": float, "probe_forget_accuracy": float}
    names = [line.strip()[2:].split('"')[0] for line in script.splitlines() if '["' in line]
    assert len(names) == 14
    assert set(names) <= set(known)


def test_the_audit_shows_rates_pictures_and_what_signs_it(
    page: Chrome, url: str, gallery: Gallery
) -> None:
    open_at(page, url, "model=digits&tab=audit")
    assert "1 of 1 attacks got more out of this model" in find(page, "#audit h2").text
    picture = find(page, ".attack img")
    wait_for(page, lambda page: picture.get_property("naturalWidth") == 20)
    text = find(page, "#audit").text
    assert "0.25 [0.10, 0.50]" in text
    assert "minus the oracle's: +0.25 [+0.05, +0.40]; 20 tries." in text
    assert "98.0 % right on real test images" in text
    assert page.find_elements(By.CSS_SELECTOR, ".attack polyline")
    checksums = gallery.checksums("digits", gallery.current("digits"))
    assert checksums["audit.json"] in text
    assert checksums["oracle.safetensors"] in text


def test_a_model_without_an_audit_says_so(page: Chrome, url: str) -> None:
    open_at(page, url, "model=reader&tab=audit")
    assert "promote it again" in find(page, "#audit-shown p").text


def test_two_versions_stand_beside_each_other(page: Chrome, url: str, gallery: Gallery) -> None:
    first, second, third = gallery.history("digits")
    open_at(page, url, f"model=digits&tab=versions&left={first}&right={third}&label=1")
    wait_for(page, lambda page: len(page.find_elements(By.CSS_SELECTOR, "#both img[src]")) == 2)
    captions = [each.text for each in page.find_elements(By.CSS_SELECTOR, "#both figcaption")]
    assert [caption.split("\n")[0] for caption in captions] == [first, third]
    assert "steps 30" in captions[0]
    Select(find(page, "#left")).select_by_value(second)
    wait_for(page, lambda page: find(page, "#both figcaption").text.startswith(second))
    assert f"left={second}" in page.current_url


def test_a_wrong_token_is_refused_and_asked_for_again(page: Chrome) -> None:
    enter(page, "wrong")
    assert wait_for(page, lambda page: "not accepted" in find(page, "#ask-why").text)
    enter(page)
    pixels(page, 1, 0)


def test_the_page_shows_why_a_request_was_refused_and_greys_nothing(page: Chrome) -> None:
    enter(page)
    pixels(page, 1, 0)
    find(page, "#seed").send_keys("99999999999\t")
    assert "seed must be a whole number from 0 to 4294967295" in find(page, "#error").text
    wait_for(page, lambda page: not page.find_elements(By.CSS_SELECTOR, "#sheets .waiting"))


def test_a_person_draws_and_uploads_for_a_classifier(page: Chrome, tmp_path: Path) -> None:
    enter(page)
    pixels(page, 1, 0)
    Select(find(page, "#model")).select_by_value("reader")
    pad = find(page, "#pad")
    # A stroke in a corner: the service centres it as MNIST's digits are.
    ActionChains(page).move_to_element_with_offset(pad, -60, -70).click_and_hold().move_by_offset(
        0, 90
    ).release().perform()
    first = "#readings figure:nth-child(1)"
    bars = "#readings .bars li"
    wait_for(page, lambda page: len(page.find_elements(By.CSS_SELECTOR, bars)) == 30)
    assert find(page, f"{first} .verdict b").text == "1"
    assert "a forgotten class" in find(page, f"{first} .verdict").text
    assert find(page, f"{first} .bars li.first").text.split()[0] == "1"
    wide = np.zeros((30, 60), np.uint8)
    wide[5:25, 28:31] = 255
    (tmp_path / "wide.png").write_bytes(png(wide))
    (tmp_path / "no.png").write_bytes(b"no image")
    find(page, "#clear").click()
    find(page, "#file").send_keys(str(tmp_path / "wide.png"))
    wait_for(page, lambda page: len(page.find_elements(By.CSS_SELECTOR, bars)) == 30)
    assert find(page, f"{first} .verdict b").text == "1"
    find(page, "#file").send_keys(str(tmp_path / "no.png"))
    assert "not a readable image" in find(page, "#error").text


def fits(page: Chrome) -> bool:
    """Tell whether nothing is wider than the window."""
    root = "document.documentElement"
    return bool(page.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_screen(page: Chrome, url: str, width: int, scheme: str) -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    feature = {"name": "prefers-color-scheme", "value": scheme}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        open_at(page, url, "model=digits&tab=try")
        pixels(page, 1, 0)
        for tab, shown in {
            "try": "#sheets img[src]",
            "scores": "#main-scores td",
            "audit": ".attack code",
            "versions": "#version-scores td",
            "card": "#facts dd",
        }.items():
            find(page, f"#tab-{tab}").click()
            find(page, shown)
            assert fits(page)
        Select(find(page, "#model")).select_by_value("reader")
        find(page, "#tab-try").click()
        find(page, "#file")
        assert fits(page)
        ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ("20, 22, 26" in ground) == (scheme == "dark")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_docs_page_lists_the_routes_without_the_internet(page: Chrome, url: str) -> None:
    page.get(f"{url}/docs")
    find(page, "section h2")
    routes = [title.text for title in page.find_elements(By.CSS_SELECTOR, "section h2")]
    assert {
        "GET /v1/models",
        "POST /v1/models/{name}/generate",
        "POST /v1/models/{name}/classify",
        "GET /v1/models/{name}/audit",
    } <= set(routes)
    assert "a whole number from 1 to 256" in page.find_element(By.TAG_NAME, "body").text

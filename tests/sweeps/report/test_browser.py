"""The page in a real browser: nothing is wider than a phone, and a link opens its row."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.report.claims import claims
from sweeps.report.elements import anchor_of, contents, link, paragraph
from sweeps.report.head import head
from sweeps.report.page import entries_of, sweep_part
from sweeps.report.style import HEAD
from tests.chrome import chrome
from tests.sweeps import builders as make
from tests.sweeps.report.test_claims import rows as scored_rows

selenium = pytest.importorskip("selenium", reason="selenium is not installed")

from selenium.webdriver import Chrome  # noqa: E402


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    with chrome(tmp_path / "browser") as opened:
        yield opened


def written(folder: Path, cell_id: str) -> Path:
    """Write a page with a head, contents, wide tables, and a sweep whose cells failed."""
    results = make.results(folder)
    for cell in make.cells(grid={"steps": [5, 6]}):
        make.write(results, cell, "failed", error="a reason that is long " * 20, store="/s")
    rows = results.read()
    body = claims(scored_rows()) + sweep_part("s", rows, "unused")
    body += paragraph(link(anchor_of(cell_id), "to the row"))
    start = [HEAD, head(results, ["s"], rows, "o.html"), contents(entries_of(body))]
    out = folder / "report.html"
    out.write_text("".join([*start, body]))
    return out


def test_nothing_is_wider_than_the_screen_and_links_open_rows(
    browser: Chrome, tmp_path: Path
) -> None:
    first = make.cells(grid={"steps": [5, 6]})[0].cell_id
    address = written(tmp_path, first).as_uri()
    root = "document.documentElement"
    for width, scheme in ((390, "dark"), (1400, "light")):
        size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        browser.get(address)
        assert browser.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
    browser.get(f"{address}#{anchor_of(first)}")
    assert browser.execute_script("return document.querySelector('details:has(tr:target)').open")

"""HTML elements: every text is escaped, every picture is inside the page."""

import base64
import io

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from sweeps.report.elements import DPI, folded, heading, image, paragraph, picture, table

ATTACK = "<script>\"'&"
ESCAPED = "&lt;script&gt;&quot;&#x27;&amp;"


def test_texts_are_escaped() -> None:
    assert heading(2, ATTACK) == f"<h2>{ESCAPED}</h2>"
    assert paragraph(ATTACK) == f"<p>{ESCAPED}</p>"
    assert paragraph(ATTACK, "why") == f"<p class=why>{ESCAPED}</p>"
    assert f"<summary>{ESCAPED}</summary>" in folded(ATTACK, "")


def test_a_caption_is_escaped_inside_its_attribute_too() -> None:
    html = image(b"", "gif", ATTACK)
    assert f'alt="{ESCAPED}"' in html
    assert f"<figcaption>{ESCAPED}</figcaption>" in html


def test_a_table_escapes_names_and_values() -> None:
    rows = pd.DataFrame({"<b>": ["<i>"]}, index=["<u>"])
    html = table(rows, index=True)
    assert not {"<b>", "<i>", "<u>"} & set(html.replace(">", "> ").split())
    assert all(f"&lt;{name}&gt;" in html for name in "biu")


def test_a_table_formats_floats_and_leaves_the_index_out() -> None:
    html = table(pd.DataFrame({"a": [0.123456]}, index=["first"]), digits=".3f")
    assert "<td>0.123</td>" in html
    assert "first" not in html


def test_a_figure_is_embedded_as_a_png() -> None:
    html = picture(Figure(figsize=(2, 1)), "caption")
    data = html.partition("data:image/png;base64,")[2].partition('"')[0]
    embedded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert (embedded.format, embedded.size) == ("PNG", (2 * DPI, DPI))

"""HTML elements: every text is escaped, every picture is inside the page."""

import base64
import io

import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from sweeps.report.elements import (
    DPI,
    Html,
    contents,
    facts,
    folded,
    heading,
    image,
    link,
    paragraph,
    picture,
    table,
    table_of_cells,
)

ATTACK = "<script>\"'&"
ESCAPED = "&lt;script&gt;&quot;&#x27;&amp;"


def test_texts_are_escaped() -> None:
    assert heading(2, ATTACK) == f"<h2>{ESCAPED}</h2>"
    assert paragraph(ATTACK) == f"<p>{ESCAPED}</p>"
    assert paragraph(ATTACK, "why") == f"<p class=why>{ESCAPED}</p>"
    assert f"<summary>{ESCAPED}</summary>" in folded(ATTACK, "")


def test_html_of_ours_is_not_escaped_again() -> None:
    assert paragraph(Html("<b>x</b>")) == "<p><b>x</b></p>"
    assert facts({ATTACK: ATTACK, "a": Html("<b>")}) == (
        f"<dl><dt>{ESCAPED}</dt><dd>{ESCAPED}</dd><dt>a</dt><dd><b></dd></dl>"
    )


def test_anchors_and_links_are_escaped() -> None:
    assert heading(3, "t", ATTACK) == f'<h3 id="{ESCAPED}">t</h3>'
    assert link(ATTACK, ATTACK) == f'<a href="#{ESCAPED}">{ESCAPED}</a>'


def test_contents_nest_as_the_headings_do() -> None:
    page = contents([(0, "a", "A"), (1, "b", "B"), (1, "c", "C"), (0, "d", "D")])
    places = {name.lower(): f'<li><a href="#{name.lower()}">{name}</a></li>' for name in "ABCD"}
    inner = f"<ul>{places['b']}{places['c']}</ul>"
    assert f"<ul>{places['a']}{inner}{places['d']}</ul></nav>" in page


def test_each_cell_s_row_can_be_linked_to() -> None:
    page = table_of_cells(pd.DataFrame({"cell_id": ["x", ATTACK], "a": [1, 2]}))
    assert '<tr id="row-x">' in page
    assert f'<tr id="row-{ESCAPED}">' in page
    assert page.count("<tr") == 3


def test_what_is_missing_is_a_dash() -> None:
    assert "<td>–</td>" in table(pd.DataFrame({"a": [None, 1.5]}))


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

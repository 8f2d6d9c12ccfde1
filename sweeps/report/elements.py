"""The HTML elements of the page. They escape all text, because rows may come from others."""

import base64
import html
import io
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:  # `amnesia show --claims` must not wait for matplotlib's import
    from matplotlib.figure import Figure

DPI = 110


class Html(str):
    """Text that is HTML already, and is not escaped again."""


def escape(value: object) -> str:
    """Escape a value's text for HTML, quotes included."""
    return html.escape(str(value), quote=True)


def heading(level: int, text: str, anchor: str = "") -> str:
    """Return a heading of level 1 to 6; `anchor` is its id, which `link` can name."""
    mark = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{mark}>{escape(text)}</h{level}>"


def link(anchor: str, text: str) -> Html:
    """Return a link to a place on the page."""
    return Html(f'<a href="#{escape(anchor)}">{escape(text)}</a>')


def anchor_of(cell_id: str) -> str:
    """Return the id of the line that holds a cell, in the table of all rows."""
    return f"row-{cell_id}"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is its CSS class."""
    mark = f" class={kind}" if kind else ""
    return f"<p{mark}>{as_html(text)}</p>"


def as_html(content: object) -> str:
    """Return `Html` as it is, and anything else escaped."""
    return content if isinstance(content, Html) else escape(content)


def facts(found: Mapping[str, object]) -> str:
    """Return a list of names with their values."""
    parts = [f"<dt>{escape(name)}</dt><dd>{as_html(value)}</dd>" for name, value in found.items()]
    return f"<dl>{''.join(parts)}</dl>"


def contents(entries: Iterable[tuple[int, str, str]]) -> str:
    """Return a list of links. entries: (level from 0, anchor, text) in the order of the page."""
    parts, depth = [], -1
    for level, anchor, text in entries:
        parts.append("<ul>" * (level - depth) + "</ul>" * (depth - level))
        parts.append(f"<li>{link(anchor, text)}</li>")
        depth = level
    return f"<nav aria-label=Contents>{''.join(parts)}{'</ul>' * (depth + 1)}</nav>"


def table(rows: pd.DataFrame, digits: str = ".4g", index: bool = False) -> str:
    """Return a table of all rows.

    digits: format of floats, as in `.4g`
    index: whether the first column holds the index
    """
    number = f"{{:{digits}}}".format
    made = rows.to_html(index=index, border=0, float_format=number, na_rep="–", escape=True)
    return scrollable(made)


def table_of_cells(rows: pd.DataFrame) -> str:
    """Return a table of rows, each with its `anchor_of`; the column `cell_id` comes first."""
    body, anchors = table(rows), [anchor_of(cell_id) for cell_id in rows["cell_id"]]
    head, *lines = body.split("<tr>")
    for i, anchor in enumerate(anchors):
        lines[i] = f'<tr id="{escape(anchor)}">{lines[i]}'
    return head + "".join(lines)


def with_tooltips(page: str, texts: Mapping[str, str]) -> str:
    """Give every table heading that is a key of `texts` its text, shown under the pointer."""

    def told(match: re.Match[str]) -> str:
        text = texts.get(html.unescape(match[1]))
        return match[0] if text is None else f'<th title="{escape(text)}">{match[1]}</th>'

    return re.sub(r"<th>([^<]+)</th>", told, page)


def scrollable(content: str) -> str:
    """Wrap HTML that may be wider than the page in a block that scrolls."""
    return f"<div class=scroll>{content}</div>"


def folded(title: str, content: str) -> str:
    """Wrap HTML in a block that opens at a click on its title."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def picture(figure: "Figure", caption: str) -> str:
    """Return a figure, embedded as a PNG."""
    sink = io.BytesIO()
    figure.savefig(sink, format="png", dpi=DPI)
    return image(sink.getvalue(), "png", caption)


def image(content: bytes, kind: str, caption: str) -> str:
    """Return an embedded image file; `kind` is `png` or `gif`."""
    data, text = base64.b64encode(content).decode(), escape(caption)
    tag = f'<img alt="{text}" src="data:image/{kind};base64,{data}">'
    return f"<figure>{tag}<figcaption>{text}</figcaption></figure>"

"""The HTML elements of the page. They escape all text, because rows may come from others."""

import base64
import html
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:  # `amnesia show --claims` must not wait for matplotlib's import
    from matplotlib.figure import Figure

DPI = 110


def escape(value: object) -> str:
    """Escape a value's text for HTML, quotes included."""
    return html.escape(str(value), quote=True)


def heading(level: int, text: str) -> str:
    """Return a heading of level 1 to 6."""
    return f"<h{level}>{escape(text)}</h{level}>"


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is its CSS class."""
    mark = f" class={kind}" if kind else ""
    return f"<p{mark}>{escape(text)}</p>"


def table(rows: pd.DataFrame, digits: str = ".4g", index: bool = False) -> str:
    """Return a table of all rows.

    digits: format of floats, as in `.4g`
    index: whether the first column holds the index
    """
    return rows.to_html(index=index, float_format=f"{{:{digits}}}".format, escape=True)


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

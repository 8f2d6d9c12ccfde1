"""Answer a client that has a sheet already, without the application's routing and validation.

These take ten times as long as the answer itself. An answer is given here only if the whole
application gave the same ETag for the same URL before, and the model's files are still the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.catalog import Catalog, Entry
from serve.trace import current

REMEMBERED = 4096  # URLs; forgotten when there are more
IF_NONE_MATCH = b"if-none-match"

Url = tuple[str, bytes]  # path and query, as the client sent them
Header = tuple[bytes, bytes]


def names(header: str, tag: str) -> bool:
    """Tell whether the header If-None-Match names the tag."""
    named = [part.strip().removeprefix("W/") for part in header.split(",")]
    return tag in named or "*" in named


def not_modified(tag: str) -> Response:
    """Answer that the client's sheet is still the one."""
    return Response(status_code=304, headers=sheet_headers(tag))


def sheet_headers(tag: str) -> dict[str, str]:
    """Return the headers of a sheet that clients may keep."""
    return {"ETag": tag, "Cache-Control": "private, no-cache"}


@dataclass(frozen=True)
class Known:
    """What the application has answered for one URL.

    entry: the model, as it was read from its files.
    tag: the ETag.
    route: the route that answered, for log and metrics.
    """

    entry: Entry
    tag: str
    route: Any


@dataclass
class Sheets:
    """The ETags of sheets that clients have asked for.

    catalog: tells whether a model's files have changed since.
    """

    catalog: Catalog
    _known: dict[Url, Known] = field(default_factory=dict, repr=False)

    def remember(self, scope: Scope, entry: Entry, tag: str) -> None:
        """Take in what was answered for the current version of a model."""
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        url = (scope["path"], scope["query_string"])
        self._known[url] = Known(entry, tag, scope.get("route"))

    def find(self, scope: Scope) -> Known | None:
        """Return what would be answered again; None if only the application can tell."""
        known = self._known.get((scope["path"], scope["query_string"]))
        if known is None or self.catalog.known(known.entry.name) is not known.entry:
            return None
        return known


class Revalidate:
    """ASGI middleware that answers 304.

    app: the application behind it.
    sheets: what the application has answered.
    """

    def __init__(self, app: ASGIApp, sheets: Sheets) -> None:
        self.app = app
        self.sheets = sheets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            header = _header(scope["headers"])
            known = self.sheets.find(scope) if header else None
            if header and known is not None and names(header, known.tag):
                scope["route"] = known.route
                trace = current()
                trace.model, trace.version = known.entry.name, known.entry.version
                await not_modified(known.tag)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _header(headers: Iterable[Header]) -> str:
    """Return the header If-None-Match; empty if there is none."""
    for name, value in headers:
        if name == IF_NONE_MATCH:
            return value.decode("latin-1")
    return ""

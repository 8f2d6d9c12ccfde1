"""The audit of a promoted model over HTTP: what attacks got out of it, signed with its card."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from serve.catalog import DAMAGE, Catalog, Entry, UnknownModel, Unservable, refusal
from unlearn.digests import sha256

KINDS = {".json": "application/json", ".png": "image/png"}  # suffix -> content type
RECORD, ROW = "audit.json", "row.json"
VERSION = "a promoted version; the current one by default"


def audit_router(catalog: Catalog) -> APIRouter:
    """Make the routes of the audit.

    catalog: the models on offer.
    """
    router = APIRouter(redirect_slashes=False)

    @router.get("/v1/models/{name}/audit")
    async def audit(
        name: str, version: Annotated[str | None, Query(description=VERSION)] = None
    ) -> dict[str, Any]:
        """What each attack got out of amnesiac, original and oracle: rates with intervals, the
        judge, seeds, links to pictures, and the checksums that tie it to weights, row and code."""
        entry = await run_in_threadpool(catalog.entry, name, version)
        return await run_in_threadpool(signed_record, catalog, entry)

    @router.get("/v1/models/{name}/audit/{file}", response_class=Response)
    async def document(
        request: Request,
        name: str,
        file: str,
        version: Annotated[str | None, Query(description=VERSION)] = None,
    ) -> Response:
        """A file of the audit: `row.json`, `audit.json`, or a picture that it names."""
        entry = await run_in_threadpool(catalog.entry, name, version)
        data = await run_in_threadpool(read_document, catalog, entry, file)
        tag = f'"{sha256(data)}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        kind = KINDS["." + file.rpartition(".")[2]]
        return Response(data, media_type=kind, headers=headers)

    return router


def signed_record(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Return the audit that promotion wrote, with links and the checksums that sign it.

    `signature` holds the SHA-256 of the weights, of the row and of the record, as the card has
    them, and the revision of the code that computed the row.
    """
    record = _parse(catalog, entry)
    base = f"/v1/models/{entry.name}/audit"
    for attack in record["attacks"]:
        files = attack.get("pictures", {})
        attack["pictures"] = {
            model: f"{base}/{file}?version={entry.version}" for model, file in files.items()
        }
    documents, provenance = entry.card["documents"], entry.card.get("provenance", {})
    signature = {
        "weights": entry.card["sha256"],
        "row": documents.get(ROW),
        "record": documents.get(RECORD),
        "cell_id": provenance.get("cell_id"),
        "git_revision": provenance.get("git_revision"),
        "version_amnesia": provenance.get("version_amnesia"),
    }
    links = {
        "row": f"{base}/{ROW}?version={entry.version}",
        "record": f"{base}/{RECORD}?version={entry.version}",
    }
    named = {"model": entry.name, "version": entry.version}
    return {**named, **record, "signature": signature, "links": links}


def _parse(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Return the record of `audit.json`. Raises `UnknownModel` and `Unservable`."""
    data = read_document(catalog, entry, RECORD)
    try:
        record: dict[str, Any] = json.loads(data)
        record["attacks"] = [dict(attack) for attack in record["attacks"]]
    except DAMAGE as error:
        raise Unservable(refusal(catalog.gallery, entry.name, error)) from error
    return record


def read_document(catalog: Catalog, entry: Entry, file: str) -> bytes:
    """Return a verified file of the audit.

    Raises `UnknownModel` where the version has none of that name, as before audits were kept, and
    `Unservable` where it is damaged.
    """
    known = entry.card.get("documents", {})
    if not isinstance(known, dict) or file not in known:
        missing = f"version {entry.version} of {entry.name!r} has no {file[:80]!r}"
        names = ", ".join(sorted(known))
        how = f"known: {names}" if names else "it was promoted without its audit, promote it again"
        raise UnknownModel(f"{missing}; {how}")
    try:
        return catalog.gallery.document(entry.name, entry.version, file)
    except DAMAGE as error:
        raise Unservable(refusal(catalog.gallery, entry.name, error)) from error

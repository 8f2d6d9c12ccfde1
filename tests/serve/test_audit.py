"""The audit over HTTP, versions, damaged files in `/healthz`, HEAD, JSON errors, other origins."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from starlette.testclient import TestClient

from serve.web import check_origins
from tests.serve.conftest import SHAPE, card, error_line, png
from tests.serve.local import local_app
from unlearn.errors import BadInput
from unlearn.gallery import VARIANTS, Gallery
from unlearn.models import build

AUDIT = "/v1/models/reader/audit"
PAGE = "https://pages.example"
RECORD: dict[str, Any] = {
    "format": "amnesia-audit/1",
    "seed": 3,
    "judge": {"seat": "lead"},
    "attacks": [
        {
            "name": "random-z",
            "recovered": False,
            "models": {"amnesiac": {"rate": 0.1, "low": 0.0, "high": 0.3, "tries": 20}},
            "comparison": {"excess": 0.1},
            "pictures": {"amnesiac": "random-z.amnesiac.png"},
        }
    ],
}


def refusal(answer: Any, status: int) -> str:
    """Check an answer as `error_line` does; Starlette's client has a response type of its own."""
    return error_line(answer, status)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def audited(tmp_path: Path) -> Gallery:
    """A gallery of one classifier with two versions; only the second has an audit."""
    torch.manual_seed(0)
    gallery = Gallery(str(tmp_path / "gallery"))
    variants = {variant: build("cnn", SHAPE, 10).state_dict() for variant in VARIANTS}
    provenance = {"cell_id": "0123", "git_revision": "abc", "version_amnesia": "0.1.0"}
    plain = card("classifier", "cnn", "retrain", provenance=provenance)
    gallery.publish("reader", variants, {**plain, "seed": 1})
    picture = png(torch.zeros(4, 4, dtype=torch.uint8).numpy())
    documents = {"audit.json": json.dumps(RECORD).encode(), "row.json": b'{"cell_id": "0123"}'}
    gallery.publish("reader", variants, plain, documents | {"random-z.amnesiac.png": picture})
    return gallery


@pytest.fixture
def client(audited: Gallery) -> Iterator[TestClient]:
    with opened(audited) as made:
        yield made


def opened(gallery: Gallery, **options: Any) -> TestClient:
    """A client of the application that raises nothing and follows no redirect."""
    app = local_app(gallery, **options)
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


def test_the_audit_is_signed_with_its_card(client: TestClient, audited: Gallery) -> None:
    found = client.get(AUDIT).json()
    assert (found["model"], found["version"]) == ("reader", audited.current("reader"))
    assert found["attacks"][0]["models"] == RECORD["attacks"][0]["models"]
    signature = found["signature"]
    row = client.get(found["links"]["row"])
    record = client.get(found["links"]["record"])
    assert signature["row"] == sha(row.content)
    assert signature["record"] == sha(record.content)
    version = Path(audited.root) / "reader" / found["version"]
    for variant in VARIANTS:
        weights = (version / f"{variant}.safetensors").read_bytes()
        assert signature["weights"][variant] == sha(weights)
    assert (signature["cell_id"], signature["git_revision"]) == ("0123", "abc")


def test_its_pictures_are_links(client: TestClient) -> None:
    link = client.get(AUDIT).json()["attacks"][0]["pictures"]["amnesiac"]
    answer = client.get(link)
    assert answer.headers["content-type"] == "image/png"
    assert answer.content.startswith(b"\x89PNG")
    again = client.get(link, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("file", ["nope.png", "card.json", "amnesiac.safetensors", "..%2Fcurrent"])
def test_only_documents_are_read(client: TestClient, file: str) -> None:
    refusal(client.get(f"{AUDIT}/{file}"), 404)


def test_an_older_version_is_asked_by_name(client: TestClient, audited: Gallery) -> None:
    older, newest = audited.history("reader")
    assert client.get("/v1/models/reader").json()["version"] == newest
    answer = client.get("/v1/models/reader", params={"version": older}).json()
    assert (answer["version"], answer["seed"]) == (older, 1)
    assert answer["versions"] == [older, newest]
    says = refusal(client.get(AUDIT, params={"version": older}), 404)
    assert "without its audit, promote it again" in says
    unknown = client.get("/v1/models/reader", params={"version": "x"})
    says = refusal(unknown, 404)
    assert says == f"no version 'x' of model 'reader'; promoted: {older}, {newest}"


def test_damaged_files_show_in_health_until_they_are_mended(
    client: TestClient, audited: Gallery
) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    version = Path(audited.root) / "reader" / audited.current("reader")
    for file in ("oracle.safetensors", "row.json"):
        path = version / file
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        found = settled(client, "degraded")
        assert list(found["damaged"]) == ["reader"]
        assert f"{file} is damaged" in found["damaged"]["reader"]
        assert audited.root not in found["damaged"]["reader"]
        path.write_bytes(whole)
        assert settled(client, "ok") == {"status": "ok"}
    (version / "row.json").unlink()
    assert "row.json is missing" in settled(client, "degraded")["damaged"]["reader"]


def settled(client: TestClient, status: str) -> dict[str, Any]:
    """Ask /healthz until it says `status`: a slow disk may need more than one request."""
    for _ in range(100):
        answer = client.get("/healthz")
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        if found["status"] == status:
            return found
    raise AssertionError(f"/healthz never said {status}: {found}")


@pytest.mark.parametrize("path", ["/", "/docs", "/healthz", "/v1/models", AUDIT, "/openapi.json"])
def test_head_is_get_without_its_body(client: TestClient, path: str) -> None:
    full, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (full.status_code, b"")
    assert head.headers["content-length"] == full.headers["content-length"]
    assert head.headers["content-type"] == full.headers["content-type"]


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/models/", 404),
        ("GET", "/docs/", 404),
        ("GET", f"{AUDIT}/", 404),
        ("GET", "/v1/models/nope/audit", 404),
        ("POST", "/v1/models", 405),
        ("OPTIONS", "/v1/models", 405),
        ("DELETE", AUDIT, 405),
        ("BREW", "/", 405),
        ("HEAD", "/nope", 404),
    ],
)
def test_every_path_answers_errors_in_json_and_redirects_nowhere(
    client: TestClient, verb: str, path: str, status: int
) -> None:
    answer = client.request(verb, path, headers={"Host": "evil.example"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert "evil.example" not in str(answer.headers) + answer.text


def preflight(client: TestClient, origin: str) -> Any:
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    return client.options("/v1/models/reader/classify", headers=asked)


def test_pages_of_allowed_origins_may_ask(audited: Gallery) -> None:
    with opened(audited, token="secret", origins=[PAGE]) as client:
        allowed = preflight(client, PAGE)
        assert allowed.status_code == 200  # browsers send no token with this question
        assert allowed.headers["access-control-allow-origin"] == PAGE
        refused = preflight(client, "https://other.example")
        assert "other.example" in refusal(refused, 400)
        asked = client.get("/v1/models", headers={"Origin": PAGE, "Authorization": "Bearer secret"})
        assert asked.headers["access-control-allow-origin"] == PAGE
        without = client.get("/v1/models", headers={"Origin": PAGE})
        refusal(without, 401)
        # The page must be able to read the refusal.
        assert without.headers["access-control-allow-origin"] == PAGE


def test_no_other_origin_may_ask_by_default(client: TestClient) -> None:
    answer = client.get("/v1/models", headers={"Origin": PAGE})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origins", [["pages.example"], ["https://a/b"], ["https://"], [""]])
def test_what_is_no_origin_is_refused(origins: Sequence[str]) -> None:
    with pytest.raises(BadInput, match="--allow-origin must be like https://host:port"):
        check_origins(origins)


def test_origins_as_browsers_send_them_pass() -> None:
    check_origins([PAGE, "http://localhost:3000", "*"])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ([("variant", "oracle"), ("variant", "original")], "must stand there once"),
        ([("fit", "stretch")], "fit must be one of pad, crop, not 'stretch'"),
        ([("size", "28")], "unknown form field 'size'; allowed: variant, fit, and `image`"),
    ],
)
def test_form_fields_are_known_and_stand_once(
    client: TestClient, fields: list[tuple[str, str]], says: str
) -> None:
    parts: list[Any] = [("image", ("a.png", png(torch.zeros(28, 28, dtype=torch.uint8).numpy())))]
    parts += [(name, (None, value)) for name, value in fields]
    assert says in refusal(client.post("/v1/models/reader/classify", files=parts), 422)


def test_a_file_under_another_name_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/models/reader/classify", files={"picture": b"x"})
    assert "unknown form field 'picture'" in refusal(answer, 422)


def test_a_photo_of_another_size_is_read_on_request(client: TestClient) -> None:
    photo = png(torch.randint(0, 255, (90, 60), dtype=torch.uint8).numpy())
    path = "/v1/models/reader/classify"
    refusal(client.post(path, files={"image": photo}), 422)
    for fit in ("pad", "crop"):
        answer = client.post(path, files={"image": photo}, data={"fit": fit})
        assert (answer.status_code, len(answer.json()["probabilities"][0])) == (200, 10)

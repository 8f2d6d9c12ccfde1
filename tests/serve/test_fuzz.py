"""Requests that nobody would send, seeded: none is answered 5xx, and every refusal is a JSON line.

`make test` sends the first 1,500; `make fuzz` (FUZZ=10000) sends them all.
"""

import asyncio
import io
import json
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.types import ASGIApp, Message

from serve.api import build_app
from serve.catalog import Catalog
from serve.middleware import fingerprint
from serve.models import ModelCache
from tests.serve.conftest import LocalBackend
from unlearn.gallery import Gallery

SEED = 24
COUNT = int(os.environ.get("FUZZ", "1500"))
TOKEN = "let-me-in"
VERBS = ("GET", "GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "BREW")
NAMES = ("digits", "reader", "", "..", "nobody", "a" * 300, "digits\x00", "../digits", "дом", "%2e")
ACTS = ("", "generate", "classify", "audit", "generate/", "x")
KEYS = ("label", "n", "seed", "variant", "format", "images", "fit", "Label", "n[]", "", "é", "\x00")
VALUES: tuple[Any, ...] = (
    0, 1, 3, -1, 9, 10, 256, 257, 2**32, 2**63, 10**400, 0.5, 3.0, 1e308, True, False, None, "",
    "1", " 1", "1e2", "NaN", "-0", "0x1", "amnesiac", "oracle", "png", "json", "npy", "é", "\x00",
    [], [[]], {}, {"label": 1}, "A" * 5000, [1, [2]], [[0.5] * 28] * 28, [[[0.5] * 28] * 28],
)  # fmt: skip
TYPES = (
    "application/json",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json; charset=utf-16",
    "",
)


@dataclass(frozen=True)
class Fuzzed:
    """A request as the server has parsed it."""

    method: str
    path: str
    query: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Answer:
    """What the application sent."""

    status: int = 0
    body: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)


def fuzzed(dice: random.Random) -> Fuzzed:
    """Make up a request."""
    path = _path(dice)
    keys = [dice.choice(KEYS) for _ in range(dice.randrange(5))]
    pairs = "&".join(f"{key}={dice.choice(VALUES)}" for key in keys)
    body = _body(dice)
    headers = [(b"content-type", dice.choice(TYPES).encode())]
    if dice.random() < 0.97:
        headers.append((b"authorization", f"Bearer {TOKEN}".encode()))
    if dice.random() < 0.1:
        length = dice.choice([b"-1", b"x", b"99999999999", b"0", b"", b"\xc2\xb2"])
        headers.append((b"content-length", length))
    if dice.random() < 0.1:
        headers.append((b"if-none-match", dice.choice([b"*", b'"x"', b"W/", b",,,", b"\xff"])))
    return Fuzzed(dice.choice(VERBS), path, pairs.encode("utf-8", "replace"), headers, body)


def _path(dice: random.Random) -> str:
    if dice.random() < 0.1:
        return dice.choice(
            ["/", "/docs", "/openapi.json", "/v1", "/v1/", "//v1/models", "/%00", ""]
        )
    name = dice.choice(NAMES[:2] if dice.random() < 0.8 else NAMES)
    return f"/v1/models/{name}/{dice.choice(ACTS)}"


def _body(dice: random.Random) -> bytes:
    kind = dice.randrange(6)
    if kind == 0:
        return dice.randbytes(dice.randrange(200))
    if kind == 1:
        return dice.choice([b"", b"{", b"[" * 5000, b"null", b'{"a":NaN}', b'"\\ud800"', b"1e999"])
    if kind == 2:
        return _form(dice)
    keys = [dice.choice(KEYS) for _ in range(dice.randrange(5))]
    asked = {key: dice.choice(VALUES) for key in keys}
    if dice.random() < 0.5:
        asked["images"] = [dice.choice(VALUES) for _ in range(dice.randrange(4))]
    return _damaged(dice, json.dumps(asked).encode())


def _form(dice: random.Random) -> bytes:
    field_name = dice.choice(["image", "variant", "fit", "", "é"])
    name = dice.choice(['; filename="a.png"', "", '; filename=""', "; filename*=x"])
    head = f'--b\r\nContent-Disposition: form-data; name="{field_name}"{name}\r\n\r\n'
    content = dice.choice([b"oracle", b"", _damaged(dice, _png(dice))])
    return _damaged(dice, head.encode() + content + b"\r\n--b--\r\n")


def _png(dice: random.Random) -> bytes:
    size = dice.choice([(28, 28), (28, 28), (1, 1), (300, 2)])
    image = Image.fromarray(np.zeros(size, np.uint8))
    file = io.BytesIO()
    image.save(file, dice.choice(["PNG", "JPEG", "GIF", "BMP"]))
    return file.getvalue()


def _damaged(dice: random.Random, data: bytes) -> bytes:
    """Half of the time leave `data` as it is; else cut it or change a byte."""
    if dice.random() < 0.5 or not data:
        return data
    at = dice.randrange(len(data))
    if dice.random() < 0.5:
        return data[:at]
    return data[:at] + dice.randbytes(1) + data[at + 1 :]


async def send(app: ASGIApp, asked: Fuzzed) -> Answer:
    """Hand a request to the application, as a server would."""
    answer = Answer()
    waiting = [asked.body]

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return {"type": "http.disconnect"}

    async def take(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status, answer.headers = message["status"], dict(message["headers"])
        else:
            answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": asked.method,
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query,
        "headers": asked.headers,
        "root_path": "",
        "server": ("here", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    await app(scope, receive, take)
    return answer


def test_no_request_is_a_5xx_and_every_refusal_is_a_line_of_json(made: Path) -> None:
    gallery = Gallery(str(made))
    backend = LocalBackend(ModelCache(gallery))
    app = build_app(Catalog(gallery), backend, fingerprint(TOKEN))
    dice = random.Random(SEED)
    statuses: Counter[int] = Counter()

    async def all_of_them() -> None:
        for number in range(COUNT):
            asked = fuzzed(dice)
            answer = await send(app, asked)
            statuses[answer.status] += 1
            assert answer.status < 500, (number, asked, answer)
            if answer.status >= 400 and asked.method != "HEAD":
                refused = json.loads(answer.body)
                assert list(refused) == ["error"], (number, asked)
                assert "\n" not in refused["error"], (number, asked)

    asyncio.run(all_of_them())
    assert {200, 401, 404, 405, 413, 415, 422} <= set(statuses), statuses


def test_a_form_that_is_cut_off_is_refused_and_not_read_in_part(made: Path) -> None:
    gallery = Gallery(str(made))
    app = build_app(Catalog(gallery), LocalBackend(ModelCache(gallery)), None)
    file = io.BytesIO()
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(file, "PNG")
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    whole = (part + file.getvalue() + b"\r\n") * 2 + b"--b--\r\n"
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]

    async def classify(body: bytes) -> Answer:
        return await send(app, Fuzzed("POST", "/v1/models/reader/classify", b"", headers, body))

    assert len(json.loads(asyncio.run(classify(whole)).body)["predicted"]) == 2
    cut = asyncio.run(classify(whole[:-20]))
    assert (cut.status, b"cut off" in cut.body) == (422, True)

"""Digests of content."""

import json

from unlearn.digests import digest


def test_a_digest_is_16_hex_digits_of_the_sorted_json() -> None:
    import hashlib

    content = {"b": [1, 2.5], "a": "x"}
    expected = hashlib.sha256(b'{"a":"x","b":[1,2.5]}').hexdigest()
    assert digest(content) == expected[:16]


def test_digest_is_of_the_content() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest(json.loads('{"b":[1,2],"a":1}'))
    assert digest({"a": 1}) != digest({"a": 1.5})

"""The address of the Ray that a command joins: what was given, else $RAY_ADDRESS."""

import pytest

from cluster.address import address_to_join


@pytest.mark.parametrize(
    ("given", "variable", "joined"),
    [
        (None, None, None),
        (None, "", None),
        (None, "local", None),
        (None, "10.0.0.1:6379", "10.0.0.1:6379"),
        ("local", "10.0.0.1:6379", None),
        ("10.0.0.2:6379", "10.0.0.1:6379", "10.0.0.2:6379"),
    ],
)
def test_the_given_address_wins_and_local_is_a_ray_of_our_own(
    given: str | None, variable: str | None, joined: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_ADDRESS", variable)
    assert address_to_join(given) == joined

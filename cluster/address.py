"""Which Ray a command joins."""

import os


def address_to_join(given: str | None) -> str | None:
    """Return the address of the Ray to join: the given one, else $RAY_ADDRESS.

    None for a local Ray of our own; `local` is Ray's word for that.
    """
    address = given or os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address

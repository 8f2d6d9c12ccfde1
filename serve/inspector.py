"""Look for damaged files in the gallery, without making `/healthz` wait."""

import asyncio
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool

from serve.catalog import DAMAGE, Catalog, UnknownModel, Unservable, refusal

PATIENCE_S = 0.05  # for which `/healthz` waits for an inspection; then it shows the one before


@dataclass
class Inspector:
    """Verifies every file of every current version against the SHA-256 on its card.

    A file is read once, and again only after it was replaced.

    catalog: the models on offer.
    """

    catalog: Catalog
    _sound: set[tuple[str, str]] = field(default_factory=set, repr=False)
    _found: dict[str, str] = field(default_factory=dict, repr=False)
    _running: "asyncio.Task[None] | None" = field(default=None, repr=False)

    async def damaged(self) -> dict[str, str]:
        """Return model -> reason of every damaged model, as the last finished inspection saw it.

        Starts an inspection unless one runs, and waits for it, but not long. Raises `Unservable`
        where the gallery cannot be read.
        """
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._inspect())
        await asyncio.wait({self._running}, timeout=PATIENCE_S)
        if self._running.done():
            self._running.result()  # raises what the inspection raised
        return dict(self._found)

    async def _inspect(self) -> None:
        self._found = await run_in_threadpool(self.inspect)

    def inspect(self) -> dict[str, str]:
        """Return model -> reason of every damaged model, now."""
        found = {}
        for name in self.catalog.names():
            try:
                self._check(name)
            except UnknownModel:
                continue  # it was removed a moment ago
            except Unservable as error:
                found[name] = str(error)
        return found

    def _check(self, name: str) -> None:
        """Raise `Unservable` where the card or a file of the current version is damaged."""
        version = self.catalog.entry(name).version
        gallery = self.catalog.gallery
        try:
            for file, expected in gallery.checksums(name, version).items():
                key = (gallery.stamp(name, version, file), expected)
                if key not in self._sound:
                    gallery.check(name, version, file, expected)
                    self._sound.add(key)
        except DAMAGE as error:
            raise Unservable(refusal(gallery, name, error)) from error

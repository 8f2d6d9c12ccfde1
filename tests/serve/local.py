"""The application on a real port of this process, without Ray: for clients and browsers."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from serve.api import build_app
from serve.catalog import Catalog
from serve.middleware import fingerprint
from serve.models import ModelCache
from tests.serve.conftest import LocalBackend
from unlearn.gallery import Gallery


def local_app(gallery: Gallery, token: str | None = None, origins: Sequence[str] = ()) -> FastAPI:
    """The application over a gallery; models run in this process."""
    expected = None if token is None else fingerprint(token)
    backend = LocalBackend(ModelCache(gallery))
    return build_app(Catalog(gallery), backend, expected, origins=origins)


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port of 127.0.0.1; yield its address."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "uvicorn did not start"
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()

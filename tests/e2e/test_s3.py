"""The S3 server that other tests use keeps what was written, also after `kill -9`."""

from pathlib import Path

import fsspec
import pytest

from tests.e2e import s3

pytestmark = pytest.mark.skipif(bool(s3.missing()), reason=s3.missing())


def test_what_was_written_survives_the_server(tmp_path: Path) -> None:
    with s3.s3_server(tmp_path) as server:
        options = {"endpoint_url": server.url, "key": "a-key", "secret": "a-secret"}
        place = f"{server.root}/results/row"
        with fsspec.open(place, "wb", **options) as file:
            file.write(b"a row")
        if "weed" in server.program[0]:  # moto keeps everything in memory
            server.kill()
            server.start()
        with fsspec.open(place, "rb", skip_instance_cache=True, **options) as file:
            assert file.read() == b"a row"

"""The commands around the gallery that need neither torch nor pandas: `serve` and `rollback`."""

import argparse
import os
import threading
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.address import address_to_join
from cluster.keep_serving import become_this, head_of_ray
from serve.exposure import check, check_door, configure_proxy, haproxy_folder
from serve.settings import ServiceSettings
from unlearn.gallery import Gallery

if TYPE_CHECKING:
    from serve.launch import Server


def absolute(place: str) -> str:
    """Make a local path absolute; leave a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def rollback(args: argparse.Namespace) -> int:
    """Make a model's previous version current again; print it."""
    version = Gallery(absolute(args.gallery)).rollback(args.name)
    print(f"{args.name} {version}")
    return 0


def serve(args: argparse.Namespace) -> int:
    """Serve a gallery until a signal ends it by `KeyboardInterrupt`, or print the config file."""
    settings = _settings(args)
    if args.print_config:
        return _print_config(settings)
    check(settings)
    configure_proxy()  # before `ray.serve` is imported, which reads the environment
    return _serve(settings, address_to_join(args.address))


def _settings(args: argparse.Namespace) -> ServiceSettings:
    given = {
        "replicas": args.replicas,
        "cpus": args.cpus,
        "gpus": args.gpus,
        "placement": args.placement,
    }
    return ServiceSettings(
        absolute(args.gallery),
        host=args.host,
        port=args.port,
        token=os.environ.get("AMNESIA_TOKEN") or None,
        builders=tuple(args.builder),
        allow_origins=tuple(args.allow_origin),
        **{name: value for name, value in given.items() if value is not None},
    )


def _print_config(settings: ServiceSettings) -> int:
    from serve.app import print_config

    check_door(settings.host, settings.token)
    print(print_config(settings), end="")
    return 0


def _serve(settings: ServiceSettings, address: str | None) -> int:
    from cluster.ray_session import check_reachable, ray_session

    check_reachable(address)
    # Importing Ray Serve takes a second; starting a Ray mostly waits for other processes.
    threading.Thread(target=import_module, args=("serve.launch",), daemon=True).start()
    with ray_session(address, service=True), _start(settings) as server:
        print(f"serving {settings.gallery} at {server.url} (Ctrl-C stops)", flush=True)
        folder = haproxy_folder()
        if address is None and folder is not None:
            become_this(folder, head_of_ray())
        while True:
            time.sleep(3600)


def _start(settings: ServiceSettings) -> "Server":
    from serve.launch import start

    return start(settings)

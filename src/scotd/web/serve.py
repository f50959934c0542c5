"""Serving an application until Ctrl-C: one process, no log of addresses, because an address may hold a secret."""

import ipaddress
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from scotd.errors import ScotdError


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: FastAPI, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Listen at `host`:`port` (0 takes a free one); `ready` is called with the address once it is taken.

    Raises ScotdError where the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            listening.listen(256)
            taken = listening.getsockname()[1]
            ready(f"http://{f'[{host}]' if ':' in host else host}:{taken}")
            config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
            uvicorn.Server(config).run(sockets=[listening])
    except OSError as error:
        raise ScotdError(
            f"{host}:{port}: cannot be listened at ({error.strerror}). Choose another --port, 0 for a free one."
        ) from None

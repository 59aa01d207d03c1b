"""Starts the server: granian's main process watches one worker that holds the model and is replaced when it dies."""

from __future__ import annotations

import errno
import socket
from typing import Any

from sartor.errors import SartorError
from sartor.serve.served import Served
from sartor.serve.settings import Settings
from sartor.stages.package import open_package

MAX_CONNECTIONS = 1024
HEADER_TIMEOUT_MS = 10_000
HEADER_BYTES = 64 << 10
STOP_WITHIN_S = 15


def serve(settings: Settings) -> None:
    """Serve until Ctrl-C or SIGTERM; accepted requests are answered first.

    Raises:
        Refused: the package is damaged, or the settings would open the server by accident.
        SartorError: the address is taken or not ours.
    """
    settings.check()
    open_package(settings.package)  # a damaged package is told here, in one sentence, not by a dying worker
    if settings.gallery:
        Served(settings.package, settings.gallery, settings.false_accepts)  # and so is a gallery that is none
    _check_address(settings.host, settings.port)
    settings.to_environment()
    _granian(settings).serve()


def _granian(settings: Settings) -> Any:
    from granian import Granian
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings

    return Granian(
        "sartor.serve.app:create_app",
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=HEADER_BYTES),
        workers=1,
        websockets=False,
        backpressure=MAX_CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_WITHIN_S,
        log_enabled=False,
        process_name=None,
    )


def _check_address(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SartorError(f"port {port} of {host} is in use. Try: --port {port + 1}") from None
        raise SartorError(
            f"cannot listen on {host}:{port} ({error.strerror}); give an address of this machine"
        ) from None

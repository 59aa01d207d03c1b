"""What a server is told, and how it travels to the worker process."""

from __future__ import annotations

import ipaddress
import json
import os
from dataclasses import dataclass

from sartor.codec import from_plain, to_plain
from sartor.errors import Refused, SartorError

VARIABLE = "SARTOR_SERVE"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MIN_TOKEN_LETTERS = 16


@dataclass(frozen=True)
class Settings:
    """How one package is served.

    Args:
        package: absolute path of the folder or ``.sartor`` file.
        host: address to listen on.
        token: what clients must send as ``Authorization: Bearer``; empty for none (loopback only).
        names: further host names a client may use to reach the server.
        max_body_bytes: of one request.
        max_waiting: requests admitted at once; the next one gets 503 with Retry-After.
        deadline_s: from admission to answer.
        hang_s: a call to the model that takes longer ends the worker process, which is replaced.
        canary_s: how often a golden pair is asked of the running model.
        gallery: absolute path of the people that faces are compared with; empty for none.
        false_accepts: the share of strangers that may pass; 0 for what the task finds usual.
    """

    package: str
    host: str = "127.0.0.1"
    port: int = 8000
    token: str = ""
    names: tuple[str, ...] = ()
    max_body_bytes: int = 20_000_000
    max_waiting: int = 16
    deadline_s: float = 10.0
    hang_s: float = 60.0
    canary_s: float = 30.0
    gallery: str = ""
    false_accepts: float = 0.0

    def check(self) -> None:
        """Refuse settings that would open the server by accident.

        Raises:
            Refused: another host than loopback without a token.
            SartorError: a value that makes no sense.
        """
        if not is_loopback(self.host) and not self.token:
            raise Refused(
                f"--host {self.host} lets other machines in, so it needs --token as well. "
                'Try: --token "$(python -c "import secrets; print(secrets.token_urlsafe(32))")"'
            )
        if self.token and (len(self.token) < MIN_TOKEN_LETTERS or not self.token.isascii() or " " in self.token):
            raise SartorError(f"--token must be at least {MIN_TOKEN_LETTERS} ASCII letters without spaces")
        if not 0 < self.port < 65536:
            raise SartorError(f"--port is {self.port}; it must be between 1 and 65535")

    def to_environment(self) -> None:
        """Leave the settings for the worker; the environment of a process is its user's alone to read."""
        os.environ[VARIABLE] = json.dumps(to_plain(self))

    @staticmethod
    def from_environment() -> Settings:
        """The settings left by the parent."""
        settings: Settings = from_plain(Settings, json.loads(os.environ.pop(VARIABLE)))
        return settings


def is_loopback(host: str) -> bool:
    """True for an address that only this machine reaches."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """True for a literal IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

"""A Ray cluster as far as trainings need one: connect, send a job, hear of it, let go."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

import sartor
from sartor.cluster import remote
from sartor.errors import DeviceError, MissingExtra

LOCAL, AUTO = "local", "auto"
_PATIENCE_S = 5.0  # with an address that does not answer
_ANSWER_S = 60.0  # in which every machine should have said what it has installed

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is told to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_LOG_TO_DRIVER_EVENT_LEVEL": "FATAL",
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""By this Ray takes 127.0.0.1 for its node's address, and then listens nowhere else."""

Stream = Any
"""What a job says, as it comes: Ray's ``ObjectRefGenerator``."""


class Machines:
    """The machines of a cluster.

    Args:
        address: ``local`` for a cluster on this machine alone, which ends with this object; ``auto`` for the one this
            machine is part of; or its ``HOST:PORT``.

    Raises:
        DeviceError: it cannot be reached, or has no use for this version of sartor.
        MissingExtra: Ray is not installed.
    """

    def __init__(self, address: str) -> None:
        if find_spec("ray") is None:
            raise MissingExtra("budget.cluster", "ray", "ray")
        if ":" in address:
            _knock(address)
        with _environment(_SETTINGS | (_LOOPBACK if address == LOCAL else {})):
            self._ray = _ray()
            self._joined = self._ray.is_initialized()  # by whoever calls us: it stays theirs
            try:
                if not self._joined:
                    self._connect(address)
                self._find_out(address)
            except BaseException:
                self.close()
                raise

    def _connect(self, address: str) -> None:
        quiet = {"include_dashboard": False} if address == LOCAL else {}
        try:
            self._ray.init(
                address=address, log_to_driver=False, configure_logging=False, logging_level=logging.CRITICAL, **quiet
            )
        except (ConnectionError, RuntimeError, ValueError, AssertionError, self._ray.exceptions.RayError) as error:
            if address == AUTO:
                raise DeviceError(
                    "budget.cluster is auto, and this machine is part of no Ray cluster; make one with "
                    "ray start --head, join one with ray start --address=HOST:PORT, or leave the key out"
                ) from error
            raise DeviceError(
                f"the Ray cluster at budget.cluster {address!r} cannot be joined ({_first_line(error)}); "
                f"this machine has to be part of it: ray start --address={address}"
            ) from error

    def _find_out(self, address: str) -> None:
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        self._cpus = max((node["Resources"].get("CPU", 0.0) for node in nodes), default=0.0)
        self._gpus = max((node["Resources"].get("GPU", 0.0) for node in nodes), default=0.0)
        if self._cpus < 1:
            raise DeviceError(f"no machine of the Ray cluster {address!r} offers a CPU; start one with --num-cpus=1")
        if address != LOCAL:
            self._compare_versions([node["NodeID"] for node in nodes])

    def _compare_versions(self, nodes: Sequence[str]) -> None:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = self._ray.remote(num_cpus=0, max_retries=0)(remote.version)
        asked = [
            ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes
        ]
        answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_S)
        for reference in answered:
            try:
                found = self._ray.get(reference)
            except Exception as error:
                raise DeviceError(
                    f"a machine of the Ray cluster cannot run sartor ({_first_line(error)}); install sartor[train,ray] "
                    f"{sartor.__version__} there"
                ) from error
            if found != sartor.__version__:
                raise DeviceError(
                    f"a machine of the Ray cluster has sartor {found}; install {sartor.__version__} there, as is here"
                )

    def send(self, request: remote.Request, threads: int) -> Stream:
        """Have a job done by whichever machine has room for it: so many threads, and a GPU where there are any.

        Raises:
            DeviceError: no machine has as many GPUs as the requirement has processes.
        """
        gpus = max(1, request.processes) if self._gpus else 0
        if gpus > self._gpus:
            raise DeviceError(
                f"budget.processes is {request.processes}, and no machine of the Ray cluster has more than "
                f"{self._gpus:g} GPUs; ask for so many"
            )
        task = self._ray.remote(num_cpus=min(float(threads), self._cpus), num_gpus=gpus, max_retries=0)(remote.serve)
        return task.options(num_returns="streaming", scheduling_strategy="SPREAD").remote(request)

    def put(self, content: bytes) -> Any:
        """Keep bytes where every machine can fetch them."""
        return self._ray.put(content)

    def heard(self, streams: Sequence[Stream], seconds: float) -> list[Stream]:
        """Those of the jobs that say something within a time."""
        ready, _ = self._ray.wait(list(streams), timeout=seconds, fetch_local=False)
        return list(ready)

    def next_of(self, stream: Stream) -> dict[str, Any] | None:
        """What a job says next; None where its process, or its machine, is lost."""
        try:
            said: dict[str, Any] = self._ray.get(next(stream))
        except StopIteration:
            return None
        except self._ray.exceptions.RayTaskError as error:
            return {"reply": {"refusal": {"code": "FAILED", "detail": f"on the cluster: {_first_line(error)}"}}}
        except self._ray.exceptions.RayError:
            return None
        return said

    def end(self, stream: Stream) -> None:
        """End a job, wherever it is."""
        with suppress(Exception):
            self._ray.cancel(stream, force=True)

    def close(self) -> None:
        """Let go of the cluster; a local one ends with all its processes."""
        if not self._joined:
            self._ray.shutdown()


def _ray() -> Any:
    import ray
    import ray.exceptions

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    return ray


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody listens."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DeviceError(
            f"budget.cluster {address!r} does not answer ({reason}); it is what ray start --head says"
        ) from error


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Variables for Ray's processes, unless the user has set them; gone afterwards."""
    new = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]

"""Trainings on the machines of a Ray cluster; everything that is measured stays on this one."""

from __future__ import annotations

from sartor.cluster.executor import ClusterExecutor
from sartor.evidence import Evidence, Workspace
from sartor.execute import Executor

__all__ = ["ClusterExecutor", "executor_of"]


def executor_of(
    cluster: str,
    workspace: Workspace,
    evidence: Evidence,
    run: str,
    *,
    retry: bool = False,
    remeasure: bool = False,
    processes: int = 0,
) -> Executor:
    """The executor for a requirement's ``budget.cluster``, or the one that keeps to this machine where it is empty.

    Raises:
        DeviceError: the cluster cannot be reached, or is of no use.
        MissingExtra: Ray is not installed.
    """
    if not cluster:
        return Executor(workspace, evidence, run, retry=retry, remeasure=remeasure, processes=processes)
    return ClusterExecutor(cluster, workspace, evidence, run, retry=retry, remeasure=remeasure, processes=processes)

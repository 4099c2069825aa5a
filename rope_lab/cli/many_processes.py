"""The flags by which an experiment becomes one of several processes.

    rope-lab pretrain ... --distributed                       the cluster knows the rest
    rope-lab pretrain ... --coordinator=host:port --num_processes=2 --process_id=0

`--distributed` asks JAX, which knows SLURM, Open MPI, GKE and TPU VMs.
"""

from __future__ import annotations

from typing import Any

from absl import flags

# Those that train one model; what measures or trains many has its own way to spread.
TRAINING = ("pretrain", "finetune")


def define_flags(values: flags.FlagValues) -> None:
    """Adds them to those of an experiment."""
    with_values: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_bool(
        "distributed", False, "one of several processes of a cluster", **with_values
    )
    flags.DEFINE_string(
        "coordinator",
        None,
        "host:port of process 0 without one",
        **with_values,
    )
    flags.DEFINE_integer("num_processes", None, "with --coordinator", **with_values)
    flags.DEFINE_integer("process_id", None, "of this one, from 0", **with_values)
    flags.DEFINE_integer(
        "join_seconds", 300, "to wait until all processes are there", **with_values
    )
    flags.DEFINE_integer(
        "heartbeat_seconds", 100, "until a silent process counts as dead", **with_values
    )


def join_if_asked(values: flags.FlagValues, experiment: str) -> None:
    """Joins the other processes, if there are any; before anything uses JAX.

    Raises:
      ValueError: flags that do not fit together or to the experiment.
      TimeoutError: names the processes that did not come.
    """
    from rope_lab.training.distributed import Processes, join

    processes = Processes(
        values.coordinator,
        values.num_processes,
        values.process_id,
        values.join_seconds,
        values.heartbeat_seconds,
    )
    if not values.distributed and processes.coordinator is None:
        return
    if experiment not in TRAINING:
        raise ValueError(
            f"{experiment} runs in one process; several are for {', '.join(TRAINING)}"
        )
    join(processes)

"""The console entry `rope-lab`, and what the mains of experiments/ call.

    rope-lab pretrain --config=configs/pretrain.py --workdir=runs/a
    python -m experiments.pretrain --config=... --workdir=...    the same

Wrong input ends with one line and exit status 2; --traceback shows where it arose.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from rope_lab.cli import many_processes
from rope_lab.cli.json_config import take_json_config

# experiment -> (module and function, config dataclass), imported when it is run.
EXPERIMENTS = {
    "pretrain": ("rope_lab.cli.pretrain:pretrain", "PretrainConfig"),
    "finetune": ("rope_lab.cli.finetune:finetune", "FinetuneConfig"),
    "extrapolate": ("rope_lab.cli.extrapolate:extrapolate", "ExtrapolateConfig"),
    "sweep": ("rope_lab.cli.sweep:sweep", "SweepConfig"),
    "posgen": ("rope_lab.cli.posgen:posgen", "PosGenStudyConfig"),
    "wavelengths": ("rope_lab.cli.wavelengths:wavelengths", "WavelengthsConfig"),
    "evaluate": ("rope_lab.cli.evaluate:evaluate", "EvaluateConfig"),
    "perplexity": ("rope_lab.cli.perplexity:perplexity", "PerplexityConfig"),
    "generate": ("rope_lab.cli.generate:generate", "GenerateConfig"),
    "import": ("rope_lab.cli.importing:import_checkpoint", "ImportConfig"),
    "export": ("rope_lab.cli.exporting:export", "ExportConfig"),
    "plan": ("rope_lab.cli.plan:plan", "PlanConfig"),
    "demo": ("rope_lab.cli.demo:demo", "DemoConfig"),
}
# The same command over a config that says which models to train first.
STUDY = ("rope_lab.cli.study:study", "StudyConfig")
_OVERRIDE = "--config."
# --grid stands for --config.grid; what comes behind a short option alone is text.
_SHORT = {
    "sweep": ("--grid", "--workers"),
    "evaluate": ("--encodings", "--lengths"),
    "perplexity": (
        "--encodings", "--lengths", "--documents", "--convention", "--stride",
        "--targets", "--weights",
    ),
    "generate": (
        "--prompt", "--chat", "--template", "--system", "--encoding", "--length",
        "--max_new_tokens", "--temperature", "--top_k", "--top_p", "--seed",
    ),
    "import": ("--length",),
    "export": ("--length", "--dtype", "--encoding"),
    "plan": ("--topology", "--num_slices", "--output"),
}  # fmt: skip
_TEXT = ("--prompt", "--template", "--system", "--dtype")
# These take a checkpoint behind their name, and do without a config.
_OF_A_CHECKPOINT = ("evaluate", "perplexity", "generate", "import", "export")
_WITHOUT_WORKDIR = ("generate", "plan")
_WRONG_INPUT = (ValueError, OSError, NotImplementedError)


def main(argv: Sequence[str] | None = None) -> None:
    """`rope-lab EXPERIMENT --config=FILE --workdir=FOLDER [--config.key=value ...]`.

    `rope-lab evaluate CHECKPOINT --workdir=FOLDER`, `perplexity`, `generate`, `import`
    and `export CHECKPOINT FOLDER` need no config. `rope-lab EXPERIMENT --help` says
    more.
    """
    argv = list(sys.argv if argv is None else argv)
    names = ", ".join(EXPERIMENTS)
    if len(argv) < 2 or argv[1] in ("-h", "--help", "help"):
        print(f"{inspect.getdoc(main)}\n\nExperiments: {names}\nAlso: checkpoint")
        sys.exit(0 if len(argv) > 1 else 2)
    if argv[1] == "checkpoint":
        _look_at_checkpoints(argv[2:])
    if argv[1] not in EXPERIMENTS:
        _fail(f"unknown experiment {argv[1]!r}; choose one of {names}")
    run_experiment(argv[1], [f"{argv[0]} {argv[1]}", *argv[2:]])


def _look_at_checkpoints(arguments: Sequence[str]) -> None:
    """`rope-lab checkpoint inspect|verify|diff`; see `rope_lab.cli.checkpoint`."""
    from rope_lab.cli import checkpoint

    if not arguments or arguments[0] in ("-h", "--help"):
        print(checkpoint.__doc__)
        sys.exit(0 if arguments else 2)
    try:
        status = checkpoint.checkpoint(arguments)
    except _WRONG_INPUT as error:
        _fail(str(error))
    sys.exit(status)


def run_experiment(name: str, argv: Sequence[str] | None = None) -> None:
    """Parse flags, read the config strictly, run; exits 2 on wrong input."""
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config",
        help_string="Python file, which runs when it is read, or JSON",
        flag_values=values,
    )
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)
    flags.DEFINE_bool("traceback", False, "show where errors arise", flag_values=values)
    many_processes.define_flags(values)
    argv = _spelled_out(name, list(sys.argv if argv is None else argv))
    with_traceback = any(arg in ("--traceback", "-traceback") for arg in argv)
    if any(arg in ("-h", "--help") for arg in argv):
        print(importlib.import_module(_module(name)).__doc__)
        if name in _SHORT:
            print(f"Short for --config.KEY: {', '.join(_SHORT[name])}\n")
        print(values)
        return
    try:
        function, config, workdir = _parse(name, values, argv)
        many_processes.join_if_asked(values, name)
        _load(function)(config, workdir)
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues", status=130)
    except Exception as error:
        if with_traceback:
            traceback.print_exc()
        if not _is_wrong_input(error):
            raise
        _fail(str(error))


def reader_of(name: str, keys: Iterable[str]) -> tuple[str, str]:
    """Function and dataclass that read a config of these keys."""
    return STUDY if name == "extrapolate" and "trained" in keys else EXPERIMENTS[name]


def _parse(
    name: str, values: flags.FlagValues, argv: Sequence[str]
) -> tuple[str, Any, str]:
    from rope_lab.cli import config as config_module

    overrides = [arg for arg in argv if arg.startswith(_OVERRIDE)]
    argv, plain = take_json_config([arg for arg in argv if arg not in overrides])
    rest = _read_flags(values, argv)
    if rest:
        raise ValueError(f"unexpected arguments {rest}; options begin with --")
    if plain is None and values.config is None and name not in _OF_A_CHECKPOINT:
        raise ValueError("--config is missing: a Python file with get_config()")
    if values.workdir is None and name not in _WITHOUT_WORKDIR:
        raise ValueError("--workdir is missing: the folder of the run")
    if plain is None:
        plain = {} if values.config is None else values.config.to_dict()
    for override in overrides:
        config_module.override(plain, override.removeprefix(_OVERRIDE))
    if name == "plan":
        plain = importlib.import_module(_module(name)).plan_values(plain)
    function, dataclass = reader_of(name, plain)
    config = config_module.read(getattr(config_module, dataclass), plain)
    return function, config, values.workdir


def _spelled_out(name: str, argv: list[str]) -> list[str]:
    """Short options, and a checkpoint, as the overrides that they stand for.

    An option without a value is switched on.
    """
    argv = list(argv)
    if name in _OF_A_CHECKPOINT and len(argv) > 1 and not argv[1].startswith("-"):
        argv[1] = f"{_OVERRIDE}checkpoint={argv[1]!r}"
        if name == "export" and len(argv) > 2 and not argv[2].startswith("-"):
            argv[2] = f"--workdir={argv[2]}"
    long, rest = [], argv[::-1]
    while rest:
        arg = rest.pop()
        option, equals, value = arg.partition("=")
        if arg == "--profile":
            arg = f"{_OVERRIDE}training.profile=True"
        elif option in _SHORT.get(name, ()):
            if not equals:
                switch = not rest or rest[-1].startswith("--")
                value = "True" if switch else rest.pop()
            value = repr(value) if option in _TEXT else value
            arg = f"{_OVERRIDE}{option.removeprefix('--')}={value}"
        long.append(arg)
    return long


def _read_flags(values: flags.FlagValues, argv: Sequence[str]) -> Sequence[str]:
    """Set the flags, which runs the config file; returns what is left over."""
    before = sys.argv
    try:
        sys.argv = list(argv)  # config_flags looks there, too
        # It loads every file under this name, over what an earlier one left there.
        sys.modules.pop("config_config", None)
        rest = values(list(argv))[1:]
        if values.config is not None:
            values.config.keys()  # a config file that could not be read raises here
    except flags.Error as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever a config file may raise
        path = next((arg for arg in argv if arg.startswith("--config")), "--config")
        lines = " ".join(str(error).split())
        raise ValueError(f"{path}: {type(error).__name__}: {lines}") from error
    finally:
        sys.argv = before
    return rest


def _is_wrong_input(error: Exception) -> bool:
    from rope_lab.training import TrainingDiverged

    return isinstance(error, (*_WRONG_INPUT, TrainingDiverged))


def _module(name: str) -> str:
    return EXPERIMENTS[name][0].partition(":")[0]


def _load(function: str) -> Callable[[Any, str], Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _fail(message: str, status: int = 2) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()

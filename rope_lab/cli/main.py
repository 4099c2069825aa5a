"""The console entry `rope-lab`, and what the mains of experiments/ call.

    rope-lab pretrain --config=configs/pretrain.py --workdir=runs/a
    python -m experiments.pretrain --config=... --workdir=...    the same

Ends with status 0, with 1 where it failed, with 2 and one line on wrong input, with 130
where it was interrupted, and a training run with 143 after SIGTERM. --traceback shows
where an error arose.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from absl import flags
from ml_collections import config_flags

from rope_lab.cli import many_processes
from rope_lab.cli.advice import advice, is_no_accelerator
from rope_lab.cli.commands import COMMANDS
from rope_lab.cli.json_config import take_json_config
from rope_lab.logic.options import hint

# Those that read a config -> (module and function, config dataclass).
EXPERIMENTS = {
    name: (command.function, command.config)
    for name, command in COMMANDS.items()
    if command.config is not None
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
_WRONG_INPUT = (ValueError, NotImplementedError)
_WRONG_PATH = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def main(argv: Sequence[str] | None = None) -> None:
    """`rope-lab COMMAND ...`; ends the process with the status of the command."""
    argv = list(sys.argv if argv is None else argv)
    if len(argv) < 2 or argv[1] in ("-h", "--help", "help"):
        print(overview())
        sys.exit(0 if len(argv) > 1 else 2)
    name, arguments = argv[1], argv[2:]
    if name not in COMMANDS:
        known = ", ".join(COMMANDS)
        _fail(f"unknown command {name!r}{hint(name, COMMANDS)}; choose of {known}")
    if COMMANDS[name].config is None:
        sys.exit(_run_plain(name, arguments))
    run_experiment(name, [f"{argv[0]} {name}", *arguments])


def overview() -> str:
    """Every command on a line, with an example."""
    lines = ["rope-lab COMMAND ...; rope-lab COMMAND --help says more", ""]
    for name, command in COMMANDS.items():
        lines.append(f"  {name:<12}{command.about}")
        lines.append(f"  {'':<12}    rope-lab {command.example}")
    return "\n".join(lines)


def _run_plain(name: str, arguments: Sequence[str]) -> int:
    """A command that takes its arguments itself; returns its status."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(importlib.import_module(_module(name)).__doc__)
        return 0
    try:
        return _load(COMMANDS[name].function)(arguments)
    except Exception as error:
        _end(error)


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
    flags.DEFINE_bool(
        "dry_run",
        False,
        "show the whole config and the estimated time, and start nothing",
        flag_values=values,
    )
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
        if values.dry_run:
            _dry_run(name, config)
            return
        many_processes.join_if_asked(values, name)
        _load(function)(config, workdir)
    except KeyboardInterrupt:
        _fail("interrupted; the same command continues", status=130)
    except Exception as error:
        if with_traceback:
            traceback.print_exc()
        _end(error, values.workdir if values.is_parsed() else None)


def _dry_run(name: str, config: Any) -> None:
    from rope_lab.cli import dry_run

    if name not in dry_run.LONG:
        raise ValueError(
            f"{name} has no --dry-run; these have: {', '.join(dry_run.LONG)}"
        )
    dry_run.dry_run(config)


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
        raise ValueError(
            "--config is missing: a Python file with get_config(), or JSON. A clone of "
            f"rope_lab has some in configs/: rope-lab {COMMANDS[name].example}"
        )
    without = values.dry_run or name in _WITHOUT_WORKDIR
    if values.workdir is None and not without:
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
        elif arg == "--dry-run":
            arg = "--dry_run"
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


def _end(error: Exception, workdir: str | None = None) -> NoReturn:
    """One line and the status for what is known to happen; raises anything else."""
    from rope_lab.training import TrainingDiverged

    if isinstance(error, (*_WRONG_INPUT, *_WRONG_PATH)):
        _fail(str(error))
    if isinstance(error, (OSError, TrainingDiverged)) or is_no_accelerator(error):
        _fail(advice(error, workdir), status=1)
    raise error


def _module(name: str) -> str:
    return COMMANDS[name].function.partition(":")[0]


def _load(function: str) -> Callable[..., Any]:
    module, _, name = function.partition(":")
    return getattr(importlib.import_module(module), name)


def _fail(message: str, status: int = 2) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()

"""What a checkpoint says about itself: a plain dict that JSON holds exactly."""

import copy
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from rope_lab.logic import serialise

SCHEMA_VERSION = 3

# A restart may change these: none of them reaches the parameters, but for the last
# digits, which the order of sums decides.
MAY_CHANGE = frozenset(
    {
        "log_every",
        "checkpoint_every",
        "keep_checkpoints",
        "keep_every",
        "keep_best",
        "spike_factor",
        "tensorboard",
        "profile",
        "wandb",
        "data_dir",  # where the data lies; its checksum must stay the same
        "checkpoint",  # where the start lies; started_from must stay the same
        "accumulation_steps",
        "remat",
        "context_exchange",
    }
)
_LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def run_meta(
    config: dict[str, Any],
    model: dict[str, Any],
    logic: Any,
    corpus_checksum: str,
    tokenizer_checksum: str,
) -> dict[str, Any]:
    """Describes a run, for its checkpoints.

    Args:
      config: the whole configuration of the run, nested plain dicts.
      model: the fields of its ModelConfig.
      logic: the encoding it trains with: one position logic or one per layer.
      corpus_checksum: of the documents trained on, `Corpus.split_checksum`.
      tokenizer_checksum: as `Tokenizer.checksum`.
    """
    meta = {
        "schema_version": SCHEMA_VERSION,
        "config": config,
        "model": model,
        "encoding": describe_logic(logic),
        "data": {"corpus": corpus_checksum, "tokenizer": tokenizer_checksum},
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _LIBRARIES},
        },
    }
    return json.loads(json.dumps(meta, allow_nan=False))


def describe_logic(logic: Any) -> list[dict[str, Any]]:
    """One plain dict per logic. A plain callable is named, but cannot be rebuilt."""
    if isinstance(logic, (list, tuple)):
        return [description for one in logic for description in describe_logic(one)]
    if hasattr(logic, "to_dict"):
        return [logic.to_dict()]
    name = getattr(logic, "__qualname__", type(logic).__qualname__)
    version = serialise.SCHEMA_VERSION
    return [{"schema_version": version, "name": "callable", "callable": name}]


def upgraded(meta: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The meta of a checkpoint of any version, as this version would have written it.

    Raises:
      ValueError: a later version of rope_lab wrote the checkpoint.
    """
    version = meta.get("schema_version")
    if version not in range(1, SCHEMA_VERSION + 1):
        raise ValueError(
            f"checkpoint {folder} has schema version {version}; this rope_lab reads "
            f"1 to {SCHEMA_VERSION}: install the version that wrote it"
        )
    if version == 1:
        meta = _from_version_1(meta)
    meta = meta if version == 3 else _from_version_2(meta)
    return meta | {"config": with_later_options(meta["config"])}


def _from_version_1(meta: dict[str, Any]) -> dict[str, Any]:
    """There was one block and one optimizer, and qk_norm was true or false."""
    meta = copy.deepcopy(meta) | {"schema_version": 2}
    config = meta["config"]
    for model in (meta["model"], config.get("model")):
        if model:
            model["block"] = "llama"
            model["qk_norm"] = "rms" if model.get("qk_norm") else "none"
    if config.get("training"):
        config["training"]["optimizer"] = "adamw"
    return meta


def _from_version_2(meta: dict[str, Any]) -> dict[str, Any]:
    """remat was true or false, and a run had one device."""
    meta = copy.deepcopy(meta) | {"schema_version": 3}
    for model in (meta["model"], meta["config"].get("model")):
        if model:
            model["remat"] = "full" if model.get("remat") else "none"
    return meta


# What everyone had before there was a choice.
_LATER = {
    "data": {
        "repeat_shortest": None,
        "repeat_longest": None,
        "repeat_random": 0.0,
        "repeat_first": 0,
    },
    "validation": {"packed": False},
}


def with_later_options(config: dict[str, Any]) -> dict[str, Any]:
    """A recorded config with the options that came after the version of its schema."""
    # An imported model has sections of fewer keys, which stay as they are.
    marks = {"data": "repeat_fraction", "validation": "every"}
    changed = {
        section: options | config[section]
        for section, options in _LATER.items()
        if marks[section] in (config.get(section) or {})
    }
    return config | changed


def check_same_run(saved: dict[str, Any], given: dict[str, Any], folder: Path) -> None:
    """Raises ValueError, naming each key, unless `given` continues `saved`."""
    model = differences(saved["model"], given["model"], "model")
    if model:
        raise ValueError(
            f"checkpoint {folder} holds another architecture:\n  "
            + "\n  ".join(model)
            + "\nAsk for the same, or choose another workdir."
        )
    lines = differences(saved["config"], given["config"])
    for part in ("encoding", "data"):
        lines += differences(saved[part], given[part], part)
    if lines:
        raise ValueError(
            f"{folder} belongs to a run with another configuration:\n  "
            + "\n  ".join(lines)
            + "\nRestore these values, or choose another workdir."
        )


def differences(saved: Any, given: Any, prefix: str = "") -> list[str]:
    """One line per value that differs, `a.b: checkpoint has 1, this run asks for 2`."""
    saved, given = _flatten(saved, prefix), _flatten(given, prefix)
    lines = []
    for name in {**given, **saved}:
        has, asks = saved.get(name, "nothing"), given.get(name, "nothing")
        if has != asks and not _may_change(name):
            lines.append(f"{name}: checkpoint has {has!r}, this run asks for {asks!r}")
    return lines


def _may_change(name: str) -> bool:
    """Also the mesh: a run goes on with any number of devices."""
    return name.startswith("mesh.") or name.rpartition(".")[2] in MAY_CHANGE


def _flatten(value: Any, prefix: str) -> dict[str, Any]:
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in items:
        flat |= _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat

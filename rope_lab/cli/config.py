"""Config files to dataclasses: every key is read by something, or is an error."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from rope_lab.cli import config_checks as checks
from rope_lab.cli.evaluation_config import EvaluateConfig as EvaluateConfig
from rope_lab.cli.evaluation_config import GenerateConfig as GenerateConfig
from rope_lab.cli.evaluation_config import PerplexityConfig as PerplexityConfig
from rope_lab.cli.interop_config import ExportConfig as ExportConfig
from rope_lab.cli.interop_config import ImportConfig as ImportConfig
from rope_lab.data import DataConfig, PosGenConfig
from rope_lab.evaluation.frequency_search import EvolutionSearch, GradientSearch
from rope_lab.model import ModelConfig
from rope_lab.training import MeshConfig, TrainingConfig

PRETRAINED = "pretrained"  # of the models of a table, the one it compares with


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSection:
    """`ModelConfig` without the vocabulary, which the tokenizer decides; its logic."""

    logic: Any  # {"name": ..., **options}, or a list of them, cycled over the layers
    num_layers: int = 4
    width: int = 128
    ff_width: int = 320
    num_heads: int = 4
    num_kv_heads: int = 4
    head_dim: int = 32
    tied_embeddings: bool = True
    block: str = "llama"
    qk_norm: str = "none"
    biases: Any = False  # True, False or a name, see `ModelConfig`
    norm_epsilon: float = 1e-6
    dtype: str = "float32"
    remat: str = "none"
    context_exchange: str = "keys"

    def __post_init__(self):
        checks.logic("logic", self.logic)

    def model_config(self, vocab_size: int) -> ModelConfig:
        """The model for a tokenizer of `vocab_size` tokens."""
        fields = dataclasses.asdict(self)
        del fields["logic"]
        return ModelConfig(vocab_size=vocab_size, **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValidationConfig:
    """Loss on held-out windows, while training."""

    every: int = 200  # steps
    num_windows: int = 32  # 0: none, for a corpus of which nothing is held out
    packed: bool = False  # of short documents packed, not from inside long ones

    def __post_init__(self):
        checks.at_least(1, every=self.every)
        checks.at_least(0, num_windows=self.num_windows)


def _check_validation(config: PretrainConfig | FinetuneConfig) -> None:
    """Refuses a validation of nothing, and the best checkpoints by none."""
    if config.validation.num_windows:
        if config.data.held_out_fraction == 0:
            raise checks.Meaningless(
                "data.held_out_fraction is 0, which leaves nothing to validate on: "
                "hold out a share of the documents, or train without validation by "
                "validation.num_windows=0"
            )
    elif config.training.keep_best:
        raise checks.Meaningless(
            f"training.keep_best is {config.training.keep_best}, the best by the loss "
            "in validation, and validation.num_windows=0 asks for none: set one of them"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """`experiments.pretrain`."""

    model: ModelSection
    data: DataConfig
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    mesh: MeshConfig = MeshConfig()
    seed: int = 0  # of the parameters; data.seed orders the data

    def __post_init__(self):
        _check_validation(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig(PretrainConfig):
    """`experiments.sweep`: a `PretrainConfig` and which of its keys vary."""

    grid: str = ""  # --grid: "key=[value,value],key=[...]", see cli/grid.py
    workers: int = 1  # --workers: processes at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """`experiments.finetune`: a checkpoint, a new logic, more training."""

    checkpoint: str  # workdir of a run, or one of its checkpoints/<step>
    logic: Any  # as model.logic; options may be "trained" or "trained/4", see specs.py
    average: bool = False  # start from the moving average (the run had ema_decay)
    # Keys of `ModelConfig`: dtype and remat as wanted here, others as they have to be.
    model: dict[str, Any] = dataclasses.field(default_factory=dict)
    data: DataConfig
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    mesh: MeshConfig = MeshConfig()

    def __post_init__(self):
        checks.logic("logic", self.logic)
        _check_validation(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """`rope-lab plan`: a run, and the TPU slice it would have."""

    topology: str  # --topology: chip and shape of a slice, "v5p:4x4x4"; or "here"
    num_slices: int = 1  # --num_slices, which the data axis of the mesh joins
    output: str | None = None  # --output: file of the JSON record; its table beside it
    pretrain: PretrainConfig | None = None  # one of the two
    finetune: FinetuneConfig | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtrapolateConfig:
    """`experiments.extrapolate`: checkpoints under many logics at many lengths.

    A row of encodings is a logic spec with a "label" and, unless it is measured on the
    pretrained model, the "model" it is measured on. A pattern over the layers stands
    under "layers", a list of specs.
    """

    models: dict[str, str]  # label -> workdir or checkpoint; one is "pretrained"
    average: bool = False  # their moving averages (the runs had ema_decay)
    encodings: list[Any]  # rows: {"label": ..., "name": ..., **options}
    lengths: list[int]  # tokens
    documents: str | None = None  # folder or file; None: those held out from training
    packed: bool = False  # windows of short documents packed, not from inside long ones
    num_windows: int = 32  # per length, of different documents first
    num_repeated_windows: int = 16  # of one passage repeated; 0 measures none
    # tokens of that passage; None: half the training length, where so many fit
    repeat_length: int | None = None
    far_repeat_length: int | None = None  # as many windows of a longer passage repeated
    seed: int = 0  # of the windows
    data_dir: str | None = None  # None: $ROPE_LAB_DATA, else ~/.cache/rope_lab
    title: str = "One model at many lengths"  # of the page
    page: str | None = None  # folder of a page with tables and pictures; None: none

    def __post_init__(self):
        if PRETRAINED not in self.models:
            raise checks.Meaningless(
                f"models needs the label {PRETRAINED!r}, whose training length and "
                f"logic the table compares with; got {sorted(self.models)}"
            )
        if not self.lengths:
            raise checks.Meaningless(
                "lengths is empty; give the lengths to measure, in tokens"
            )
        checks.at_least(1, lengths=min(self.lengths), num_windows=self.num_windows)
        checks.at_least(0, num_repeated_windows=self.num_repeated_windows)
        checks.rows("encodings", self.encodings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedConfig:
    """A model that a study trains, and the rows measured on it."""

    label: str
    logic: Any  # as model.logic
    rows: list[Any]  # as encodings of `ExtrapolateConfig`, without "model"
    model: dict[str, Any] = dataclasses.field(default_factory=dict)  # changed keys
    training: dict[str, Any] = dataclasses.field(default_factory=dict)  # changed keys

    def __post_init__(self):
        checks.rows("rows", self.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """`experiments.extrapolate` where the models are to be trained first.

    Every model is a `PretrainConfig` of the shared sections, changed where it says so.
    """

    title: str
    model: dict[str, Any]  # `ModelSection` without its logic
    data: DataConfig
    training: TrainingConfig
    validation: ValidationConfig = ValidationConfig()
    seed: int = 0  # of the parameters
    trained: list[TrainedConfig]  # in the order of the table; the first is its baseline
    extrapolate: dict[str, Any]  # `ExtrapolateConfig` without models and encodings
    page: str | None = None  # folder of the page; None: workdir/page
    earlier: str | None = None  # results.json whose models are not trained again
    other_size: str | None = None  # results.json beside which differing orders are put
    # results.json of the same rows after other trainings: what they vary by
    again: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """`experiments.demo`: pretrain, fine-tune each, measure, report."""

    pretrain: PretrainConfig
    finetune: dict[
        str, dict[str, Any]
    ]  # model label -> FinetuneConfig without its checkpoint
    extrapolate: dict[str, Any]  # ExtrapolateConfig without its models


@dataclasses.dataclass(frozen=True, kw_only=True)
class PosGenStudyConfig:
    """`experiments.posgen`: encodings and seeds on PosGen, one program per cell.

    A cell is a dict of what it changes in `data` and `training` ({"subtask": "cot"}). A
    row of encodings is a logic spec with a "label"; rows differ in frequencies alone.
    """

    size: str  # what the page calls this study: "published", "medium", "small" ...
    data: PosGenConfig
    cells: list[Any]  # trained one after another
    model: dict[str, Any]  # of `ModelConfig`, without the vocabulary
    training: TrainingConfig
    batch_size: int  # sequences
    encodings: list[Any]  # rows: {"label": ..., "name": ..., **options}
    seeds: list[int]  # of the parameters and of the order of the data
    encoding_at: str = (
        "training"  # or "evaluation": trained with plain (Resonance) RoPE
    )
    validation_every: int = 100  # steps between points of the validation curve
    gain_steps: int = 0  # steps timed side by side and one by one; 0 times none
    page: str | None = None  # folder of the page; None: <workdir>/page
    data_dir: str | None = None  # None: $ROPE_LAB_DATA, else ~/.cache/rope_lab

    def __post_init__(self):
        checks.at_least(1, validation_every=self.validation_every)
        checks.at_least(0, gain_steps=self.gain_steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WavelengthsConfig:
    """`experiments.wavelengths`: frequencies searched on some tasks, judged on others.

    Tasks and rows are those of `PosGenStudyConfig`. Models train with the first row;
    differences are to the second.
    """

    data: PosGenConfig
    search: list[Any]  # tasks whose validation sequences score candidates
    held_out: list[Any]  # tasks of the report
    model: dict[str, Any]  # of `ModelConfig`, without the vocabulary
    training: TrainingConfig
    batch_size: int  # sequences
    encodings: list[Any]  # rows: {"label": ..., "name": ..., **options}
    search_seeds: list[int]  # of the models that the search scores
    report_seeds: list[int]  # of those that judge what it found; none of the above
    gradient: GradientSearch = GradientSearch()
    evolution: EvolutionSearch = EvolutionSearch()
    validation_every: int = 100  # steps between points of the validation curve
    page: str | None = None  # folder of the page; None: <workdir>/page
    data_dir: str | None = None  # None: $ROPE_LAB_DATA, else ~/.cache/rope_lab

    def __post_init__(self):
        checks.at_least(1, validation_every=self.validation_every)
        checks.rows("encodings", self.encodings)


def read(cls: type, values: Mapping[str, Any] | ConfigDict, where: str = "config"):
    """Build dataclass `cls` from a config, nested dataclasses included.

    Raises:
      ValueError: a key that `cls` does not read, a missing key, a value of the wrong
        type or one that can mean nothing. The message holds the key's full name.
    """
    if isinstance(values, ConfigDict):
        values = values.to_dict()
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must hold {cls.__name__}'s keys, got {values!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in values:
        if key not in fields:
            raise ValueError(
                f"{where}.{key}: nothing reads this key{hint(key, fields)}"
            )
    types_ = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(types_[name], values[name], f"{where}.{name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{name} is missing; {cls.__name__} needs it")
    try:
        return cls(**arguments)
    except checks.Meaningless as error:
        raise ValueError(f"{where}.{error}") from None


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply "section.key=value" to nested dicts; the value is a Python literal or text.

    Whether anything reads the key is for `read` to say.
    """
    path, equals, text = assignment.partition("=")
    if not equals:
        raise ValueError(f"--config.{path} needs a value: --config.{path}=...")
    *sections, key = path.split(".")
    for depth, section in enumerate(sections):
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            where = ".".join(["config", *sections[: depth + 1]])
            raise ValueError(f"{where} is {values!r}, which holds no key {key!r}")
    literal = {"true": "True", "false": "False"}.get(text, text)
    try:
        values[key] = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        values[key] = text


def hint(key: str, known) -> str:
    """' (did you mean ...?)', or the list of what is known."""
    close = difflib.get_close_matches(key, list(known), n=1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f"; known here: {', '.join(known)}"


def _convert(expected: Any, value: Any, where: str) -> Any:
    if expected is Any:
        return value
    if typing.get_origin(expected) is types.UnionType:
        options = typing.get_args(expected)
        if value is None and type(None) in options:
            return None
        (expected,) = [option for option in options if option is not type(None)]
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        return read(expected, value, where)
    plain = typing.get_origin(expected) or expected
    if plain is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if plain is list and isinstance(value, tuple):
        value = list(value)
    if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
        raise ValueError(f"{where} must be a {plain.__name__}, got {value!r}")
    checks.number(where, value)
    if plain is list:
        (inner,) = typing.get_args(expected)
        return [_convert(inner, one, f"{where}[{k}]") for k, one in enumerate(value)]
    if plain is dict:
        inner = typing.get_args(expected)[1]
        return {
            key: _convert(inner, one, f"{where}[{key!r}]") for key, one in value.items()
        }
    return value

"""The hyper-parameters of one training run, checked when they are made."""

import dataclasses

SCHEDULES = ("cosine", "linear", "constant")
# What each optimizer takes where nothing is said; Tiger keeps no mean square.
DEFAULTS = {
    "adamw": {"b1": 0.9, "b2": 0.95, "weight_decay": 0.1},
    "tiger": {"b1": 0.965, "b2": None, "weight_decay": 0.01},
}


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Optimisation, logging and checkpoint settings of one run.

    Steps count optimizer updates: step n is the state after n updates, and update n
    trains on batch n - 1. Fields of the optimizer that are None become what its authors
    use: 0.9, 0.95 and 0.1 for AdamW, 0.965 and 0.01 for Tiger.

    Raises:
      ValueError: a value outside its range, said with the range.
    """

    num_steps: int  # optimizer updates in the whole run
    learning_rate: float  # peak, reached at the end of the warm-up
    warmup_steps: int = 0  # updates of linear rise to the peak
    schedule: str = "cosine"  # shape after the warm-up: cosine, linear or constant
    final_learning_rate_fraction: float = 0.1  # last rate / peak; constant ignores it
    optimizer: str = "adamw"  # or "tiger", with half of its state
    weight_decay: float | None = None  # of matrices only, times the learning rate
    clip_norm: float | None = 1.0  # largest global norm of the gradient; None: no limit
    b1: float | None = None  # decay of the mean gradient, Tiger's beta
    b2: float | None = None  # AdamW's decay of the mean squared gradient
    accumulation_steps: int = 1  # microbatches per update: less memory, same update
    ema_decay: float | None = None  # keeps an average of the parameters; None: none
    z_loss: float = 0.0  # weight of log(Z)**2, which keeps logits from drifting
    log_every: int = 20  # steps between rows of metrics, and between checks for NaN
    checkpoint_every: int = 200  # steps lost at most when a run is killed
    keep_checkpoints: int = 2  # newest ones kept; one more exists during a save
    keep_every: int | None = None  # so are those whose step is a multiple of it
    keep_best: int = 0  # and so many with the least validation loss
    spike_factor: float | None = 10.0  # stop if perplexity exceeds average by it
    tensorboard: bool = True  # also write TensorBoard files
    profile: bool = False  # --profile: trace steps 3 to 5 into <workdir>/profile
    wandb: bool = False  # also log to Weights & Biases: needs the extra `wandb`

    def __post_init__(self):
        known = tuple(DEFAULTS)
        self._require("optimizer", self.optimizer in known, f"one of {known}")
        for name, value in DEFAULTS[self.optimizer].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("num_steps", "accumulation_steps", "log_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("checkpoint_every", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "weight_decay", "z_loss", "keep_best"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("b1", 0 <= self.b1 < 1, "in [0, 1)")
        if self.optimizer == "tiger":
            self._require("b2", self.b2 is None, "left out: Tiger has no mean square")
        else:
            self._require("b2", 0 <= self.b2 < 1, "in [0, 1)")
        fraction = self.final_learning_rate_fraction
        below = self.warmup_steps < self.num_steps
        self._require("final_learning_rate_fraction", 0 <= fraction <= 1, "in [0, 1]")
        self._require("warmup_steps", below, f"below num_steps = {self.num_steps}")
        self._require("learning_rate", self.learning_rate > 0, "above 0")
        self._require("schedule", self.schedule in SCHEDULES, f"one of {SCHEDULES}")
        self._require_unless_none("keep_every", lambda x: x >= 1, "at least 1")
        self._require_unless_none("clip_norm", lambda x: x > 0, "above 0")
        self._require_unless_none("ema_decay", lambda x: 0 < x < 1, "in (0, 1)")
        self._require_unless_none("spike_factor", lambda x: x > 1, "above 1")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            given = getattr(self, name)
            raise ValueError(f"training.{name} is {given!r}; it must be {expected}")

    def _require_unless_none(self, name: str, holds, expected: str) -> None:
        value = getattr(self, name)
        self._require(name, value is None or holds(value), f"None or {expected}")

"""The hyper-parameters of one training run, checked when they are made."""

import dataclasses

SCHEDULES = ("cosine", "linear", "constant")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Optimisation, logging and checkpoint settings of one run.

    Steps count optimizer updates: step n is the state after n updates, and update n
    trains on batch n - 1.

    Raises:
      ValueError: a value outside its range, said with the range.
    """

    num_steps: int  # optimizer updates in the whole run
    learning_rate: float  # peak, reached at the end of the warm-up
    warmup_steps: int = 0  # updates of linear rise to the peak
    schedule: str = "cosine"  # shape after the warm-up: cosine, linear or constant
    final_learning_rate_fraction: float = 0.1  # last rate / peak; constant ignores it
    weight_decay: float = 0.1  # of matrices only, times the learning rate (AdamW)
    clip_norm: float | None = 1.0  # largest global norm of the gradient; None: no limit
    b1: float = 0.9  # Adam's decay of the mean gradient
    b2: float = 0.95  # Adam's decay of the mean squared gradient
    accumulation_steps: int = 1  # microbatches per update: less memory, same update
    ema_decay: float | None = None  # keeps an average of the parameters; None: none
    z_loss: float = 0.0  # weight of log(Z)**2, which keeps logits from drifting
    log_every: int = 20  # steps between rows of metrics, and between checks for NaN
    checkpoint_every: int = 200  # steps lost at most when a run is killed
    keep_checkpoints: int = 2  # newest ones kept; one more exists during a save
    spike_factor: float | None = 10.0  # stop if perplexity exceeds average by it
    tensorboard: bool = True  # also write TensorBoard files
    wandb: bool = False  # also log to Weights & Biases: needs the extra `wandb`

    def __post_init__(self):
        for name in ("num_steps", "accumulation_steps", "log_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("checkpoint_every", "keep_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("warmup_steps", "weight_decay", "z_loss"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("b1", "b2"):
            self._require(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        fraction = self.final_learning_rate_fraction
        below = self.warmup_steps < self.num_steps
        self._require("final_learning_rate_fraction", 0 <= fraction <= 1, "in [0, 1]")
        self._require("warmup_steps", below, f"below num_steps = {self.num_steps}")
        self._require("learning_rate", self.learning_rate > 0, "above 0")
        self._require("schedule", self.schedule in SCHEDULES, f"one of {SCHEDULES}")
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

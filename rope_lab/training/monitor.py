"""Watches the losses of a run without making the device wait at every step."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

# Spikes are measured against a running mean over about this many steps.
_MEMORY_STEPS = 50


class TrainingDiverged(RuntimeError):
    """The loss or the gradient became NaN or infinite, or the loss jumped.

    Attributes:
      step: the update, counted from 1.
      batch: the identity of the batch it trained on.
      checkpoint: the last good checkpoint, or None.
    """

    def __init__(self, what: str, step: int, batch: str, checkpoint: str | None):
        super().__init__(
            f"{what} at step {step}, on {batch}; last good checkpoint: "
            f"{checkpoint or 'none yet'}. Lower training.learning_rate or clip_norm in "
            "a new workdir, or look at that batch"
        )
        self.step, self.batch, self.checkpoint = step, batch, checkpoint


class Monitor:
    """Collects the metrics of each step and checks them when asked.

    The values stay on the device until `check`, which fetches all of them at once: it
    is called where the loop stops anyway, to log or to save. Each step is judged by
    itself, so the report names the exact one.

    Args:
      spike_factor: a step is a spike when its perplexity exceeds `spike_factor` times
        that of the mean loss of the steps before; None: never.
      identify: step -> identity of its batch, for the report.
      last_checkpoint: gives the path of the last good checkpoint, for the report.
    """

    def __init__(
        self,
        spike_factor: float | None,
        identify: Callable[[int], str],
        last_checkpoint: Callable[[], str | None],
    ):
        self._spike_nats = None if spike_factor is None else math.log(spike_factor)
        self._identify = identify
        self._last_checkpoint = last_checkpoint
        self._mean_loss: float | None = None
        self._unfetched: list[tuple[int, Mapping[str, jax.Array | float]]] = []
        self._unreported: list[dict[str, float]] = []

    def add(self, step: int, metrics: Mapping[str, jax.Array | float]) -> None:
        """Takes the metrics of one step, without waiting for them."""
        self._unfetched.append((step, metrics))

    def check(self) -> None:
        """Waits for the steps added so far and judges each.

        Raises:
          TrainingDiverged: at the first step that is not as it should be.
        """
        fetched, self._unfetched = jax.device_get(self._unfetched), []
        for step, metrics in fetched:
            metrics = {name: float(value) for name, value in metrics.items()}
            self._judge(step, metrics)
            self._unreported.append(metrics)

    def report(self) -> dict[str, float]:
        """The metrics checked since the last report: the last learning rate and
        gradient norm; the mean over the steps of everything else."""
        rows, self._unreported = self._unreported, []
        report = dict(rows[-1])
        for name in ("loss", "accuracy", "tokens"):
            report[name] = sum(row[name] for row in rows) / len(rows)
        return report

    def to_dict(self) -> dict[str, Any]:
        """What a resumed run needs to report and to judge as this one would."""
        return {"mean_loss": self._mean_loss, "unreported": self._unreported}

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes over what `to_dict` gave."""
        self._mean_loss = saved["mean_loss"]
        self._unreported = list(saved["unreported"])

    def _judge(self, step: int, metrics: dict[str, float]) -> None:
        loss = metrics["loss"]
        for name in ("loss", "grad_norm"):
            if not math.isfinite(metrics[name]):
                self._stop(f"{name} is {metrics[name]}", step)
        if self._mean_loss is None:
            self._mean_loss = loss
        limit = None if self._spike_nats is None else self._mean_loss + self._spike_nats
        if limit is not None and loss > limit:
            mean = f"{self._mean_loss:.4f}"
            self._stop(f"loss jumped to {loss:.4f} from a mean of {mean}", step)
        self._mean_loss += (loss - self._mean_loss) / _MEMORY_STEPS

    def _stop(self, what: str, step: int) -> None:
        raise TrainingDiverged(
            what, step, self._identify(step), self._last_checkpoint()
        )

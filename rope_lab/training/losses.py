"""Next-token cross-entropy in float32.

B batch, T tokens, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits_BTV: Float[Array, "B T V"],
    targets_BT: Int[Array, "B T"],
    weights_BT: Float[Array, "B T"],
    z_loss: float = 0.0,
    total_weight: Float[Array, ""] | None = None,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Weighted mean of -log p(target), in nats per token.

        sum(w * (log Z - logit[target])) / W  +  z_loss * sum(w * log(Z)**2) / W

    Args:
      logits_BTV: any float type; computed in float32.
      targets_BT: token ids.
      weights_BT: 0 where there is no target (padding).
      z_loss: weight of the second term (arXiv:2204.02311, section 5: 1e-4).
      total_weight: W. Default: the sum of the weights. A microbatch gets the sum of
        the whole batch, so that the microbatches' losses and gradients add up.

    Returns:
      The objective, and metrics: `loss` (nats, without the z-loss), `accuracy`
      (fraction of targets that have the largest logit), `tokens` (sum of weights).
      All three add up over microbatches. Without any weight they are 0.
    """
    logits_BTV = logits_BTV.astype(jnp.float32)
    weights_BT = weights_BT.astype(jnp.float32)
    tokens = weights_BT.sum()
    total = tokens if total_weight is None else total_weight
    share_BT = weights_BT / jnp.where(total > 0, total, 1.0)

    log_z_BT = jax.nn.logsumexp(logits_BTV, axis=-1)
    target_BT = jnp.take_along_axis(logits_BTV, targets_BT[..., None], -1)[..., 0]
    loss = jnp.sum(share_BT * (log_z_BT - target_BT))
    hit_BT = jnp.argmax(logits_BTV, axis=-1) == targets_BT
    metrics = {"loss": loss, "accuracy": jnp.sum(share_BT * hit_BT), "tokens": tokens}
    return loss + z_loss * jnp.sum(share_BT * log_z_BT**2), metrics

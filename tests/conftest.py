"""Settings every test runs under.

Set before JAX is first imported, and through the environment where there is a
variable for it, so that processes which tests start inherit them.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Broadcasting between ranks is how a [T] slips into a [B, T] unseen: refuse it.
os.environ.setdefault("JAX_NUMPY_RANK_PROMOTION", "raise")

import jax

jax.config.update("jax_numpy_rank_promotion", "raise")

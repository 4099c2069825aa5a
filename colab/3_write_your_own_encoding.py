# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Write your own encoding
#
# An encoding is one function. Here is a new one, in ten lines: it is checked, trained
# with, compared, and then added to the catalogue, where it gets the fast kernels, a
# cache and a picture for nothing.
#
# About a minute on a free CPU.

# %%
# Install rope_lab, unless it is there already.
import importlib.util
import pathlib
import subprocess
import sys

REPOSITORY = ""  # on Colab: the git address of rope_lab, "https://..."
if importlib.util.find_spec("rope_lab") is None:
    clone = pathlib.Path.cwd().parent
    local = (clone / "rope_lab").is_dir()
    if not local and not REPOSITORY:
        raise ValueError("set REPOSITORY to the git address of rope_lab, above")
    source = f"{clone}[colab]" if local else f"rope-lab[colab] @ git+{REPOSITORY}"
    editable = ["-e"] if local else []
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *editable, source], check=True)
    if local:
        sys.path.insert(0, str(clone))

# %%
import itertools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from rope_lab import (
    attend,
    generate,
    logic_from_dict,
    plots,
    position_logic,
    relative_positions,
    rotary,
)
from rope_lab.data import DataConfig, batches, evaluation_windows, packed_sequences
from rope_lab.evaluation import Model, Row, evaluate_rows
from rope_lab.model import ModelConfig, init_model
from rope_lab.training import (
    TrainingConfig,
    init_state,
    make_optimizer,
    make_train_step,
)

folder = pathlib.Path(tempfile.mkdtemp())  # results and PNG files

HEAD_DIM = 32
TRAIN_LENGTH = 64  # tokens, here bytes
LENGTH = 256  # tokens

# %% [markdown]
# ## The idea
#
# ReRoPE tells attention that every key beyond a window is a window away: what is far
# and what is very far look the same. **Two plateaus** keep them apart. Distances
# count up to `WINDOW`; keys further away stand at `WINDOW`; from `FAR` tokens on they
# stand at twice that. A model trained under RoPE knows all of these, if `2 * WINDOW`
# is below its training length. One trained under two plateaus knows the second only
# if `FAR` is below it, too: with `FAR = 64` it fails behind position 64. Try it.
#
# The function takes queries and keys `[batch, tokens, heads, dims]` and their
# positions `[batch, tokens]` or `[tokens]`, and returns logits `[batch, heads,
# queries, keys]`. Hiding the future is not its task: `attend` does that.

# %%
WINDOW, FAR = 16, 32
FREQUENCIES = rotary.rope(HEAD_DIM)


def two_plateaus(q_BTHD, k_BSHD, query_positions, key_positions):
    i_BT, j_BS = jnp.atleast_2d(query_positions), jnp.atleast_2d(key_positions)

    def seen_at(i_BT, j_BS):
        q = rotary.rotate(q_BTHD, rotary.angles(i_BT, FREQUENCIES)[:, :, None])
        k = rotary.rotate(k_BSHD, rotary.angles(j_BS, FREQUENCIES)[:, :, None])
        return jnp.einsum("bthd,bshd->bhts", q, k) / HEAD_DIM**0.5

    middle, far = (seen_at(0 * i_BT + w, 0 * j_BS) for w in (WINDOW, 2 * WINDOW))
    distance = (i_BT[:, :, None] - j_BS[:, None])[:, None]
    logits = jnp.where(distance < FAR, middle, far)
    return jnp.where(distance < WINDOW, seen_at(i_BT, j_BS), logits)


# %% [markdown]
# ## Check it with the properties
#
# Four properties catch most mistakes: the function equals its formula, written once
# more in another way; it depends on distances alone; what a query sees does not
# depend on which other queries there are; and no gradient reaches a future key. Each
# cell stops where a property fails.

# %%
rng = np.random.default_rng(0)
q, k, v = (rng.normal(size=(1, 100, 1, HEAD_DIM)).astype("float32") for _ in range(3))
positions = np.arange(100)

# 1. The formula, one pair at a time, with complex numbers in float64.
theta = 10_000.0 ** (-np.arange(HEAD_DIM // 2) / (HEAD_DIM // 2))
logits = np.asarray(two_plateaus(q, k, positions, positions))[0, 0]


def as_complex(x):
    return x[: HEAD_DIM // 2] + 1j * x[HEAD_DIM // 2 :]


for i, j in [(5, 5), (30, 20), (50, 35), (50, 34), (99, 68), (99, 67), (99, 0)]:
    seen = i - j if i - j < WINDOW else WINDOW if i - j < FAR else 2 * WINDOW
    pairs = as_complex(q[0, i, 0]) * as_complex(k[0, j, 0]).conj()
    exact = (pairs * np.exp(1j * seen * theta)).sum().real / HEAD_DIM**0.5
    np.testing.assert_allclose(logits[i, j], exact, atol=1e-5)

# 2. Shifting every position changes nothing.
shifted = two_plateaus(q, k, positions + 1000, positions + 1000)[0, 0]
np.testing.assert_allclose(shifted, logits, atol=1e-4)

# 3. The last query alone sees what it sees among all.
alone = attend(q[:, -1:], k, v, two_plateaus)
np.testing.assert_allclose(alone, attend(q, k, v, two_plateaus)[:, -1:], atol=1e-5)

# 4. Query 50 learns nothing of keys 51 to 99, and something of key 50.
slope = jax.grad(lambda v: attend(q, k, v, two_plateaus)[0, 50].sum())(v)
assert np.all(slope[0, 51:] == 0) and np.any(slope[0, 50] != 0)

# %% [markdown]
# ## Train with it, and compare
#
# Two models of 350 steps: one trained under RoPE, one under two plateaus from the
# start. A function goes wherever a name of the catalogue goes.

# %%
data = DataConfig(length=TRAIN_LENGTH, batch_size=16, repeat_fraction=0.25)
source = packed_sequences(data)
config = ModelConfig(
    vocab_size=source.tokenizer.vocab_size,
    num_layers=2,
    width=64,
    ff_width=160,
    num_heads=2,
    num_kv_heads=2,  # as many as query heads: the function asks for it
    head_dim=HEAD_DIM,
)
graphdef, untrained = init_model(config)


def train(logic, num_steps=350):
    """Parameters after num_steps updates from the same start, on the same text."""
    settings = TrainingConfig(
        num_steps=num_steps, learning_rate=8e-3, warmup_steps=num_steps // 10
    )
    optimizer = make_optimizer(settings)
    copy = jax.tree.map(jnp.array, untrained)  # a step consumes what it is given
    state = init_state(copy, optimizer, settings)
    step = make_train_step(graphdef, optimizer, settings)
    for batch in itertools.islice(batches(source, data.batch_size), num_steps):
        state, metrics = step(state, batch, logic)
    print(f"last batch: {float(metrics['loss']):.3f} nats per byte")
    return state.params


rope = position_logic("rope", head_dim=HEAD_DIM)
models = {
    "RoPE": Model(train(rope), "350 steps under RoPE"),
    "own": Model(train(two_plateaus), "350 steps under two plateaus"),
}

# %%
rerope = position_logic("rerope", head_dim=HEAD_DIM, window=WINDOW)
rows = [
    Row("Truncated", lambda length: rope, "RoPE", truncated=True),
    Row("RoPE", lambda length: rope, "RoPE"),
    Row("ReRoPE", lambda length: rerope, "RoPE"),
    Row("Two plateaus", lambda length: two_plateaus, "RoPE"),
    Row("Two plateaus, from the start", lambda length: two_plateaus, "own"),
]
windows = evaluation_windows(
    source.corpus, source.tokenizer, "held_out", LENGTH, num_windows=16
)
results = evaluate_rows(
    graphdef,
    models,
    rows,
    {LENGTH: {"natural": windows}},
    TRAIN_LENGTH,
    folder / "results.json",
)
plots.show(
    plots.loss_by_position(
        results,
        folder / "compare.png",
        title="The new encoding reads four times its training length",
    ),
    "RoPE leaves the others behind the line. Two plateaus hold, swapped in as well as "
    "trained with; differences of a few hundredths are noise of 350 steps.",
)

# %% [markdown]
# ## Add it to the catalogue
#
# A plain function computes three whole matrices and picks from them. Written as
# *bands*, intervals of keys seen at one pair of position maps, the same encoding
# costs one product for each tile of attention. `first_key` and `last_key` say which
# keys a query at position i sees in a band; `alpha` and `beta` what positions the two
# take there.

# %%
from rope_lab.logic import Band, PositionMap
from rope_lab.logic.catalogue import CATALOGUE, Entry
from rope_lab.logic.maps import constant


def _two_plateaus(setting, *, window, far, frequencies=None):
    turning = setting.plain_or(frequencies)
    key = constant(0)
    near_from, middle_from = PositionMap(shift=1 - window), PositionMap(shift=1 - far)
    before_near, before_middle = PositionMap(shift=-window), PositionMap(shift=-far)
    middle, beyond = constant(window), constant(2 * window)
    return (
        Band(turning, first_key=near_from),
        Band(turning, middle, key, first_key=middle_from, last_key=before_near),
        Band(turning, beyond, key, last_key=before_middle),
    )


CATALOGUE["two_plateaus"] = Entry(_two_plateaus, "far keys at w, farther ones at 2w")

logic = position_logic("two_plateaus", head_dim=HEAD_DIM, window=WINDOW, far=FAR)
np.testing.assert_allclose(
    attend(q, k, v, logic, implementation="tiled"),
    attend(q, k, v, two_plateaus, implementation="dense"),
    atol=1e-5,
)
wide = position_logic("two_plateaus", head_dim=HEAD_DIM, window=200, far=300)
np.testing.assert_allclose(attend(q, k, v, wide), attend(q, k, v, rope), atol=1e-5)
assert logic_from_dict(logic.to_dict()).to_dict() == logic.to_dict()

# %%
small = position_logic("two_plateaus", head_dim=HEAD_DIM, window=3, far=6)
plots.show(
    plots.relative_position_matrices(
        {
            "ReRoPE, w=3": relative_positions(
                position_logic("rerope", head_dim=HEAD_DIM, window=3), 10
            ),
            "Two plateaus, w=3, far=6": relative_positions(small, 10),
        },
        7,
        folder / "matrices.png",
        title="Two plateaus tell far keys from very far ones",
    ),
    "Near the diagonal the two agree; in the corner the new encoding says 6 where "
    "ReRoPE says 3. No number is orange: all were trained, at length 7.",
)

# %% [markdown]
# From a cache, 80 bytes that go on from a prompt, 132 in all. A model of this size
# spells, and repeats itself; that it still spells behind 64 is the point.

# %%
prompt = source.tokenizer.encode("The people of the United States and the Congress of ")
tokens, _ = generate(graphdef, models["own"].params, prompt[None], logic, 80)
print(source.tokenizer.decode(np.concatenate([prompt, tokens[0]])))

# %% [markdown]
# To keep it: put the function into `rope_lab/logic/piecewise.py`, its row into
# `rope_lab/logic/catalogue.py`, its formula into `tests/oracle.py` and a row into the
# table of `tests/test_properties.py`. Then `PYTEST='-k two_plateaus' make test` asks
# it what every encoding is asked.
#
# **Next:** [4. Bring a checkpoint](4_bring_a_checkpoint.ipynb).

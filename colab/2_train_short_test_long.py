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
# # 2. Train short, test long
#
# A small decoder learns 64 bytes of text at a time. Then it reads 256, under the
# encoding it was trained with and under others, without any training in between; and
# once after a few steps of fine-tuning with Resonance-YaRN. What is measured is the
# loss at every position, of text that training never saw.
#
# About a minute and a half on a free CPU.

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
import numpy as np

from rope_lab import plots, position_logic
from rope_lab.data import DataConfig, batches, evaluation_windows, packed_sequences
from rope_lab.evaluation import Model, Row, evaluate_rows
from rope_lab.evaluation.results import cell
from rope_lab.model import ModelConfig, count_parameters, init_model
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
SCALE = LENGTH / TRAIN_LENGTH

# %% [markdown]
# ## Text, model, training
#
# The text is 249 State of the Union addresses. Documents are held out by number, so
# no seed changes which. A quarter of the training sequences repeat a passage: so that
# looking far back pays, even for a model as small as this.

# %%
data = DataConfig(length=TRAIN_LENGTH, batch_size=32, repeat_fraction=0.25)
source = packed_sequences(data)
config = ModelConfig(
    vocab_size=source.tokenizer.vocab_size,
    num_layers=2,
    width=64,
    ff_width=160,
    num_heads=2,
    num_kv_heads=2,
    head_dim=HEAD_DIM,
)
graphdef, untrained = init_model(config)
print(f"{count_parameters(untrained):,} parameters")


def train(params, source, logic, batch_size, num_steps, learning_rate):
    """Parameters after num_steps updates, and the loss of each."""
    settings = TrainingConfig(
        num_steps=num_steps, learning_rate=learning_rate, warmup_steps=num_steps // 10
    )
    optimizer = make_optimizer(settings)
    copy = jax.tree.map(jax.numpy.array, params)  # a step consumes what it is given
    state = init_state(copy, optimizer, settings)
    step = make_train_step(graphdef, optimizer, settings)
    losses = []
    for batch in itertools.islice(batches(source, batch_size), num_steps):
        state, metrics = step(state, batch, logic)
        losses.append(metrics["loss"])
    return state.params, np.array(losses)


rope = position_logic("rope", head_dim=HEAD_DIM)
trained, losses = train(untrained, source, rope, data.batch_size, 500, 8e-3)

# %%
plots.show(
    plots.training_curves(
        {"64 bytes at a time": {"RoPE": (np.arange(1, 501), losses)}},
        folder / "training.png",
        title="Training loss of the small decoder",
    ),
    "Pale: each step; strong: a running mean. It has learned to spell and to copy, not "
    "to write speeches.",
)

# %% [markdown]
# ## Beyond the training length
#
# Every row below scores the same bytes of held-out text, at their places in windows
# of 256. *Truncated* is what anybody can do without a method: plain RoPE that never
# sees more than the last 64 bytes. It is the row to beat.

# %%
windows = {
    length: {
        "natural": evaluation_windows(
            source.corpus, source.tokenizer, "held_out", length, num_windows=24
        )
    }
    for length in (TRAIN_LENGTH, LENGTH)
}


def row(label, name, model="pretrained", truncated=False, **options):
    """A row of the table: an encoding of the catalogue, by name."""
    logic = position_logic(name, head_dim=HEAD_DIM, **options)
    return Row(label, lambda length: logic, model, truncated)


yarn = {"scale": SCALE, "train_length": TRAIN_LENGTH}
rows = [
    row("Truncated", "rope", truncated=True),
    row("RoPE", "rope"),
    row("PI", "interpolated", scale=SCALE),
    row("NTK-aware", "ntk_aware", scale=SCALE),
    row("YaRN", "yarn", **yarn),
    row("Resonance-YaRN", "yarn", **yarn, resonance=True),
    row("ReRoPE", "rerope", window=TRAIN_LENGTH // 2),
]
models = {"pretrained": Model(trained, "after 500 steps")}
measured = graphdef, models, rows, windows, TRAIN_LENGTH, folder / "results.json"
results = evaluate_rows(*measured)

# %%
plots.show(
    plots.loss_by_position(
        results,
        folder / "rope.png",
        labels=["Truncated", "RoPE"],
        title="RoPE fails soon after its training length",
    ),
    "Left of the line the two are one. Right of it RoPE's loss climbs, although it has "
    "more context than the truncated row.",
)

# %%
plots.show(
    plots.loss_by_position(
        results,
        folder / "swapped.png",
        labels=["Truncated", "RoPE", "PI", "NTK-aware", "YaRN", "ReRoPE"],
        title="The same model under other encodings, without any training",
    ),
    "ReRoPE stays within hundredths of truncation. YaRN costs a little everywhere, PI, "
    "which squeezes near distances too, a lot; NTK-aware holds for a while.",
)

# %% [markdown]
# ## Fine-tune with Resonance-YaRN
#
# Methods that change the frequencies ask a model to learn the new angles. Twenty
# steps at the long length do, 4 sequences each: a fiftieth of the tokens of
# pretraining.

# %%
long_source = packed_sequences(
    DataConfig(length=LENGTH, batch_size=4, repeat_fraction=0.25, seed=1)
)
resonance_yarn = position_logic("yarn", head_dim=HEAD_DIM, **yarn, resonance=True)
tuned, _ = train(trained, long_source, resonance_yarn, 4, 20, 1e-3)

models["tuned"] = Model(tuned, "after 20 more")
tuned_label = "Resonance-YaRN, fine-tuned"
rows.append(row(tuned_label, "yarn", "tuned", **yarn, resonance=True))
results = evaluate_rows(*measured)  # measures the new row alone
plots.show(
    plots.loss_by_position(
        results,
        folder / "tuned.png",
        labels=["Truncated", "Resonance-YaRN", tuned_label, "ReRoPE"],
        title="Twenty steps teach the model its new frequencies",
    ),
    "Fine-tuning wins back most of what Resonance-YaRN had lost, at every position. "
    "ReRoPE needs none, but transformers and most kernels cannot run it.",
)

# %% [markdown]
# The table behind the pictures. Brackets are 95 % intervals of the paired difference
# to the truncated row, over documents, beyond 64 bytes.

# %%
print(f"{'nats per byte':28} {TRAIN_LENGTH:>6} {LENGTH:>6}   beyond, minus truncated")
for found in results["rows"]:
    short, long = cell(found, TRAIN_LENGTH), cell(found, LENGTH)
    beyond = long["minus_truncated"]["beyond"]
    low, high = beyond["interval"]
    difference = f"{beyond['mean']:+.3f} [{low:+.3f}, {high:+.3f}]"
    print(
        f"{found['label']:28} {short['loss']:6.3f} {long['loss']:6.3f}   {difference}"
    )

# %% [markdown]
# What this cannot show: a model of two layers gains little from context beyond 64
# bytes, so no row can beat truncation by much. `make demo` repeats the experiment
# with a larger model, seventeen rows and a report; `experiments/rerope` is the study
# with several models and seeds.
#
# **Next:** [3. Write your own encoding](3_write_your_own_encoding.ipynb).

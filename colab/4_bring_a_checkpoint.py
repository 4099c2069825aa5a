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
# # 4. Bring a checkpoint
#
# A checkpoint that others trained is imported, its encoding changed in one argument,
# measured beyond the length it was trained at, continued as text, and exported for
# others to use. No torch, no transformers, no network.
#
# About a minute on a free CPU with the stand-in below; with a checkpoint of your own,
# as long as that takes.

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

import numpy as np

from rope_lab import generate, plots, position_logic
from rope_lab.data import DataConfig, batches, load_corpus, packed_sequences
from rope_lab.data.selection import select_documents
from rope_lab.evaluation import Protocol, Row, Subject, measure_perplexity
from rope_lab.interop import export_pretrained, load_pretrained
from rope_lab.model import ModelConfig, init_model
from rope_lab.training import (
    TrainingConfig,
    init_state,
    make_optimizer,
    make_train_step,
)

folder = pathlib.Path(tempfile.mkdtemp())  # checkpoints, records and PNG files

# %% [markdown]
# ## The checkpoint
#
# Give `CHECKPOINT` the path of one: a folder as transformers writes it (Llama,
# Mistral, Qwen2 or Qwen3: config.json, safetensors, tokenizer), a `.gguf` file of the
# Llama architecture, or a `.bin` of llama2.c with its tokenizer.bin.
#
# With `None`, the next cell trains a stand-in: a two-layer Llama of bytes, 300 steps
# on speeches, written as such a folder. **It is a toy**: it spells, and what it says
# means nothing. Every step below is the one that a real checkpoint takes.

# %%
CHECKPOINT = None  # such as "Llama-3.2-1B"


def make_stand_in(place, length=64, steps=300):
    """Trains a decoder of 0.1 million parameters and writes it for transformers."""
    source = packed_sequences(DataConfig(length=length, batch_size=32))
    sizes = {"num_layers": 2, "width": 64, "ff_width": 160}
    heads = {"num_heads": 2, "num_kv_heads": 2, "head_dim": 32}
    model = ModelConfig(vocab_size=source.tokenizer.vocab_size, **sizes, **heads)
    graphdef, params = init_model(model)
    config = TrainingConfig(num_steps=steps, learning_rate=8e-3, warmup_steps=30)
    optimizer = make_optimizer(config)
    state = init_state(params, optimizer, config)
    step = make_train_step(graphdef, optimizer, config)
    logic = position_logic("rope", head_dim=model.head_dim)
    for batch in itertools.islice(batches(source, 32), steps):
        state, _ = step(state, batch, logic)
    return export_pretrained(
        place, model, state.params, logic, source.tokenizer, length=length
    )


path = CHECKPOINT or make_stand_in(folder / "stand-in")
print("your checkpoint" if CHECKPOINT else "a stand-in, trained just now:", path)
print(sorted(file.name for file in pathlib.Path(path).glob("*")))

# %% [markdown]
# ## Import
#
# One call reads description, weights and tokenizer. A key that nothing reads, a
# missing shard or a wrong shape is refused by name before anything is loaded.

# %%
loaded = load_pretrained(path)
train_length = loaded.train_length
print(loaded.model)
print("trained as", loaded.trained, "on", train_length, "tokens")

# %% [markdown]
# ## Extend
#
# The encoding is an argument. What it leaves open, such as the base, stays as the
# checkpoint has it.

# %%
SCALE = 4  # how many times the training length
specs = {
    "as trained": None,
    "Resonance-YaRN": {
        "name": "yarn",
        "scale": SCALE,
        "train_length": train_length,
        "resonance": True,
    },
    "ReRoPE": {"name": "rerope", "window": train_length // 2},
}
extended = {label: load_pretrained(path, logic=spec) for label, spec in specs.items()}

# %% [markdown]
# ## Evaluate
#
# Perplexity in the convention *last*: the same last tokens of each document are
# scored, with more and more context before them. If context helps, the curve falls.
# The documents are speeches; give others that suit a checkpoint of your own.

# %%
lengths = [train_length, 2 * train_length, SCALE * train_length]
documents = select_documents(
    "State of the Union",
    load_corpus("sotu").documents("held_out"),
    loaded.tokenizer,
    count=20,
    minimum_tokens=lengths[-1] + 1,
)
records = []
for label, one in extended.items():
    subject = Subject(
        one.graphdef, one.params, one.tokenizer, pathlib.Path(path).name, train_length
    )
    records.append(
        measure_perplexity(
            subject,
            Row(label, one.logic),
            documents,
            Protocol("last", targets=train_length // 2),
            lengths,
            folder / "records",
        )
    )
plots.show(
    plots.perplexity_by_length(
        records,
        train_length,
        folder / "perplexity.png",
        title="Perplexity of the same tokens as their context grows",
    ),
    "As trained, context beyond the line does harm. ReRoPE starts from the same point "
    "and stays; Resonance-YaRN, not fine-tuned, pays a little everywhere.",
)

# %% [markdown]
# Bars are 95 % intervals over twenty documents. Every number has a record with all it
# depends on: checkpoint, text, encoding, protocol.

# %%
for record in records:
    shown = [f"{found['perplexity']:8.2f}" for found in record["results"]]
    print(f"{record['label']:16}", *shown)

# %% [markdown]
# ## Generate
#
# Keys are turned once, when the cache takes them, under every encoding.

# %%
prompt = loaded.tokenizer.encode("Gentlemen of the Senate and of the House of Rep")
for label, one in extended.items():
    tokens, _ = generate(one.graphdef, one.params, prompt[None], one.logic, 100)
    print(f"{label}: {loaded.tokenizer.decode(tokens[0])!r}")

# %% [markdown]
# ## Export
#
# Frequencies that transformers can compute are written as its own rope type, all
# others, such as Resonance-YaRN, as `longrope` with one list. The folder has a model
# card. What is written is read back here and compared.

# %%
chosen = extended["Resonance-YaRN"]
exported = export_pretrained(
    folder / "extended",
    chosen.model,
    chosen.params,
    chosen.logic(),
    chosen.tokenizer,
    length=lengths[-1],
)
again = load_pretrained(exported)
factors = [
    np.asarray(model.logic().bands[0].frequencies.wavelengths)
    for model in (chosen, again)
]
np.testing.assert_allclose(*factors, rtol=1e-6)
print(sorted(file.name for file in exported.iterdir()))
print((exported / "README.md").read_text()[:600])

# %% [markdown]
# ReRoPE cannot be expressed there, since transformers turns each key once; asked to
# export it, the library says so:

# %%
try:
    refused = extended["ReRoPE"]
    export_pretrained(
        folder / "no", refused.model, refused.params, refused.logic(), length=256
    )
except ValueError as error:
    print(error)

# %% [markdown]
# From the command line the same is `rope-lab import`, `rope-lab finetune`, `rope-lab
# evaluate`, `rope-lab generate` and `rope-lab export`.

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
# # 1. See position encodings
#
# RoPE turns queries and keys by angles that grow with their positions. What attention
# sees of two positions is the difference of their angles, that is, their distance.
# Here you look at those angles, see why a model fails beyond the length it was
# trained at, and what each remedy does about it.
#
# Runs in about a minute on a CPU. The sliders need a live notebook.

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
import tempfile

from ipywidgets import FloatLogSlider, IntSlider

from rope_lab import plots, position_logic, relative_positions, rotary

pictures = pathlib.Path(tempfile.mkdtemp())  # PNG files, to look at and to keep

HEAD_DIM = 64  # dimensions of a query; each pair is a plane, so there are 32
TRAIN_LENGTH = 64  # tokens the model was trained on
LENGTH = 256  # tokens it has to read
SCALE = LENGTH / TRAIN_LENGTH

rope = rotary.rope(HEAD_DIM, base=10_000.0)

# %% [markdown]
# ## Wavelengths
#
# Plane p turns by `base ** (-2p / head_dim)` radians a token. Its *wavelength* is the
# number of tokens for one turn: 6.28 in the first plane, almost `2 pi base` in the
# last. The first plane whose wavelength is not below the training length is the
# *critical dimension*: from there on, training never showed a whole turn.

# %%
plots.show(
    plots.wavelengths(
        {"RoPE": rope, "Resonance RoPE": rotary.resonance(rope)},
        TRAIN_LENGTH,
        pictures / "wavelengths.png",
        title="Most of RoPE's planes do not finish a turn within 64 tokens",
    ),
    "Above the dashed line a plane has seen only part of its circle. Resonance rounds "
    "each wavelength to whole tokens, the change shown below: it matters in fast "
    "planes and vanishes in slow ones.",
)

# %% [markdown]
# ## Rotations
#
# Each circle below is one plane. A blue dot is the angle between a query and a key at
# a distance that occurs in training, an orange one, drawn on a wider circle, at a
# distance that does not. The *feature gap* is the longest way from an orange dot to
# the nearest blue one, as a chord: 0 where every angle is known, 2 where one is
# opposite to all.

# %%
PLANES = (0, 9, 15, 26)
plots.show(
    plots.rotations(
        {"RoPE": rope},
        TRAIN_LENGTH,
        LENGTH,
        pictures / "rope.png",
        PLANES,
        title="Beyond its training length RoPE meets angles it has not learned",
    ),
    "Fast planes (left) have seen all of their circle. In plane 15 the orange arc "
    "stands alone: what attention makes of those angles was never trained.",
)

# %% [markdown]
# ## What the remedies change
#
# **PI** divides all positions by the scale, here 4: no angle is new, but neighbours
# are only a quarter as far apart as before. **NTK-aware** enlarges the base: fast
# planes stay as they were and the slowest is slowed by the scale. **YaRN** decides
# plane by plane: those that turn many times in training are kept, slow ones are
# interpolated. **Resonance** rounds what one of them gives to whole wavelengths, so
# that far positions repeat angles of near ones exactly.

# %%
remedies = {
    "RoPE, as trained": rope,
    "PI": rotary.interpolated(HEAD_DIM, 10_000.0, SCALE),
    "NTK-aware": rotary.ntk_aware(HEAD_DIM, 10_000.0, SCALE),
    "YaRN": rotary.yarn(HEAD_DIM, 10_000.0, SCALE, TRAIN_LENGTH),
}
remedies["Resonance-YaRN"] = rotary.resonance(remedies["YaRN"])
plots.show(
    plots.rotations(
        {name: remedies[name] for name in ("RoPE, as trained", "PI", "YaRN")},
        TRAIN_LENGTH,
        LENGTH,
        pictures / "remedies.png",
        PLANES,
        title="PI and YaRN bring far distances back to the arcs of training",
    ),
    "In slow planes both end where blue ends. In plane 0 PI puts new angles between "
    "the known ones; YaRN leaves that plane alone.",
)

# %%
gaps = {
    name: rotary.feature_gap(frequencies, TRAIN_LENGTH, LENGTH, rope)
    for name, frequencies in remedies.items()
}
plots.show(
    plots.feature_gaps(
        gaps,
        pictures / "gaps.png",
        rotary.critical_dimension(rope, TRAIN_LENGTH),
        title="RoPE's feature gap is largest just beyond the critical dimension",
    ),
    "Lower is better. Right of the dotted line RoPE comes near 2; PI and both YaRNs, "
    "which lie on one another there, are below 0.1, and NTK-aware is between.",
)

# %% [markdown]
# Resonance pays when the model is *trained* with it: then the trained angles are
# whole as well, and planes below the critical dimension have a gap of exactly 0.

# %%
whole = rotary.resonance(rope)
gaps = {
    "RoPE": rotary.feature_gap(rope, TRAIN_LENGTH, LENGTH),
    "Resonance RoPE, also in training": rotary.feature_gap(whole, TRAIN_LENGTH, LENGTH),
}
plots.show(
    plots.feature_gaps(
        gaps,
        pictures / "resonance.png",
        rotary.critical_dimension(whole, TRAIN_LENGTH),
        title="Trained with whole wavelengths, every fast plane has no gap at all",
    ),
    "Left of the dotted line Resonance lies at the floor of the picture, which stands "
    "for 0; right of it rounding changes nothing.",
)

# %% [markdown]
# Move the sliders: `base` is RoPE's, `scale` the target length over the training
# length.


# %%
def compare_wavelengths(base: float, scale: float) -> pathlib.Path:
    frequencies = {
        "RoPE": rotary.rope(HEAD_DIM, base),
        "PI": rotary.interpolated(HEAD_DIM, base, scale),
        "NTK-aware": rotary.ntk_aware(HEAD_DIM, base, scale),
        "YaRN": rotary.yarn(HEAD_DIM, base, scale, TRAIN_LENGTH),
    }
    return plots.wavelengths(
        frequencies,
        TRAIN_LENGTH,
        pictures / "sliders.png",
        title=f"Wavelengths at base {base:,.0f}, stretched {scale:.3g} times",
    )


plots.sliders(
    compare_wavelengths,
    "PI lifts every plane alike, NTK-aware more the slower a plane is; YaRN keeps fast "
    "planes and lifts slow ones. A larger base leaves fewer planes that finish a turn.",
    base=FloatLogSlider(10_000, min=2, max=7, step=0.5, continuous_update=False),
    scale=FloatLogSlider(4, base=2, min=0, max=5, step=1, continuous_update=False),
)

# %% [markdown]
# ## Matrices of relative positions
#
# The other way out is to leave the frequencies alone and to change the distance that
# attention is told. **ReRoPE** stops counting at a window w: every key further away
# is w away. **Leaky ReRoPE** goes on in steps of 1/k. **Self-Extend** lets far
# neighbours share a position. Row i of a matrix is a query, column j a key, the
# number what the encoding takes their distance to be.

# %%
logics = {
    "RoPE": position_logic("rope", head_dim=HEAD_DIM),
    "ReRoPE, w=3": position_logic("rerope", head_dim=HEAD_DIM, window=3),
    "Leaky ReRoPE, w=3, k=2": position_logic(
        "leaky_rerope", head_dim=HEAD_DIM, window=3, step=2
    ),
    "Self-Extend, w=3, group=2": position_logic(
        "self_extend", head_dim=HEAD_DIM, window=3, group=2
    ),
}
plots.show(
    plots.relative_position_matrices(
        {name: relative_positions(logic, 10) for name, logic in logics.items()},
        7,
        pictures / "matrices.png",
        title="Ten tokens read by a model that was trained on seven",
    ),
    "Orange numbers are distances that training did not show; only RoPE has them. Near "
    "the diagonal all four agree.",
)

# %% [markdown]
# The same at full size. `window` and `step` are ReRoPE's w and Leaky ReRoPE's k; with
# a step of 1 nothing is left of the change, and with a small one the corner turns
# orange: the farthest key stands at `w + (length - 1 - w) / step`.


# %%
def compare_matrices(window: int, step: int) -> pathlib.Path:
    rows = {
        f"ReRoPE, w={window}": {"name": "rerope", "window": window},
        f"Leaky, w={window}, k={step}": {
            "name": "leaky_rerope",
            "window": window,
            "step": step,
        },
    }
    matrices = {
        name: relative_positions(position_logic(head_dim=HEAD_DIM, **spec), LENGTH)
        for name, spec in rows.items()
    }
    return plots.relative_position_matrices(
        matrices,
        TRAIN_LENGTH,
        pictures / "sliders.png",
        title=f"Distances among {LENGTH} tokens, trained on {TRAIN_LENGTH}",
    )


plots.sliders(
    compare_matrices,
    "Larger windows keep more distances exact; larger steps keep the corner inside of "
    "what training has shown.",
    window=IntSlider(32, min=4, max=TRAIN_LENGTH, step=4, continuous_update=False),
    step=IntSlider(8, min=1, max=16, continuous_update=False),
)

# %% [markdown]
# **Next:** [2. Train short, test long](2_train_short_test_long.ipynb) measures what
# these pictures promise.

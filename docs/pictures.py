"""The pictures of "The idea", drawn by `rope_lab.plots` when the site is built."""

from pathlib import Path

from rope_lab import plots, position_logic, relative_positions, rotary
from rope_lab.evaluation import load_results

HEAD_DIM = 64
TRAINED = 64  # tokens
LENGTH = 256  # tokens it is read at
SCALE = LENGTH // TRAINED


def write_pictures(folder: Path) -> None:
    """Writes the pictures, each for light and for dark pages."""
    plots.relative_position_matrices(matrices(), TRAINED, folder / "matrices.png")
    plots.wavelengths(frequencies(), TRAINED, folder / "wavelengths.png")
    gaps = {
        name: rotary.feature_gap(read, TRAINED, LENGTH, trained)
        for name, (read, trained) in read_and_trained().items()
    }
    critical = rotary.critical_dimension(rotary.rope(HEAD_DIM), TRAINED)
    plots.feature_gaps(gaps, folder / "gaps.png", critical)
    demo = load_results(Path(__file__).with_name("demo_results.json"))
    plots.loss_by_position(demo, folder / "losses.png")


def matrices() -> dict:
    """What each query takes each key's distance to be, by encoding."""
    of = {"head_dim": HEAD_DIM}
    logics = {
        "RoPE": position_logic("rope", **of),
        "PI, scale 4": position_logic("interpolated", scale=SCALE, **of),
        "ReRoPE, window 32": position_logic("rerope", window=32, **of),
        "Leaky ReRoPE, k=8": position_logic("leaky_rerope", window=32, step=8, **of),
        "Self-Extend, g=8": position_logic("self_extend", window=32, group=8, **of),
        "dual chunk, 40 + 8": position_logic(
            "dual_chunk", chunk_length=40, local_window=8, **of
        ),
    }
    return {name: relative_positions(logic, LENGTH) for name, logic in logics.items()}


def frequencies() -> dict:
    """Planes of the methods that change frequencies, the trained one first."""
    plain = rotary.rope(HEAD_DIM)
    yarn = rotary.yarn(HEAD_DIM, 10_000.0, SCALE, TRAINED)
    return {
        "RoPE": plain,
        "PI": rotary.interpolated(HEAD_DIM, 10_000.0, SCALE),
        "NTK-aware": rotary.ntk_aware(HEAD_DIM, 10_000.0, SCALE),
        "YaRN": yarn,
        "Resonance-YaRN": rotary.resonance(yarn),
    }


def read_and_trained() -> dict:
    """Label -> frequencies read with, and those that training saw."""
    planes = frequencies()
    plain = planes["RoPE"]
    whole = rotary.resonance(plain)
    return {
        "RoPE": (plain, plain),
        "Resonance RoPE, trained with it": (whole, whole),
        "NTK-aware, on a RoPE model": (planes["NTK-aware"], plain),
        "YaRN, on a RoPE model": (planes["YaRN"], plain),
    }

"""Results of made-up losses, for tests of pictures and pages: no model needed."""

from types import SimpleNamespace

import numpy as np

from rope_lab.evaluation import extrapolation, summaries

TRAIN_LENGTH = 32
LENGTHS = (32, 64, 256)


def logic(name, **options):
    return {"schema_version": 1, "name": name, "options": options}


# Label: (nats lost per doubling beyond L, nats lost everywhere, logic's dictionary).
ROWS = {
    "RoPE": (0.5, 0.0, logic("rope")),
    "Truncated RoPE": (0.01, 0.0, logic("rope")),
    "PI": (0.6, 1.0, logic("interpolated")),
    "NTK-old": (0.2, 0.1, logic("ntk_old")),
    "NTK-fixed": (0.15, 0.1, logic("ntk_fixed")),
    "NTK-mixed": (0.1, 0.1, logic("ntk_mixed")),
    "ReRoPE w=L/2": (-0.02, 0.0, logic("rerope", window=TRAIN_LENGTH // 2)),
    "ReRoPE w=L/4": (0.0, 0.01, logic("rerope", window=TRAIN_LENGTH // 4)),
    "Leaky ReRoPE w=L/4": (0.0, 0.01, logic("leaky_rerope", window=8, step=16)),
    "YaRN, fine-tuned": (-0.03, 0.05, logic("yarn")),
    "Resonance-YaRN, fine-tuned": (-0.04, 0.05, logic("yarn", resonance=True)),
}


def make_results(windows=24, documents=8, seed=0, labels=tuple(ROWS)):
    """Results with the schema of evaluate_rows and losses drawn at random."""
    ids = np.arange(windows) % documents
    results = {
        "schema_version": 1,
        "train_length": TRAIN_LENGTH,
        "lengths": list(LENGTHS),
        "targets": {},
        "rows": [],
        "run": {"seed": seed, "corpus": {"name": "<made up>", "documents": documents}},
    }
    for length in LENGTHS:
        tokens = np.random.default_rng(length).integers(0, 9, (windows, length + 1))
        made = SimpleNamespace(tokens=tokens, document_ids=ids)
        kinds = {"natural": made, "repeated": made}
        results["targets"] |= extrapolation._describe_targets({length: kinds})
    for label in labels:
        facts = ROWS[label]
        results["rows"].append(_row(label, facts, ids, results["targets"], seed))
    extrapolation._compare_with_truncated(results)
    results["context_use"] = _context_use(ids)
    return results


def _context_use(ids):
    rng, steps, before = np.random.default_rng(9), [], None
    for context in (4, 8, 16, 32):
        loss = 1.5 + 2.5 * context**-0.4 + 0.1 * rng.normal(size=len(ids))
        step = {"context": [context // 2 + 1, context]}
        step |= summaries.level(loss, np.exp(-loss), ids, len(ids) * 16)
        step["gain"] = before is not None and summaries.difference(before, loss, ids)
        step["gain"] = step["gain"] or None
        before = loss
        steps.append(step)
    return {"model": "pretrained", "steps": steps, "used": 16, "tokens": 16 * len(ids)}


def _row(label, facts, ids, targets, seed):
    slope, level, described = facts
    model = "pretrained"
    if "fine-tuned" in label:
        model = "resonance_yarn" if "Resonance" in label else "yarn"
    row = {
        "label": label,
        "model": model,
        "checkpoint": model + "@100",
        "truncated": label.startswith("Truncated"),
        "fingerprint": label,
        "seconds": 1.5,
        "cells": {},
    }
    for length in LENGTHS:
        for kind in ("natural", "repeated"):
            noise = np.random.default_rng([seed, length, *label.encode()])
            loss = made_up_loss(slope, level, len(ids), length, kind, noise)
            hit = noise.random(loss.shape) < np.exp(-loss)
            cell = summaries.summarise(loss.astype(np.float32), hit, ids, TRAIN_LENGTH)
            cell["targets_checksum"] = targets[str(length)][kind]["checksum"]
            cell["logic"] = described
            row["cells"].setdefault(str(length), {})[kind] = cell
    return row


def made_up_loss(slope, level, windows, length, kind, rng):
    """Falls with the context inside L, goes its way beyond; plus noise."""
    context = np.arange(length) + 1.0
    doublings = np.log2(np.maximum(context / TRAIN_LENGTH, 1))
    loss = 1.5 + 2.5 * np.minimum(context, TRAIN_LENGTH) ** -0.4 + level
    loss = loss + slope * doublings - (0.3 * doublings if kind == "repeated" else 0)
    return np.abs(loss + 0.2 * rng.normal(size=(windows, length)))

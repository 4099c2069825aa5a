"""Folders as runs leave them, with made-up numbers: for the tests of comparisons."""

import copy
import functools
import json

import synthetic_results

from rope_lab.evaluation import save_results
from rope_lab.evaluation.fingerprints import describe_logic
from rope_lab.logic import position_logic

L = synthetic_results.TRAIN_LENGTH
LOGICS = {
    "PI": {"name": "interpolated", "scale": 4},
    "ReRoPE w=L/2": {"name": "rerope", "window": L // 2},
    "YaRN, fine-tuned": {"name": "yarn", "scale": 4, "train_length": L},
}
LABELS = ("Truncated RoPE", "RoPE", *LOGICS)


@functools.cache
def _made(windows, seed):
    return synthetic_results.make_results(windows, seed=seed, labels=LABELS)


def measured(folder, seed=0, windows=24, named=False):
    """results.json of `extrapolate`; with `named`, windows have names of their own."""
    results = copy.deepcopy(_made(windows, seed))
    for row in results["rows"]:
        spec = LOGICS.get(row["label"], {"name": "rope"})
        logic = describe_logic(position_logic(head_dim=16, **spec))
        for kinds in row["cells"].values():
            for cell in kinds.values():
                cell["logic"] = logic
    if named:
        names = [f"window {number}" for number in range(windows)]
        results["windows"] = {
            length: dict.fromkeys(kinds, names)
            for length, kinds in results["targets"].items()
        }
    save_results(folder / "results.json", results)
    return results


def trained(folder, steps=40, wanted=40):
    """metrics.jsonl and config.json of `pretrain`."""
    folder.mkdir(parents=True)
    rows = [{"step": n, "loss": 5 / n, "eval/loss": 6 / n} for n in range(4, steps, 4)]
    rows.append({"step": steps, "loss": 0.1, "eval/loss": 0.25})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    config = {
        "model": {"logic": {"name": "rerope", "window": 8}},
        "data": {"length": L},
        "training": {"num_steps": wanted},
    }
    (folder / "config.json").write_text(json.dumps(config))


def perplexity_record(folder, label, numbers, losses, lengths=(64,), **changed):
    """A record of `rope-lab perplexity`, of documents by their numbers."""
    logic = describe_logic(position_logic("rope", head_dim=16))
    results = [
        {
            "length": length, "loss": sum(losses) / len(losses), "loss_interval": None,
            "perplexity": 9.0, "perplexity_interval": [8.0, 10.0],
            "per_document_loss": losses,
            "per_document_digest": [f"document {number}" for number in numbers],
            "by_position": {"edges": [0, 1, 64], "loss": [4.0, 3.0]},
        }
        for length in lengths
    ]  # fmt: skip
    record = {
        "schema_version": 1, "evaluation": "perplexity/last/books", "count": 3,
        "evaluation_version": 1, "settings": {"targets": 8, "lengths": list(lengths)},
        "data": {"name": "books", "checksum": str(numbers), "numbers": numbers},
        "prompt_template": None, "seed": None, "tokenizer": "bytes", "label": label,
        "train_length": L, "encoding": {str(n): logic for n in lengths},
        "results": results,
    } | changed  # fmt: skip
    (folder / "records").mkdir(parents=True, exist_ok=True)
    (folder / "records" / f"{label}.json").write_text(json.dumps(record))

"""Tables of several trained models as one, so that every reader of one reads all."""

from collections.abc import Mapping
from typing import Any

from rope_lab.evaluation.results import SCHEMA_VERSION, Results, truncated_row


def combine(parts: Mapping[str, Results]) -> Results:
    """One results dictionary of the tables of several models, in their order.

    A row's ``model`` becomes the label of its table. Its truncated rows, each the
    reference of its own model, get that label behind their name, but for the first.

    Args:
      parts: label of a trained model -> results of ``evaluate_rows``.

    Raises:
      ValueError: no tables, two rows of one label, or tables of other lengths or
        other target tokens, whose rows cannot be compared.
    """
    if not parts:
        raise ValueError("there are no tables to combine; measure a model first")
    labels, tables = list(parts), list(parts.values())
    first = tables[0]
    for label, table in parts.items():
        for key in ("train_length", "lengths", "targets"):
            if table[key] != first[key]:
                raise ValueError(
                    f"the table of model {label!r} has another {key} than that of "
                    f"{labels[0]!r}, so that their rows cannot be compared"
                )
    rows = [row for label in labels for row in _rows(label, parts[label], labels[0])]
    names = [row["label"] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two rows are called {twice[0]!r}; labels must be unique")
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: first[key] for key in ("train_length", "lengths", "targets")},
        **{key: first[key] for key in ("windows",) if key in first},
        "rows": rows,
        "context_use": first["context_use"],
    }


def split(results: Results) -> dict[str, Results]:
    """The tables that `combine` made results of, by the label of their model."""
    tables = {}
    for number, label in enumerate(model_labels(results)):
        table = of_model(results, label)
        rows = [
            row | {"label": "truncated"} if row["truncated"] else row
            for row in table["rows"]
        ]
        context = results["context_use"] if number == 0 else None
        tables[label] = {**table, "rows": rows, "context_use": context}
    return tables


def of_model(results: Results, model: str) -> Results:
    """The rows of one trained model, as a table of its own."""
    rows = [row for row in results["rows"] if row["model"] == model]
    return {**results, "rows": rows, "context_use": None}


def model_labels(results: Results) -> list[str]:
    """Labels of the trained models, in the order of the table."""
    return list(dict.fromkeys(row["model"] for row in results["rows"]))


def _rows(label: str, table: Results, first: str) -> list[dict[str, Any]]:
    reference = truncated_row(table)
    rows = []
    for row in table["rows"]:
        row = row | {"model": label}
        if reference and row["label"] == reference["label"] and label != first:
            row["label"] = f"{row['label']}, {label}"
        rows.append(row)
    return rows

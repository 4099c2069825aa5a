"""Write a checkpoint as a Hugging Face folder, which transformers runs.

    rope-lab export runs/long exported/long
    rope-lab export runs/base exported/far --length=1024 --dtype=bfloat16 \\
        --encoding='{"name": "yarn", "scale": 8, "train_length": "trained"}'

The folder holds config.json, safetensors, the tokenizer and a model card. Encodings
that transformers cannot express are refused with the reason. Keys of a config are those
of `ExportConfig`.
"""

from __future__ import annotations

from pathlib import Path

from rope_lab.cli.interop_config import ExportConfig
from rope_lab.cli.subject import Loading
from rope_lab.interop import export_pretrained


def export(config: ExportConfig, workdir: str | Path) -> Path:
    """Returns the folder.

    Raises:
      ValueError: see `export_pretrained`.
    """
    loading = Loading(config)
    opened = loading.opened
    length = opened.train_length if config.length is None else config.length
    encodings = [] if config.encoding is None else [config.encoding]
    (row,) = loading.rows(encodings, own=not encodings, lengths=[length])
    return export_pretrained(
        workdir,
        opened.model_config,
        opened.params,
        row.logic_for(length),
        loading.subject.tokenizer,
        length=length,
        dtype=config.dtype,
    )

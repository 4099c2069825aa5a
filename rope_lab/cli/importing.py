"""Make a rope_lab checkpoint of one that another program wrote.

    rope-lab import Llama-3.2-1B --workdir=runs/llama
    rope-lab import stories15M.bin --workdir=runs/stories

Takes what `rope_lab.interop.load_pretrained` takes: a Hugging Face folder, a .gguf
file, a llama2.c .bin. `finetune`, `extrapolate`, `evaluate`, `generate` and `export`
start from the workdir. Keys of a config are those of `ImportConfig`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rope_lab.cli.interop_config import ImportConfig
from rope_lab.data import Tokenizer
from rope_lab.data.chat_files import files_beside
from rope_lab.data.tokenizers import (
    SentencePieceTokenizer,
    chat_template_of,
    eos_ids,
)
from rope_lab.interop import Pretrained, load_pretrained
from rope_lab.model import count_parameters
from rope_lab.training import Checkpoints, TrainState, run_meta


def import_checkpoint(config: ImportConfig, workdir: str | Path) -> Pretrained:
    """Write step 0 of a run without training; returns what was read.

    Raises:
      ValueError: the checkpoint is not one that is read; the workdir holds one already.
    """
    workdir = Path(workdir).expanduser()
    if workdir.exists() and any(workdir.iterdir()):
        raise ValueError(f"{workdir} is not empty: give the folder of a new run")
    loaded = load_pretrained(config.checkpoint)
    logic = loaded.logic(config.length or loaded.train_length)
    workdir.mkdir(parents=True, exist_ok=True)
    meta = run_meta(
        {
            "imported_from": Path(config.checkpoint).name,
            "length": config.length,
            "data": {
                "tokenizer": _keep_tokenizer(loaded.tokenizer, workdir),
                "length": loaded.train_length,
            },
        },
        dataclasses.asdict(loaded.model),
        logic,
        "",
        loaded.tokenizer.checksum,
    )
    del meta["data"]["corpus"]  # its text is not known here
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(0, _untrained(loaded.params), meta)
    sys.stderr.write(
        f"{workdir}: {count_parameters(loaded.params):,} parameters, trained at "
        f"{loaded.train_length} tokens with {_names(logic)}; its tokenizer for "
        f"`finetune` is {meta['config']['data']['tokenizer']}\n"
    )
    return loaded


def _keep_tokenizer(tokenizer: Tokenizer, workdir: Path) -> str:
    """Writes its files into the workdir; returns what `load_tokenizer` takes."""
    pieces = isinstance(tokenizer, SentencePieceTokenizer)
    name = f"tokenizer.{'model' if pieces else 'json'}"
    files = {name: tokenizer.content}  # type: ignore[attr-defined]
    files |= files_beside(eos_ids(tokenizer), chat_template_of(tokenizer))
    for each, content in files.items():
        (workdir / each).write_bytes(content)
    return f"{workdir.absolute() / name}?bos={tokenizer.bos_id}"


def _untrained(params: Any) -> TrainState:
    return TrainState(
        params=params,
        opt_state=(),
        step=jnp.zeros((), jnp.int32),
        ema=None,
        key=jax.random.key(0),
    )


def _names(logic: Any) -> str:
    logics = logic if isinstance(logic, tuple) else (logic,)
    return ", ".join(dict.fromkeys(one.name for one in logics))

"""Text for training and evaluation: corpora, tokenizers, packing, windows.

Everything here is a pure function of the contents of the files, the tokenizer, the
seed and a number, and is prepared once under the checksums of the first two. Read
`corpora`, then `packing`. PosGen, which is made and not read, is in `posgen`.
"""

from rope_lab.data.config import DataConfig
from rope_lab.data.corpora import Corpus, load_corpus
from rope_lab.data.packing import PackedSequences
from rope_lab.data.pipeline import Batches, batch_identity, batches, packed_sequences
from rope_lab.data.posgen import PosGenConfig, generate_splits
from rope_lab.data.posgen_source import (
    PosGen,
    PosGenSource,
    PosGenVocabulary,
    load_posgen,
)
from rope_lab.data.tokenizers import Tokenizer, load_tokenizer
from rope_lab.data.windows import (
    EvaluationWindows,
    evaluation_windows,
    packed_windows,
)

__all__ = [
    "Batches",
    "Corpus",
    "DataConfig",
    "EvaluationWindows",
    "PackedSequences",
    "PosGen",
    "PosGenConfig",
    "PosGenSource",
    "PosGenVocabulary",
    "Tokenizer",
    "batch_identity",
    "batches",
    "evaluation_windows",
    "generate_splits",
    "load_corpus",
    "load_posgen",
    "load_tokenizer",
    "packed_sequences",
    "packed_windows",
]

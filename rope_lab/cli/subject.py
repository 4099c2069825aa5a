"""A checkpoint as the evaluations take it: with tokenizer, encodings and documents."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rope_lab.cli.evaluation_config import CheckpointConfig, PerplexitySection
from rope_lab.cli.extrapolate import split_row
from rope_lab.cli.opening import open_checkpoint
from rope_lab.cli.specs import resolve
from rope_lab.data import Corpus, Tokenizer, load_corpus, load_tokenizer
from rope_lab.data.missing import MissingData
from rope_lab.data.selection import Selection, select_documents
from rope_lab.data.sources import open_documents
from rope_lab.data.tokenizers import NO_BOS
from rope_lab.evaluation import Row
from rope_lab.evaluation.haystack import Filler, filler
from rope_lab.evaluation.subject import Subject
from rope_lab.model.learned import with_learned

OWN = "own"  # the label of the encoding a checkpoint was trained with
HELD_OUT = "held_out"
UP_TO = 50  # documents, as the papers take


class Loading:
    """What a command reads of a checkpoint, each part when it is needed.

    Attributes:
      opened: the checkpoint.
      subject: the same with its tokenizer.
    """

    def __init__(self, config: CheckpointConfig):
        """Reads the checkpoint and its tokenizer.

        Raises:
          ValueError: neither there nor right; says what to change.
        """
        self._config = config
        self.opened = open_checkpoint(config.checkpoint, config.average)
        self.subject = Subject(
            self.opened.graphdef,
            self.opened.params,
            self._tokenizer(),
            self.opened.identity,
            self.opened.train_length,
        )

    def lengths(self, given: list[int] | None) -> list[int]:
        """Those given, else 1, 2 and 4 times the training length."""
        trained = self.opened.train_length
        lengths = [trained, 2 * trained, 4 * trained] if given is None else given
        if not lengths or min(lengths) < 2:
            raise ValueError(f"lengths are {lengths}; give at least one of 2 tokens")
        return sorted(set(lengths))

    def rows(
        self, encodings: Sequence[Any], own: bool, lengths: Sequence[int]
    ) -> list[Row]:
        """The encodings to measure, each built once at every length.

        Raises:
          ValueError: a row that cannot be built for this model; names it.
        """
        rows = []
        if own:
            rows.append(Row(OWN, self.opened.own))
        for encoding in encodings:
            rows.append(self.row(encoding))
        labels = [row.label for row in rows]
        twice = {label for label in labels if labels.count(label) > 1}
        if twice or not rows:
            raise ValueError(
                f"encodings are called {labels}; give at least one, and each a label "
                "of its own"
            )
        layers = self.opened.model_config.num_layers
        for row in rows:
            for length in lengths:
                try:
                    with_learned(row.logic_for(length), self.opened.params, layers)
                except ValueError as error:
                    raise ValueError(f"encoding {row.label!r}: {error}") from None
        return rows

    def row(self, encoding: Any) -> Row:
        """One encoding of a config; without a label it is called after its options."""
        if isinstance(encoding, dict) and "label" not in encoding:
            options = [f"{k}={v}" for k, v in encoding.items() if k != "name"]
            name = encoding.get("name", "encoding")
            encoding = {"label": " ".join([str(name), *options]), **encoding}
        label, _, spec = split_row(encoding)

        def build(length: int) -> Any:
            try:
                resolved = resolve(spec, self.opened.train_length, length)
                return self.opened.changed(resolved, length)
            except ValueError as error:
                raise ValueError(
                    f"encoding {label!r} at length {length}: {error}"
                ) from None

        return Row(label, build)

    def documents(
        self, section: PerplexitySection, longest: int, others: Sequence[str] = ()
    ) -> Selection:
        """The documents of a section, as tokens: if it does not say, of `longest` + 1.

        Where they are cut to less, of what they are cut to. others: what else there is
        to be told from by name.

        Raises:
          MissingData: not here, or too few; says what to do.
          ValueError: no such documents, or files that cannot be read.
        """
        source = self._source(section.documents, section.split)
        least, most = section.minimum_tokens, section.maximum_tokens
        if least is None:
            least = longest + 1 if most is None else min(longest + 1, most)
        return select_documents(
            name_of(section.documents, others),
            source,
            self.subject.tokenizer,
            UP_TO if section.count is None else section.count,
            least,
            maximum_tokens=most,
            how=section.selection,
            seed=section.seed,
            or_fewer=section.count is None,
        )

    def haystack(self, spec: str) -> Filler:
        """The text that things are hidden in; raises as `documents` does."""
        if spec == "noise":
            return filler()
        source = self._source(spec, "test")
        texts = [source[number] for number in range(min(UP_TO, len(source)))]
        return filler(name_of(spec), texts)

    def _source(self, spec: str, split: str) -> Sequence[str]:
        if spec == HELD_OUT:
            return self._corpus.documents("held_out")
        return open_documents(spec, split, self._config.data_dir)

    @functools.cached_property
    def _corpus(self) -> Corpus:
        """The corpus of the training run, whose held-out documents it never saw.

        Raises:
          MissingData: there is none, or it is gone or another one by now: the run named
            it, and not who evaluates.
        """
        meta = self.opened.meta
        data = meta["config"]["data"] if meta else {}
        if "corpus" not in data:
            raise MissingData(
                f"checkpoint {self._config.checkpoint} names no corpus, so it has no "
                "held-out documents; name documents: pg19, govreport, proof_pile, or "
                "the path of a folder with text files"
            )
        try:
            corpus = load_corpus(
                data["corpus"], self._config.data_dir, data["held_out_fraction"]
            )
        except ValueError as error:
            raise MissingData(str(error)) from None
        if corpus.split_checksum("train") != meta["data"]["corpus"]:
            raise MissingData(
                f"corpus {data['corpus']!r} is not the one the checkpoint was trained "
                "on, so held-out documents could have been trained on; restore it, or "
                "name other documents"
            )
        return corpus

    def _tokenizer(self) -> Tokenizer:
        """The checkpoint's own, or the one that is given in its place."""
        spec, meta = self._config.tokenizer, self.opened.meta
        if spec is None and meta is None:
            return self._with_or_without_bos(self.opened.tokenizer)
        spec = spec or meta["config"]["data"]["tokenizer"]
        if not self._config.bos:
            spec = spec.removesuffix(NO_BOS)
        corpus = self._corpus if spec.startswith("bpe:") else None
        tokenizer = load_tokenizer(spec, corpus, self._config.data_dir)
        trained = meta["data"]["tokenizer"] if meta else self.opened.tokenizer.checksum
        if tokenizer.checksum != trained:
            raise ValueError(
                f"tokenizer {spec!r} is not the one the checkpoint was trained with"
                f"{_recorded(meta)}: the same text would get other token numbers; give "
                "the file of that one by --config.tokenizer"
            )
        return self._with_or_without_bos(tokenizer)

    def _with_or_without_bos(self, tokenizer: Tokenizer) -> Tokenizer:
        if not self._config.bos:
            tokenizer = copy.copy(tokenizer)
            tokenizer.bos_id = None
            return tokenizer
        known = self.opened.model_config.vocab_size
        if tokenizer.bos_id is None or tokenizer.bos_id >= known:
            raise ValueError(
                f"the tokenizer of {self._config.checkpoint} has no BOS among the "
                f"model's {known} tokens: give --config.bos=False"
            )
        return tokenizer


def _recorded(meta: dict[str, Any] | None) -> str:
    """What a run of ours calls its tokenizer, to be given as it stands."""
    return f", {meta['config']['data']['tokenizer']!r}" if meta else ""


def name_of(documents: str, others: Sequence[str] = ()) -> str:
    """Of a source in records: a path without the folders that lead to it.

    But for those that tell it from others of one evaluation.
    """
    parts = Path(documents).parts
    rest = [Path(other).parts for other in others if Path(other).parts != parts]
    for count in range(1, len(parts)):
        if all(one[-count:] != parts[-count:] for one in rest):
            return "/".join(parts[-count:])
    return str(Path(documents))

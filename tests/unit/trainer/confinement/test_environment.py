"""Where libraries keep their caches, and whose sign-in they find."""

import os
from pathlib import Path

import pytest

from app.trainer.confinement.environment import hub_home, redirect_caches

NAMES = ("HF_TOKEN", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.update(before | {"HF_TOKEN": "secret", "HF_HUB_CACHE": "/elsewhere"})


def test_the_users_hugging_face_folder_is_found(home: Path) -> None:
    assert hub_home() == home / ".cache" / "huggingface"
    os.environ["HF_HOME"] = "~/models"
    assert hub_home() == home / "models"


def test_libraries_find_no_sign_in(tmp_path: Path) -> None:
    redirect_caches(tmp_path, hub_sign_in=False)
    assert [os.environ.get(name) for name in NAMES] == [
        None,
        str(tmp_path / "huggingface"),
        None,
        str(tmp_path / "libraries"),
        "1",
    ]


def test_the_sign_in_stays_if_the_user_says_so(tmp_path: Path, home: Path) -> None:
    redirect_caches(tmp_path, hub_sign_in=True)
    assert os.environ["HF_TOKEN"] == "secret"
    assert os.environ["HF_HOME"] == str(home / ".cache" / "huggingface")
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "libraries")

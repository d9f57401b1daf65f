"""Browsers that have signed in. How tokens are kept and compared: see ``test_access.py``."""

import errno
import os
from pathlib import Path

import pytest

from app.callback.tokens import MOST_SIGN_INS, SIGN_IN_SECONDS, ApiTokens, Role, SignIns
from app.common.errors import FolderError


def test_sign_in_lasts_so_long() -> None:
    now = [100.0]
    sign_ins = SignIns(clock=lambda: now[0])
    secret = sign_ins.add(Role.VIEWER)
    now[0] += SIGN_IN_SECONDS - 1
    assert sign_ins.role_of(secret) is Role.VIEWER
    now[0] += 1
    assert sign_ins.role_of(secret) is Role.ANYBODY


def test_only_so_many_of_a_role_are_signed_in() -> None:
    sign_ins = SignIns()
    viewer = sign_ins.add(Role.VIEWER)
    secrets = [sign_ins.add(Role.OPERATOR) for _ in range(MOST_SIGN_INS + 2)]
    roles = [sign_ins.role_of(each) for each in secrets]
    assert roles == [Role.ANYBODY] * 2 + [Role.OPERATOR] * MOST_SIGN_INS
    assert sign_ins.role_of(viewer) is Role.VIEWER  # nobody of another role had to go


def test_unknown_secrets_are_nobodys() -> None:
    sign_ins = SignIns()
    secret = sign_ins.add(Role.OPERATOR)
    for wrong in ("", "x", secret[:-1], secret + "x", "\ud800", "é" * 9000):
        assert sign_ins.role_of(wrong) is Role.ANYBODY
        sign_ins.end(wrong)
    assert sign_ins.role_of(secret) is Role.OPERATOR


def test_a_token_that_cannot_be_saved_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tokens = ApiTokens(tmp_path / "tokens.json")
    old = tokens.of(Role.OPERATOR)
    browser = tokens.sign_ins.add(Role.OPERATOR)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FolderError, match="No space"):
        tokens.renew(Role.OPERATOR)
    assert tokens.of(Role.OPERATOR) == old
    assert tokens.sign_ins.role_of(browser) is Role.OPERATOR

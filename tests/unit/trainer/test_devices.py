"""Which GPUs torch can train on, by what it was built for."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.common.errors import DeviceError
from app.trainer import devices


def gpu(name: str, major: int, minor: int) -> Any:
    return SimpleNamespace(
        name=name,
        total_memory=2**33,
        uuid="0a6e",
        major=major,
        minor=minor,
        gcnArchName="gfx1100:x",
    )


def pretend(
    monkeypatch: pytest.MonkeyPatch, *gpus: Any, built_for: list[str], hip: str | None = None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda place: gpus[place])
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)
    monkeypatch.setattr(torch.version, "cuda", None if hip else "12.6")
    monkeypatch.setattr(torch.version, "hip", hip)


@pytest.mark.parametrize(
    ("built_for", "usable"),
    [
        (["sm_80", "sm_86"], True),
        (["sm_80"], True),  # of the same generation, and not newer
        (["sm_89"], False),
        (["sm_75"], False),
        (["compute_75"], True),  # compiled for it when it is first used
        (["compute_90"], False),
        (["sm_90a"], False),
    ],
)
def test_code_for_a_gpu_of_8_6(
    monkeypatch: pytest.MonkeyPatch, built_for: list[str], usable: bool
) -> None:
    pretend(monkeypatch, gpu("RTX 3080", 8, 6), built_for=built_for)
    found = devices.list_devices()
    assert [device.id for device in found.devices] == (["cuda:0", "cpu"] if usable else ["cpu"])
    assert [device.id for device in found.unusable] == ([] if usable else ["cuda:0"])


def test_ids_stay_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    both = gpu("Tesla K80", 3, 7), gpu("RTX 3080", 8, 6)
    pretend(monkeypatch, *both, built_for=["sm_86"])
    found = devices.list_devices()
    first = found.devices[0]
    assert (first.id, first.uuid, first.architecture) == ("cuda:1", "GPU-0a6e", "sm_86")
    assert (found.cuda, found.hip, found.architectures) == ("12.6", "", ("sm_86",))
    assert devices.choose("auto") == first


def test_rocm_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, gpu("RX 7900 XTX", 11, 0), built_for=["gfx1100"], hip="6.4")
    found = devices.list_devices()
    assert (found.devices[0].architecture, found.devices[0].uuid) == ("gfx1100", "")
    assert (found.cuda, found.hip) == ("", "6.4")


def test_device_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="cuda:7"):
        devices.choose("cuda:7")

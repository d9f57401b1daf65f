"""The trainer's environment: libraries keep their caches in ours, and find no sign-in."""

import os
from pathlib import Path

_SIGN_IN = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_TOKEN_PATH",
    "HF_OIDC_RESOURCE",
    "HF_OIDC_ID_TOKEN",
)
"""Variables by which huggingface_hub finds a token."""

_HUB_CACHES = (
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
    "HF_ASSETS_CACHE",
    "HUGGINGFACE_ASSETS_CACHE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
    "HF_XET_CACHE",
)
"""Folders that huggingface_hub and datasets otherwise keep below ``HF_HOME``."""


def hub_home() -> Path:
    """The user's own Hugging Face folder, with the token of a sign-in."""
    home = Path.home()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return Path(os.environ.get("HF_HOME") or cache / "huggingface").expanduser()


def redirect_caches(cache: Path, *, hub_sign_in: bool) -> None:
    """Make libraries that are imported from now on keep their caches below ``cache``.

    hub_sign_in: leave huggingface_hub the user's own folder and token; otherwise it has neither.
    """
    if hub_sign_in:
        os.environ["HF_HOME"] = str(hub_home())
    else:
        for name in (*_SIGN_IN, *_HUB_CACHES):
            os.environ.pop(name, None)
        os.environ["HF_HOME"] = str(cache / "huggingface")
        os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    os.environ["XDG_CACHE_HOME"] = str(cache / "libraries")
    os.environ["CUDA_CACHE_PATH"] = str(cache / "libraries" / "cuda")
    os.environ["MIOPEN_USER_DB_PATH"] = str(cache / "libraries" / "miopen")
    os.environ["MIOPEN_CUSTOM_CACHE_DIR"] = str(cache / "libraries" / "miopen")
    # What torch.compile makes is kept as well.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache / "compiled")
    os.environ["TRITON_HOME"] = str(cache / "compiled")
    os.environ["TRITON_CACHE_DIR"] = str(cache / "compiled" / "triton")

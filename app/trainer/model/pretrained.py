"""Weights to begin with: downloaded, checked against the spec, and read as data alone.

Of a repository only its config and its safetensors files are looked at. The config is a table of
numbers and names here: the model is built by the library's own class of the spec's model type, as
from a spec without weights.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from app.common.errors import DataError, SpecError
from app.common.i18n import _
from app.spec.architectures import parameter_count, sizes_of
from app.spec.schema import SwarmSpec
from app.spec.sources.pretrained import CONFIG_FILE, HttpsWeights, HubWeights, file_name
from app.trainer.model.config import refusals
from app.trainer.pinned.downloads import Downloads
from app.trainer.pinned.https import fetch
from app.trainer.pinned.repository import ListedFile, fetch_files

log = logging.getLogger(__name__)

FIELD = "pretrained"
"""The part of the spec that errors name."""

MOST_CONFIG_BYTES = 2**20

BYTES_A_PARAMETER, SPARE_BYTES = 8, 64 * 2**20
"""A download is at most so large: twice float32, since some files hold masks as well."""

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
"""The names that `transformers` gives to files of weights."""


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights on this machine."""

    config: dict[str, Any]
    """What their ``config.json`` says, unchecked."""

    files: tuple[Path, ...]
    """Of safetensors."""


def fetch_pretrained(spec: SwarmSpec, downloads: Downloads) -> Pretrained | None:
    """Download what the spec begins with, unless it is there; None for a spec without weights.

    Raises `DataError` and `SpecError`.
    """
    if spec.pretrained is None:
        return None
    limit = BYTES_A_PARAMETER * _parameters(spec) + SPARE_BYTES
    limit = min(limit, spec.pretrained.bytes or limit)
    if isinstance(spec.pretrained, HubWeights):
        with downloads.arriving("weights") as arrival:
            found = fetch_files(
                spec.pretrained,
                _needed,
                field=f"{FIELD}.name",
                cache=downloads.repositories,
                limit=limit,
                sign_in=downloads.sign_in,
                arrival=arrival,
            )
    else:
        found = _downloaded(spec.pretrained, downloads, limit=limit)
    config = found.pop(CONFIG_FILE)
    return Pretrained(config=_read_config(config), files=tuple(found.values()))


def _parameters(spec: SwarmSpec) -> int:
    sizes = sizes_of(spec.model.model_type, spec.model.fields, vocabulary=None)
    return parameter_count(spec.model.model_type, spec.model.fields, sizes)


def _needed(files: Iterable[ListedFile]) -> list[ListedFile]:
    """The config, and the weights in one file or several. Raises `DataError`."""
    by_name = {each.name: each for each in files}
    one = by_name.get("model.safetensors")
    several = [each for name, each in sorted(by_name.items()) if _WEIGHTS.fullmatch(name)]
    weights = [one] if one is not None else several
    if CONFIG_FILE not in by_name or not weights:
        raise DataError(
            _("the repository has no {config} or no {weights}.").format(
                config=CONFIG_FILE, weights="model.safetensors"
            ),
            field=f"{FIELD}.name",
            remedy=_("Choose a model that is published as safetensors; other files may hold code."),
        )
    return [by_name[CONFIG_FILE], *weights]


def _downloaded(weights: HttpsWeights, downloads: Downloads, *, limit: int) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with downloads.arriving("weights", files=len(weights.files), size=weights.bytes) as arrival:
        for number, file in enumerate(weights.files):
            name = file_name(file.url)
            found[name] = fetch(
                file.url,
                sha256=file.sha256,
                field=f"{FIELD}.files.{number}",
                cache=downloads.files,
                arrival=arrival,
                context=downloads.context,
                limit=MOST_CONFIG_BYTES if name == CONFIG_FILE else min(file.bytes or limit, limit),
            )
            limit -= found[name].stat().st_size
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MOST_CONFIG_BYTES + 1)
        content = json.loads(raw) if len(raw) <= MOST_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(
            _("its config.json can't be read: {reason}").format(reason=error)
        ) from error
    if not isinstance(content, dict):
        raise _unusable(_("its config.json is no table of fields"))
    if "quantization_config" in content:
        raise _unusable(_("its weights are quantized, which can't be trained here"))
    return content


# --- reading the weights


def load_pretrained(config: Any, pretrained: Pretrained) -> torch.nn.Module:
    """The model of a config with these weights, in float32, on the CPU.

    Raises `DataError` where the weights aren't those of such a model.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with refusals(FIELD), _quietly():
        model, told = kind.from_pretrained(
            None,
            config=config,
            state_dict=_tensors(pretrained.files),
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are named below
        )
    wrong = [*told["missing_keys"], *(name for name, *_shapes in told["mismatched_keys"])]
    if wrong or told["error_msgs"]:
        text = _("{count} of its tensors are missing or of another size, such as {name}")
        name = min(map(str, wrong), default=_("(unknown)"))
        raise _unusable(text.format(count=len(wrong) or len(told["error_msgs"]), name=name[:200]))
    if extra := told["unexpected_keys"]:
        name = min(map(str, extra))[:200]
        log.warning("%d tensors of the weights belong to no such model: %s", len(extra), name)
    for name, parameter in model.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise _unusable(_("{name} holds values that are not finite").format(name=name))
    loaded: torch.nn.Module = model.train()
    return loaded


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's progress bar, and its table of names from the files, which may be of
    any length."""
    from transformers.utils import logging as their_log

    before = their_log.get_verbosity()
    their_log.disable_progress_bar()
    their_log.set_verbosity_error()
    try:
        yield
    finally:
        their_log.set_verbosity(before)


def _tensors(files: Iterable[Path]) -> dict[str, Any]:
    """All tensors of numbers by name, which are read from the files when they are needed."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, Any] = {}
    for path in files:
        try:
            opened: Any = safe_open(path, framework="pt")
            parts = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            parts = {name: part for name, part in parts.items() if part.get_dtype() in _FLOATS}
        except (SafetensorError, OSError, ValueError) as error:
            text = _("{file} is no safetensors file: {reason}")
            raise _unusable(text.format(file=path.name, reason=error)) from error
        if twice := found.keys() & parts.keys():
            raise _unusable(_("two of its files hold {name}").format(name=min(twice)[:200]))
        found |= parts
    return found


_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
"""Of other types are masks, which the library makes itself, and quantized weights."""


def digest_of_weights(model: torch.nn.Module) -> str:
    """Two machines have the same only if their models begin with the same weights.

    Returns 64 hexadecimal digits. Of a model with adapters, all but these count: the frozen
    weights are the same during the whole run.
    """
    parameters = sorted(model.named_parameters())
    frozen = [each for each in parameters if not each[1].requires_grad]
    hashing = hashlib.sha256()
    for name, parameter in frozen or parameters:
        hashing.update(f"{name}{list(parameter.shape)}".encode())
        hashing.update(parameter.detach().cpu().contiguous().view(-1).numpy().data)
    return hashing.hexdigest()


def _unusable(reason: str) -> DataError:
    return DataError(
        _("the weights to begin with can't be used: {reason}.").format(reason=reason),
        field=FIELD,
        remedy=_("Ask whoever made the swarm for a spec that fits its weights."),
    )


def check_size(model: torch.nn.Module, spec: SwarmSpec) -> None:
    """Refuse weights of another size than the preview has shown. Raises `SpecError`."""
    said, found = _parameters(spec), sum(each.numel() for each in model.parameters())
    if said != found:
        raise SpecError(
            _(
                "the invite says a model of {said:,} parameters, but the weights have {found:,}."
            ).format(said=said, found=found),
            field="model_config",
            remedy=_("Copy all sizes from the config.json of the weights."),
        )

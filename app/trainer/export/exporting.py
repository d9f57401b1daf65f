"""Write a folder that `transformers` loads by itself, and load it to see that it does."""

import errno
import gc
import json
import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import torch

from app.common.errors import ExportError
from app.common.i18n import _
from app.message import Message
from app.spec import schema as specs
from app.spec.schema import SwarmSpec
from app.takeout.marker import write_marker
from app.takeout.messages import Export, Exported, ExportProgress, ExportStep
from app.trainer.data.tokenizer import Tokenizer, open_tokenizer
from app.trainer.export.adapters import size_without_adapters, without_adapters
from app.trainer.export.card import CardFacts, card
from app.trainer.export.newest import evaluation_of, newest_of
from app.trainer.model.build import model_with
from app.trainer.model.pretrained import fetch_pretrained
from app.trainer.pinned.downloads import Downloads

log = logging.getLogger(__name__)

_SHARD = "2GB"
"""Of a file of weights: what an upload that broke off repeats at most."""

_BESIDE = 16 * 2**20
"""Bytes for all that lies beside the weights."""

_CLOSE = 1e-4
"""How much logits may differ between the model that we have and the one that was written."""

_TEMPERATURE = 0.8
"""Of what it writes by itself: a little less wild than what it has learnt."""

_PROBE = (
    "Once upon a time, 3 × 7 = 21.\n\n\tnaïve façade — “quotes” 漢字 🎉 e\u0301\0 <|endoftext|>"
    " </s> don't  {stop}  "
)
"""A text whose tokens must be the same for the tokenizer that was written and for ours."""

_POLL_SECONDS = 0.5


def export(order: Export, send: Callable[[Message], None]) -> None:
    """Write the newest sound checkpoint into the folder, and check what was written.

    Raises `ExportError`, `SpecError`, `DataError` for its tokenizer, or `DeviceError` when the
    memory is too small.
    """
    send(ExportProgress(step=ExportStep.LOADING))
    spec, folder = specs.parse(order.spec), Path(order.folder)
    downloads = Downloads(cache=Path(order.cache_dir))
    tokenizer = open_tokenizer(spec.data.tokenizer, downloads)
    pretrained = fetch_pretrained(spec, downloads)
    send(ExportProgress(step=ExportStep.READING))
    folders = tuple(map(Path, order.checkpoint_dirs))
    newest = newest_of(folders, spec)
    run = msgspec.structs.replace(order.facts, since=None) if newest.was_fetched else order.facts
    epoch, passed_over = newest.checkpoint.epoch, newest.passed_over
    size = tokenizer.vocabulary_size
    model = model_with(newest.checkpoint.model, spec, vocabulary_size=size, pretrained=pretrained)
    del newest  # its file is mapped
    parameters = size_without_adapters(model)
    expected = _logits(model)
    with _disk_errors(folder):
        _write_model(model, folder, spec=spec, tokenizer=tokenizer, send=send)
        del model
        gc.collect()  # the model that is loaded next needs the memory
        _write_tokenizer(tokenizer, folder)
    send(ExportProgress(step=ExportStep.CHECKING))
    _check_model(folder, expected)
    exact = _is_exact(tokenizer, folder)
    facts = CardFacts(
        spec=spec,
        run=run,
        epoch=epoch,
        parameters=parameters,
        evaluation=evaluation_of(folders, spec),
        exact_tokenizer=exact,
    )
    with _disk_errors(folder):
        (folder / "README.md").write_text(card(facts), encoding="utf-8")
        written = write_marker(folder, run_id=spec.run_id, epoch=epoch)
    send(
        Exported(
            epoch=epoch,
            parameters=parameters,
            size=written,
            passed_over=passed_over,
            exact_tokenizer=exact,
        )
    )


@torch.inference_mode()
def _logits(model: Any) -> torch.Tensor:
    """Of the first eight tokens, or fewer: float32, shape [1, tokens, vocabulary]."""
    config = model.config
    tokens = torch.arange(min(8, config.max_position_embeddings)) % config.vocab_size
    logits: torch.Tensor = model(input_ids=tokens.unsqueeze(0), use_cache=False).logits
    return logits.float()


# --- the files


def _write_model(
    model: Any,
    folder: Path,
    *,
    spec: SwarmSpec,
    tokenizer: Tokenizer,
    send: Callable[[Message], None],
) -> None:
    """Weights, config and generation config."""
    from transformers import GenerationConfig, PreTrainedModel

    size = sum(parameter.nbytes for parameter in model.parameters())
    free = shutil.disk_usage(folder).free
    if size + _BESIDE > free:
        raise ExportError(
            _("the model takes {needed}, but the disk has {free} free.").format(
                needed=_mib(size + _BESIDE), free=_mib(free)
            ),
            field=str(folder.parent),
            remedy=_("Make room, or choose a folder on another disk."),
        )
    if not isinstance(model, PreTrainedModel):
        model = without_adapters(model, folder)
    end = _end_of_text(tokenizer)
    model.config.use_cache = True
    model.generation_config = GenerationConfig(
        max_length=spec.training.sequence_length,
        eos_token_id=end,
        pad_token_id=end,
        do_sample=True,  # a young model that always takes the likeliest token repeats one for ever
        temperature=_TEMPERATURE,
    )
    with _watched(folder, size, send):
        model.save_pretrained(folder, max_shard_size=_SHARD)
    for weights in folder.rglob("*.safetensors"):
        weights.chmod(0o644)  # as the others: the library makes it its owner's alone


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def _end_of_text(tokenizer: Tokenizer) -> int | None:
    """The token that follows each text in training; None where that is a line break, which stands
    within texts as well, or several tokens."""
    separator: list[int] = tokenizer.separator.tolist()
    if len(separator) != 1 or tokenizer.encode(["\n"])[0].tolist() == separator:
        return None
    return separator[0]


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    content = tokenizer.as_file()
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    special = {token["id"]: token["content"] for token in json.loads(content)["added_tokens"]}
    end = _end_of_text(tokenizer)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        # None is said aloud, since some model types have special tokens of their own
        **dict.fromkeys(("bos_token", "unk_token", "pad_token")),
        "eos_token": None if end is None else special.get(end),
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8"
    )


@contextmanager
def _watched(folder: Path, size: int, send: Callable[[Message], None]) -> Iterator[None]:
    """Report how many bytes lie in the folder, while the block writes there."""
    over = threading.Event()

    def watch() -> None:
        while True:
            done = min(_bytes_in(folder), size)
            send(ExportProgress(step=ExportStep.WRITING, done=done, size=size))
            if over.wait(_POLL_SECONDS):
                return

    watching = threading.Thread(target=watch, name="watching")
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _bytes_in(folder: Path) -> int:
    size = 0
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # it had a name for a while only
            size += path.stat().st_size
    return size


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Raise `ExportError` for a file that can't be written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise ExportError(
            _("can't be written: {reason}.").format(reason=getattr(error, "strerror", 0) or error),
            field=str(folder.parent),
            remedy=_("Make room, or choose a folder on another disk.")
            if full or isinstance(error, SafetensorError)
            else _("Choose another folder."),
        ) from error


# --- what was written


def _check_model(folder: Path, expected: torch.Tensor) -> None:
    """Load the model as anybody would. Raises `ExportError` if it isn't ours."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False).eval()
    difference = float((_logits(loaded) - expected).abs().max())
    log.info("logits of the folder differ by %g at most", difference)
    if not difference <= _CLOSE:
        raise ExportError(
            _("the folder that was written isn't the model: logits differ by {difference}.").format(
                difference=f"{difference:.3g}"
            ),
            remedy=_("Check the disk, and try another folder."),
        )


def _is_exact(tokenizer: Tokenizer, folder: Path) -> bool:
    """Whether `AutoTokenizer` gives our tokens for each text.

    For some model types (``qwen2``) it takes a class of its own in place of what the file says,
    and that class changes texts. Raises `ExportError` if the file itself isn't ours.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    ours = tokenizer.encode([_PROBE])[0].tolist()
    if PreTrainedTokenizerFast.from_pretrained(folder)(_PROBE)["input_ids"] != ours:
        raise ExportError(
            _("this tokenizer can't be exported: it gives other tokens."),
            field="dataset_info.tokenizer",
            remedy=_("Report this, with the tokenizer's file."),
        )
    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return bool(loaded(_PROBE)["input_ids"] == ours)

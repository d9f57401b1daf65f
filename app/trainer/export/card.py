"""The model card: the run's facts, for whoever finds the model, and what isn't known.

It is in English, as the cards of a model hub are. Titles, names and addresses come from whoever
made the swarm or takes part in it: they stand as plain text. Paths of this machine and addresses of
peers never stand in it.
"""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import torch
import transformers

from app import __version__
from app.common.plain import one_line
from app.evaluation_messages import Evaluated
from app.spec.schema import SwarmSpec
from app.spec.sources.data import (
    BuiltinData,
    BytesTokenizer,
    HttpsData,
    HubData,
    MixtureData,
    PlainData,
    sources_of,
)
from app.spec.sources.pinned import PinnedFile
from app.spec.sources.pretrained import HubWeights
from app.takeout.messages import ExportFacts
from app.takeout.usage import lines_to_load

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")
"""Characters that Markdown or a model hub would read as more than themselves."""

_MOST_CONTRIBUTORS = 200

_LICENCES = frozenset(
    {
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "unlicense", "odc-by"),
        *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0"),
    }
)
"""SPDX identifiers in lower case that are the Hugging Face hub's names, too, which refuses a card
with a ``license`` that it doesn't know."""


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What stands in the card."""

    spec: SwarmSpec

    run: ExportFacts

    epoch: int
    """That the weights are of."""

    parameters: int

    evaluation: Evaluated | None
    """The last one of the machine that exports; its epoch may be another than the weights'."""

    exact_tokenizer: bool
    """`AutoTokenizer` gives the tokens of the training for each text."""


def card(facts: CardFacts) -> str:
    """The README.md of an exported folder."""
    return "\n\n".join((_metadata(facts), *_sections(facts))) + "\n"


def _metadata(facts: CardFacts) -> str:
    """What a model hub reads. YAML takes JSON's values."""
    spec = facts.spec
    sources = sources_of(spec.data).values()
    fields: dict[str, object] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["cotrain", "hivemind", spec.model.model_type],
    }
    if names := list(dict.fromkeys(each.name for each in sources if isinstance(each, HubData))):
        fields["datasets"] = names
    if isinstance(spec.pretrained, HubWeights):
        fields["base_model"] = [spec.pretrained.name]
    if spec.about is not None and (licence := spec.about.licence.lower()) in _LICENCES:
        fields["license"] = licence
    lines = [f"{name}: {json.dumps(value)}" for name, value in fields.items()]
    return "\n".join(("---", *lines, "---"))


def _sections(facts: CardFacts) -> Iterator[str]:
    spec = facts.spec
    yield f"# {plain(spec.name)}"
    yield (
        f"A `{spec.model.model_type}` of {facts.parameters:,} parameters, trained by a swarm of"
        f" volunteers with CoTrain Contributor {__version__}."
    )
    yield _usage(facts)
    yield "## The run\n\n" + "\n".join(f"- {line}" for line in _run(facts))
    if facts.evaluation is not None:
        yield "## Evaluation\n\n" + _evaluation(facts.evaluation, facts)
    yield "## Who trained it\n\n" + _contributors(facts.run.contributors)
    yield "## What isn't known\n\n" + "\n".join(f"- {line}" for line in _unknown(facts))
    yield "## The model's config\n\n" + _block(json.dumps(spec.model.fields, indent=2), "json")


def _usage(facts: CardFacts) -> str:
    lines = lines_to_load("FOLDER", exact_tokenizer=facts.exact_tokenizer)
    text = _block(lines, "python")
    text += (
        f"\n\nIt was written with transformers {transformers.__version__} and torch"
        f" {torch.__version__}, in float32, and loaded once to check it."
    )
    if not facts.exact_tokenizer:
        text += (
            " `AutoTokenizer` takes a tokenizer of its own for this model type, which changes some"
            " texts before it makes tokens of them: the one above doesn't."
        )
    if isinstance(facts.spec.data.tokenizer, BytesTokenizer):
        text += (
            " Each byte of the UTF-8 text is one token, whose id is the byte; byte 0 ends a text."
        )
    return text


def _run(facts: CardFacts) -> Iterator[str]:
    spec, training = facts.spec, facts.spec.training
    tokens = facts.epoch * training.target_batch_size * training.sequence_length
    yield f"Run: `{spec.run_id}`"
    if spec.organiser is not None:
        yield f"Organised by {plain(spec.organiser.name)}, key `{spec.organiser.key}`"
    yield from _said(spec)
    yield f"Began from: {_beginning(spec)}"
    if (adapters := training.adapters) is not None:
        yield (
            f"Trained: adapters (LoRA) of rank {adapters.rank}, alpha {adapters.alpha:g}, beside"
            " frozen weights; they are merged into these weights, and lie in `adapter/` as well"
        )
    yield f"Epochs: {facts.epoch:,}, each an update with {training.target_batch_size:,} samples"
    yield (
        f"Tokens seen: about {tokens:,} (epochs × samples × {training.sequence_length:,} tokens;"
        " an epoch may overshoot)"
    )
    if facts.run.since is not None:
        yield f"Trained on the machine that exported it since {_day(facts.run.since)}"
    yield f"Exported: {_day(time.time())}"
    yield from _data_lines(spec)
    optimizer = training.optimizer
    yield (
        f"Strategy: `{training.strategy}`; optimizer: `{optimizer.name}`, learning rate"
        f" {optimizer.learning_rate:g}, schedule `{training.schedule.name}`"
    )


def _evaluation(found: Evaluated, facts: CardFacts) -> str:
    weights = (
        "these weights"
        if found.epoch == facts.epoch
        else f"the weights of epoch {found.epoch:,}, while these are of epoch {facts.epoch:,},"
    )
    return (
        f"On {found.tokens:,} tokens of text that no machine trains on, {weights} had a loss of"
        f" {found.loss:.4f} nats per token: a perplexity of {found.perplexity:,.2f}, and"
        f" {found.bits_per_byte:.4f} bits per byte. The machine that exported it measured this on"
        f" {_day(found.time)}."
    )


def _said(spec: SwarmSpec) -> Iterator[str]:
    """What the invite says for people. The contact is for those who were invited, not for all."""
    if spec.about is None:
        return
    said = {
        "Run by": spec.about.organiser,
        "What for": spec.about.purpose,
        "Licence of the weights": spec.about.licence,
    }
    yield from (f"{what}, as its invite says: {plain(text)}" for what, text in said.items() if text)


def _beginning(spec: SwarmSpec) -> str:
    published = spec.pretrained
    if published is None:
        return f"random weights, seed {spec.training.seed}"
    if isinstance(published, HubWeights):
        link = f"[{plain(published.name)}](https://huggingface.co/{published.name})"
        return f"the weights of {link}, commit `{published.revision}`"
    return "the weights in " + ", ".join(map(_file, published.files))


def _file(file: HttpsData | PinnedFile) -> str:
    parts = urlsplit(file.url)  # a user's name or a key may stand in the rest
    return f"`{_code(f'{parts.hostname}{parts.path}')}`, SHA-256 `{file.sha256}`"


def _data_lines(spec: SwarmSpec) -> Iterator[str]:
    data = spec.data
    if not isinstance(data, MixtureData):
        yield f"Data: {_source(data)}"
        return
    whole = sum(part.weight for part in data.parts)
    for part in data.parts:
        yield f"Data, {part.weight / whole:.1%} of the samples: {_source(part.data)}"


def _source(data: PlainData) -> str:
    match data:
        case BuiltinData():
            return "Python's own documentation (`pydoc_data.topics`)"
        case HubData():
            rest = "".join(f", {what} `{_code(name)}`" for what, name in _hub_parts(data))
            return f"[{plain(data.name)}](https://huggingface.co/datasets/{data.name}){rest}"
        case HttpsData():
            return _file(data)
        case _:
            return "files on the machines of those who trained it"


def _hub_parts(data: HubData) -> Iterator[tuple[str, str]]:
    for what in ("config", "split", "revision"):
        if name := getattr(data, what):
            yield what, name


def _contributors(aliases: tuple[str, ...]) -> str:
    if not aliases:
        return "Not known to the machine that exported it."
    shown = [f"- {plain(alias)}" for alias in aliases[:_MOST_CONTRIBUTORS]]
    if len(aliases) > len(shown):
        shown.append(f"- and {len(aliases) - len(shown):,} more")
    head = "Machines that took part, by the names that they gave themselves:"
    return "\n".join((head, "", *shown))


def _unknown(facts: CardFacts) -> Iterator[str]:
    about = facts.spec.about
    if about is None or not about.licence:
        yield "Licence: the run states none for the weights; that of its data may matter."
    if about is None or not about.purpose:
        yield "What it was trained for: the run doesn't say."
    if facts.spec.organiser is None and (about is None or not about.organiser):
        yield "Who organised the run: its invite doesn't say."
    if facts.evaluation is None:
        yield "Evaluation: none is recorded with this checkpoint."
    yield "What the data holds, and so what the model may say: it was not filtered or aligned."
    if not facts.run.contributors:
        yield "Who took part."


def _day(moment: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _block(text: str, language: str) -> str:
    return f"```{language}\n{text.replace('```', '` ` `')}\n```"


def _code(text: str) -> str:
    """For a span of code."""
    return one_line(text).replace("`", "'")


def plain(text: str) -> str:
    """A text of somebody else, so that Markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", one_line(text))

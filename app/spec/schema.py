"""A swarm's spec, which invites, backend sessions and training tasks carry.

It is purely declarative: it never contains or names code. It is validated as a whole before
anything starts, and errors name the wrong field.
"""

import re
from typing import Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from app.common.errors import SpecError
from app.common.i18n import _
from app.organiser.invites import OrganiserSpec
from app.spec.about import AboutSpec
from app.spec.architectures import unsaid
from app.spec.complaints import by_field, first_of
from app.spec.evaluation import EvaluationSpec
from app.spec.families import FAMILIES
from app.spec.part import SpecPart
from app.spec.slots import UNPRINTABLE
from app.spec.sources.data import DataSpec, MixtureData, names_files
from app.spec.sources.pretrained import PretrainedSpec
from app.spec.training import TrainingSpec

MAX_SPEC_BYTES = 64 * 1024
"""Largest JSON of a spec; anything larger is refused unread."""

MODEL_TYPES = tuple(FAMILIES)
"""The causal language models of ``transformers`` that a spec may ask for. All are built from their
config alone, by code that ships with the library."""

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_MULTIADDR = re.compile(r"(/[A-Za-z0-9.:%_-]+)+/p2p/[A-Za-z0-9]{20,80}")
_EXAMPLE_PEER = "/ip4/203.0.113.7/tcp/8080/p2p/QmNb…"
_CONFIG_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CODE_KEYS = frozenset({"auto_map", "trust_remote_code", "custom_pipelines", "architectures"})
_OUR_KEYS = frozenset({"dtype", "torch_dtype", "attn_implementation", "use_cache"})


class ModelSpec(SpecPart):
    """A model type of `MODEL_TYPES`, and fields of its config class, such as ``n_layer``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model_type: Literal[MODEL_TYPES]  # type: ignore[valid-type]

    @property
    def fields(self) -> dict[str, JsonValue]:
        """The config fields, without the model type."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _only_config_fields(self) -> "ModelSpec":
        for key in self.fields:
            if key in _CODE_KEYS:
                text = _("'{key}' names code, which a spec may not; remove it")
            elif key == "pretrained":
                text = _("'{key}' stands beside model_config, not in it; move it")
            elif key in _OUR_KEYS:
                text = _("'{key}' is chosen by each machine; remove it")
            elif not _CONFIG_KEY.fullmatch(key):
                text = _("{key!r} is no name of a config field")
            else:
                continue
            raise ValueError(text.format(key=key))
        return self


class SwarmSpec(SpecPart):
    """A swarm: how to find it, its model, its training and its data."""

    version: Literal[1] = 1
    run_id: str
    """Prefix of the run's keys in the DHT; the same for all peers."""

    title: str = Field("", max_length=200)
    initial_peers: tuple[str, ...] = Field((), max_length=64)
    """Multiaddrs of peers to join by; () for the first peer of a swarm."""

    local: bool = False
    """A swarm on this machine alone: listen on loopback only, on free ports."""

    session_id: int | None = Field(None, ge=0)
    """The backend's number of the session, if the backend offers the swarm."""

    training_id: str | None = Field(None, max_length=64)
    """The backend's id of the training, likewise."""
    model: ModelSpec = Field(alias="model_config")
    training: TrainingSpec = Field(alias="training_params")
    data: DataSpec = Field(alias="dataset_info")
    pretrained: PretrainedSpec | None = None
    """Weights to begin with; None for those that the seed draws."""

    about: AboutSpec | None = None
    """What it is for, in its organiser's words; None where the spec doesn't say."""

    organiser: OrganiserSpec | None = None
    """Whose swarm it is, if its organiser signed the spec."""

    @field_validator("run_id")
    @classmethod
    def _is_run_id(cls, value: str) -> str:
        if not _RUN_ID.fullmatch(value):
            raise ValueError(_("a run id is 1 to 100 letters, digits, '-' and '_'"))
        return value

    @field_validator("title")
    @classmethod
    def _is_one_line(cls, value: str) -> str:
        if UNPRINTABLE.search(value):
            raise ValueError(_("a title is one line of printable text"))
        return value

    @field_validator("initial_peers")
    @classmethod
    def _are_multiaddrs(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for address in value:
            if not _MULTIADDR.fullmatch(address):
                text = _("{address!r} is no address of a peer, such as {example}")
                raise ValueError(text.format(address=address[:100], example=_EXAMPLE_PEER))
        return value

    @model_validator(mode="after")
    def _says_how_large_its_weights_are(self) -> "SwarmSpec":
        # so that a preview is right before anything is downloaded
        lacks = unsaid(self.model.model_type, self.model.fields) if self.pretrained else ()
        if lacks:
            text = _("weights to begin with need {names}, as their config.json has it")
            raise PydanticCustomError("unsaid_sizes", text, {"names": ", ".join(lacks)})
        return self

    @model_validator(mode="after")
    def _has_what_its_adapters_need(self) -> "SwarmSpec":
        adapters = self.training.adapters
        if adapters is None:
            return self
        if self.pretrained is None:
            text = _("adapters need pretrained weights, beside which they are trained")
            raise PydanticCustomError("wrong_adapters", text)
        known = FAMILIES[self.model.model_type].matrices
        for name in adapters.targets:
            if name not in known:
                text = _("{name} is no matrix of this model type, which has: {names}")
                words = {"name": name, "names": ", ".join(known)}
                raise PydanticCustomError("wrong_targets", text, words)
        return self

    @model_validator(mode="after")
    def _is_signed_by_its_organiser(self) -> "SwarmSpec":
        # Signed is what others get, with slots. Paths come from nowhere but this machine.
        is_ours = names_files(self.data)
        signed = self.organiser
        if signed is not None and not is_ours and signed.as_signed(self.to_json()) is None:
            raise PydanticCustomError("wrong_signature", "wrong signature")
        return self

    @property
    def name(self) -> str:
        """The title, or the run id without one."""
        return self.title or self.run_id

    def to_json(self) -> dict[str, Any]:
        """Encode as JSON values, which `parse` reads back.

        What apps before 0.2 don't know is left out where it isn't used.
        """
        data: dict[str, Any] = {} if self.data.held_out else {"held_out": True}
        unknown: dict[str, Any] = {"training": _unused_by(self.training), "data": data}
        if isinstance(self.data, MixtureData):
            data["parts"] = {"__all__": {"data": {"tokenizer", "held_out"}}}
        for name in ("about", "organiser", "pretrained"):
            if getattr(self, name) is None:
                unknown[name] = True
        if self.about is not None:
            unknown["about"] = set(AboutSpec.model_fields) - self.about.as_json().keys()
        return self.model_dump(mode="json", by_alias=True, exclude=unknown)


def _unused_by(training: TrainingSpec) -> dict[str, Any]:
    unused = {
        name: True
        for name in ("diloco", "sparseloco", "adapters", "max_grad_norm")
        if not getattr(training, name)
    }
    if training.evaluation == EvaluationSpec():
        unused["evaluation"] = True
    stop = {"stop": {"unimproved_evaluations"}} if not training.stop.unimproved_evaluations else {}
    return {**unused, **stop}


def parse(content: dict[str, Any]) -> SwarmSpec:
    """Validate a spec. Raises `SpecError`, which names the first wrong field."""
    try:
        return SwarmSpec.model_validate(content)
    except ValidationError as error:
        raise first_of(error) from error


def mistakes(content: dict[str, Any]) -> dict[str, SpecError]:
    """All errors of a spec by field, for a form that shows each error at its field."""
    try:
        SwarmSpec.model_validate(content)
    except ValidationError as error:
        return by_field(error)
    return {}

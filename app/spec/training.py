"""The part of a spec that says how the swarm trains."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.common.i18n import _
from app.spec.evaluation import EvaluationSpec
from app.spec.part import SpecPart

MOST_AUTO_CPU, MOST_AUTO_GPU = 32, 512
"""Largest micro-batch for ``auto``, in samples; a larger one isn't faster."""

MOST_LOCAL = 65_536
"""Samples of one inner step."""

MOST_SAMPLES = 10**9
"""Of an epoch."""


class OptimizerSpec(SpecPart):
    """The optimizer that every peer runs: on the averaged gradient, or in its own steps."""

    name: Literal["adamw", "sgd", "muon"] = "adamw"
    """``muon`` is for matrices; embeddings, norms and biases have AdamW beside it."""

    learning_rate: float = Field(1e-3, gt=0, le=10, allow_inf_nan=False)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.9,
        0.95,
    )
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    """Of SGD and Muon; 0 is 0.95 for Muon."""


class ScheduleSpec(SpecPart):
    """The learning rate over the epochs: warm-up, then constant or decay to zero."""

    name: Literal["constant", "linear", "cosine"] = "constant"
    warmup_epochs: int = Field(0, ge=0, le=10**9)
    total_epochs: int | None = Field(None, gt=0, le=10**9)

    @model_validator(mode="after")
    def _has_an_end(self) -> "ScheduleSpec":
        if self.name != "constant" and self.total_epochs is None:
            raise ValueError(_("a {name} schedule needs total_epochs").format(name=self.name))
        if self.total_epochs is not None and self.total_epochs <= self.warmup_epochs:
            raise ValueError(_("total_epochs must be larger than warmup_epochs"))
        return self


class AveragingSpec(SpecPart):
    """How peers average."""

    compression: Literal["none", "float16"] = "float16"
    """Of tensors on the network; must be the same for all peers of a run."""

    matchmaking_seconds: float = Field(15.0, ge=1, le=600)
    """How long a group forms; no epoch is shorter."""

    timeout_seconds: Annotated[float, Field(ge=2, le=86_400)] | Literal["auto"] = "auto"
    """Longest round; with ``auto`` it follows from the model's size (`app.spec.costs.rounds`)."""

    record_seconds: float = Field(45.0, ge=5, le=3600)
    """How long a peer counts as present after its last record in the DHT."""

    @model_validator(mode="after")
    def _group_gathers_in_time(self) -> "AveragingSpec":
        timeout = self.timeout_seconds
        if timeout != "auto" and timeout < 2 * self.matchmaking_seconds:
            raise ValueError(_("timeout_seconds must be at least twice matchmaking_seconds"))
        return self


class LocalStepsSpec(SpecPart):
    """What strategies share whose peers take steps of their own between two rounds."""

    local_batch_size: int = Field(32, gt=0, le=MOST_LOCAL)
    """Samples of one inner step on one machine."""

    max_grad_norm: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)
    """To which the gradient of an inner step is cut."""

    outer_learning_rate: float = Field(0.7, gt=0, le=10, allow_inf_nan=False)


class DilocoSpec(LocalStepsSpec):
    """DiLoCo (arXiv:2311.08105): what all learnt is a gradient for an outer Nesterov step."""

    outer_momentum: float = Field(0.9, ge=0, lt=1)

    bits: Literal[4, 8, 16] = 4
    """Of a value on the network."""


FOR_ADAPTERS = {"outer_momentum": 0.0}
"""DiLoCo's other defaults where adapters are trained (docs/decisions/adapters.md)."""


class SparseLocoSpec(LocalStepsSpec):
    """SparseLoCo (arXiv:2508.15706): only the largest changes travel; the rest waits its turn."""

    outer_learning_rate: float = Field(1.0, gt=0, le=10, allow_inf_nan=False)

    keep: int = Field(64, ge=1, le=4096)
    """Values of each 4096 that are sent in a round, in 2 bits each."""

    decay: float = Field(0.95, ge=0, le=1)
    """What is kept, a round, of changes that were not sent yet."""


class AdapterSpec(SpecPart):
    """Small matrices beside frozen ones (LoRA, arXiv:2106.09685): these alone are trained."""

    rank: int = Field(16, ge=1, le=1024)
    """The inner size of each pair of matrices: what is learnt grows with it, and what travels."""

    alpha: float = Field(32.0, gt=0, le=1e6, allow_inf_nan=False)
    """What they add is multiplied by ``alpha / rank``."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Of their inputs, while training."""

    targets: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]{1,64}$")], ...] = Field(
        (), max_length=32
    )
    """Names of the matrices that get adapters, such as ``q_proj``; () for all of a block."""


class StopSpec(SpecPart):
    """When the run is complete: at the first limit that is reached; never without limits."""

    epochs: int | None = Field(None, gt=0, le=10**9)
    minutes: float | None = Field(None, gt=0, le=10**7)

    unimproved_evaluations: int | None = Field(None, gt=0, le=10**6)
    """So many evaluations in a row on one machine, none of them better than the best before."""

    @property
    def is_never(self) -> bool:
        """There is no limit."""
        return self.epochs is None and self.minutes is None and self.unimproved_evaluations is None


class TrainingSpec(SpecPart):
    """How the swarm trains. A sample is one sequence of ``sequence_length`` tokens."""

    strategy: Literal["gradient-averaging", "diloco", "sparseloco"] = "gradient-averaging"
    """With ``gradient-averaging``, all peers together fill a target batch, average its gradient,
    and take one step. With the others, each takes steps of its own meanwhile, and a round averages
    what all have learnt."""

    diloco: DilocoSpec | None = None
    """With the strategy ``diloco`` only, and never None then."""

    sparseloco: SparseLocoSpec | None = None
    """With the strategy ``sparseloco`` only, and never None then."""

    adapters: AdapterSpec | None = None
    """Train these instead of all weights; None to train all."""

    target_batch_size: int = Field(gt=0, le=MOST_SAMPLES)
    """Samples of all peers together in an epoch."""

    micro_batch_size: Annotated[int, Field(gt=0, le=65536)] | Literal["auto"] = "auto"
    """Samples in a step of one machine; with ``auto``, each machine chooses."""

    sequence_length: int = Field(gt=0, le=1_048_576)
    optimizer: OptimizerSpec = OptimizerSpec()
    max_grad_norm: float | None = Field(None, gt=0, le=1e6, allow_inf_nan=False)
    """To which the averaged gradient is cut; None for not at all. Only with gradient averaging:
    strategies with steps of their own have one for these."""
    schedule: ScheduleSpec = ScheduleSpec()
    averaging: AveragingSpec = AveragingSpec()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(0, ge=0, lt=2**63)
    stop: StopSpec = StopSpec()
    evaluation: EvaluationSpec = EvaluationSpec()

    def most_samples_a_step(self, device: str) -> int:
        """The micro-batch on a kind of device (``cpu`` or another).

        For ``auto``, the largest that a machine may choose: a power of two, and at most a
        quarter of the target batch, since an epoch ends with a whole step and a large one would
        overshoot the target by much. Where machines take steps of their own, at most one of these.
        """
        if self.micro_batch_size != "auto":
            return self.micro_batch_size
        most = min(
            MOST_AUTO_CPU if device == "cpu" else MOST_AUTO_GPU,
            max(1, self.target_batch_size // 4),
            MOST_LOCAL if self.local_steps is None else self.local_steps.local_batch_size,
        )
        return 1 << (most.bit_length() - 1)

    @model_validator(mode="before")
    @classmethod
    def _has_options_of_its_strategy(cls, content: Any) -> Any:
        strategy = content.get("strategy") if isinstance(content, dict) else None
        if strategy not in ("diloco", "sparseloco"):
            return content
        options = content.get(strategy) or {}
        has_adapters = content.get("adapters") is not None
        if strategy == "diloco" and has_adapters and isinstance(options, dict):
            options = FOR_ADAPTERS | options
        return content | {strategy: options}

    @model_validator(mode="after")
    def _has_no_other_options(self) -> "TrainingSpec":
        for name in ("diloco", "sparseloco"):
            if name != self.strategy and getattr(self, name) is not None:
                text = _("{name} is for the strategy {name} only; remove it").format(name=name)
                raise ValueError(text)
        if self.local_steps is not None and self.max_grad_norm is not None:
            text = _("max_grad_norm is for gradient averaging; put it into {name}")
            raise ValueError(text.format(name=self.strategy))
        return self

    @property
    def local_steps(self) -> DilocoSpec | SparseLocoSpec | None:
        """The options of a strategy with steps of its own; None for gradient averaging."""
        return self.diloco or self.sparseloco

    @model_validator(mode="after")
    def _measures_what_it_stops_by(self) -> "TrainingSpec":
        if self.stop.unimproved_evaluations is not None and not self.evaluation.is_on:
            text = _("stop.unimproved_evaluations needs evaluations; set evaluation.every_epochs")
            raise ValueError(text)
        return self

    @model_validator(mode="after")
    def _batches_fit(self) -> "TrainingSpec":
        micro, length, most = self.micro_batch_size, self.sequence_length, 2**26  # 512 MiB of ids
        if isinstance(micro, int) and self.target_batch_size < micro:
            text = _(
                "target_batch_size {target} is smaller than micro_batch_size {micro}; make it at"
                " least {micro}"
            )
            text = text.format(target=self.target_batch_size, micro=micro)
            raise PydanticCustomError("target_batch_size", text)
        if isinstance(micro, int) and micro * length > most:
            text = _("{micro} × sequence_length {length} are more than {most} tokens in one step")
            text = text.format(micro=micro, length=length, most=most)
            raise PydanticCustomError("micro_batch_size", text)
        return self

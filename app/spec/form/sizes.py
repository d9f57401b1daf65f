"""Sizes of a model to choose from, each with the samples that suit it, and how long one takes.

How long is an estimate: for as many tokens as a model of this size learns most from for what it
costs, some 20 a parameter (arXiv:2203.15556).
"""

from app.spec.form.draft import check
from app.spec.form.names import DEFAULTS, SIZES, Values, begins_with_weights
from app.spec.line import SwarmOnLines, forecast
from app.spec.schema import SwarmSpec

TOKENS_A_PARAMETER = 20


def _of(
    sizes: tuple[int, int, int, int], *, length: int, batch: int, rate: float
) -> dict[str, str]:
    """The form's values. sizes: as in `SIZES`. length: tokens of a sample. batch: samples of an
    epoch."""
    return {
        **{f"model_config.{name}": str(size) for name, size in zip(SIZES, sizes, strict=True)},
        "pretrained.source": "",
        "training_params.sequence_length": str(length),
        "training_params.target_batch_size": str(batch),
        "training_params.optimizer.learning_rate": f"{rate:g}",
        "training_params.strategy": "gradient-averaging",
    }


MODEL_SIZES: dict[str, Values] = {
    "tiny": _of((4, 128, 4, 352), length=128, batch=256, rate=0.002),
    "small": _of((6, 384, 6, 1024), length=256, batch=1024, rate=0.001),
    "medium": _of((8, 512, 8, 1408), length=512, batch=512, rate=0.0006),
    "gpt2": _of((12, 768, 12, 2048), length=1024, batch=512, rate=0.0006),
    "large": _of((24, 1024, 16, 2816), length=1024, batch=512, rate=0.0003),
}
"""The form's values by the size's name, the smallest first. Two have layers and widths of GPT-2:
its smallest model, known as 124M, and its next one; with bytes for tokens they are smaller."""


def size_of(values: Values) -> str:
    """Which of `MODEL_SIZES` the form's model has; "" for another one."""
    if begins_with_weights(values):
        return ""
    names = [f"model_config.{name}" for name in SIZES]
    chosen = [values.get(name, "").strip() for name in names]
    same = (key for key, size in MODEL_SIZES.items() if [size[name] for name in names] == chosen)
    return next(same, "")


_BATCH = "training_params.target_batch_size"
_IN_EPOCHS = (
    "training_params.stop.epochs",
    "training_params.schedule.warmup_epochs",
    "training_params.schedule.total_epochs",
)


def resized(values: Values, size: str) -> Values:
    """What changes in a form with one of `MODEL_SIZES`: what the form counts in epochs keeps its
    samples."""
    new = MODEL_SIZES[size]
    before = _number(values[_BATCH])
    counts = {name: _number(values[name]) * before / int(new[_BATCH]) for name in _IN_EPOCHS}
    kept = {name: str(max(1, round(count))) for name, count in counts.items() if count}
    return {**new, **kept}


def _number(text: str) -> int:
    """0 for what is no number, or an absurd one."""
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def spec_of_size(values: Values, size: str) -> SwarmSpec:
    """The spec of a form with one of `MODEL_SIZES`. While other values of the form are wrong or
    missing, those that it began with take the places of all but its type of model."""
    kept = "model_config.model_type"
    spec, _wrong = check({**values, **resized(values, size)})
    if spec is None:
        begun = {**DEFAULTS, "run_id": "estimate", kept: values[kept]}
        spec, _wrong = check({**begun, **MODEL_SIZES[size]})
    assert spec is not None
    return spec


def training_seconds(spec: SwarmSpec, swarm: SwarmOnLines) -> float:
    """How long such a swarm takes for `TOKENS_A_PARAMETER`, if its model begins by chance."""
    training = spec.training
    tokens = training.target_batch_size * training.sequence_length
    epochs = TOKENS_A_PARAMETER * swarm.computed / tokens
    return epochs * forecast(spec, swarm).epoch_seconds

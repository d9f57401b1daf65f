"""The fields of the form to start a swarm, by sections."""

from dataclasses import dataclass

from PySide6.QtWidgets import QCheckBox

from app.common.i18n import _
from app.spec.evaluation import MOST_PROMPTS
from app.spec.families import FAMILIES
from app.spec.form.names import DEFAULTS
from ui.dialogs.start.sources import choice, data, source_options, text, tokenizer
from ui.texts import specs as spec_texts
from ui.widgets.forms.fields import Control, Field, text_area


@dataclass(frozen=True)
class SpecSection:
    """A card of the form."""

    title: str
    """Translated."""

    fields: dict[str, Field]
    """By their names in `app.spec.form.names`."""

    more: dict[str, Field]
    """Likewise, those that hardly anybody changes: shown when they are asked for."""


def title_field() -> Field:
    """The field for the swarm's title."""
    return text(_("Title"), _("What people will see"))


def questions() -> tuple[SpecSection, ...]:
    """What everybody is asked, but for the size of the model: data, who may join, and what for."""
    return _filled(
        SpecSection(_("2. On which data?"), data(), {}),
        SpecSection(_("3. Who may join?"), _access(), {}),
        SpecSection(_("4. What for?"), _about(), {}),
    )


def sections() -> tuple[SpecSection, ...]:
    """All else, filled in with values that suit a first swarm."""
    return _filled(
        SpecSection(_("Swarm"), _swarm(), {}),
        SpecSection(_("Model"), _model(), {}),
        SpecSection(_("Tokenizer"), tokenizer(), {}),
        SpecSection(_("Training"), _training(), _more_of_training()),
        SpecSection(_("Averaging"), _averaging(), _more_of_averaging()),
        SpecSection(_("Evaluation"), _evaluation(), {}),
        SpecSection(_("End"), _end(), {}),
    )


def _filled(*made: SpecSection) -> tuple[SpecSection, ...]:
    for section in made:
        for name, field in {**section.fields, **section.more}.items():
            field.set_value(DEFAULTS[name])
    return made


def _swarm() -> dict[str, Field]:
    hint = _("Names the run in the network; no other run may have the same")
    return {"run_id": text(_("Run id"), hint)}


def _model() -> dict[str, Field]:
    types = {name: spec_texts.model_name(name) for name in FAMILIES}
    return {
        **_pretrained(),
        "model_config.model_type": choice(_("Type"), types),
        "model_config.layers": text(_("Layers")),
        "model_config.width": text(_("Width"), _("Size of the hidden states")),
        "model_config.heads": text(_("Attention heads"), _("A divisor of the width")),
        "model_config.feed_forward": text(_("Feed-forward size"), _("2 to 4 times the width")),
        "training_params.sequence_length": text(
            _("Sequence length"), _("Tokens in a sample, and the model's positions")
        ),
    }


def _pretrained() -> dict[str, Field]:
    begins = {
        "": _("Chance: a new model"),
        "hub": _("Weights from the Hugging Face hub"),
        "https": _("Weights at https addresses"),
    }
    return {
        "pretrained.source": choice(
            _("Begins with"), begins, _("Safetensors only; the same for all peers")
        ),
        "pretrained.name": text(_("Model"), _("Such as HuggingFaceTB/SmolLM2-135M")),
        "pretrained.revision": text(
            _("Commit"), _("40 digits, from the page of the model's files: History")
        ),
        "pretrained.files": Field(
            _("Files"),
            text_area("https://example.org/config.json 3b0c…"),
            _("An address and its SHA-256 a line: config.json, and the safetensors files"),
        ),
        "pretrained.config": Field(
            _("config.json"),
            text_area('{"model_type": "llama", …}'),
            _("Paste the model's: its sizes are shown to whoever joins"),
        ),
    }


def _training() -> dict[str, Field]:
    return {
        **_adapters(),
        "training_params.target_batch_size": text(
            _("Target batch"), _("Samples of all peers together before they average")
        ),
        "training_params.optimizer.name": choice(
            _("Optimizer"), {"adamw": "AdamW", "muon": _("Muon, with AdamW"), "sgd": "SGD"}
        ),
        "training_params.optimizer.learning_rate": text(_("Learning rate")),
    }


def _more_of_training() -> dict[str, Field]:
    precisions = {"auto": _("Best of each device"), "fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    schedules = {"constant": _("Constant"), "linear": _("Linear decay"), "cosine": _("Cosine")}
    return {
        "training_params.micro_batch_size": text(
            _("Micro-batch"), _("Samples of a step on one machine, or auto")
        ),
        "training_params.optimizer.weight_decay": text(_("Weight decay")),
        "training_params.precision": choice(_("Precision"), precisions),
        "training_params.schedule.name": choice(_("Schedule"), schedules),
        "training_params.schedule.warmup_epochs": text(_("Warm-up"), _("Epochs")),
        "training_params.schedule.total_epochs": text(
            _("Decay until"), _("Epoch; needed unless constant")
        ),
        "training_params.seed": text(
            _("Seed"), _("Sets the first weights, the same for all peers")
        ),
    }


def _adapters() -> dict[str, Field]:
    kinds = {"all": _("All weights"), "adapters": _("Adapters beside them (LoRA)")}
    where = "training_params.adapters"
    return {
        f"{where}.train": choice(
            _("Trains"), kinds, _("Adapters are small: a round moves megabytes")
        ),
        f"{where}.rank": text(_("Rank"), _("8 to 64 are usual")),
        f"{where}.alpha": text(_("Alpha"), _("Often twice the rank")),
        f"{where}.dropout": text(_("Dropout"), _("0 to 0.1 are usual")),
        f"{where}.targets": text(
            _("Matrices"), _("Such as q_proj, v_proj; empty for all of a block")
        ),
    }


def _averaging() -> dict[str, Field]:
    return {
        "training_params.strategy": choice(
            _("Strategy"), strategy_labels(), _("The second and third are for lines of homes")
        ),
        **_local_batch("diloco"),
        **_local_batch("sparseloco"),
    }


def _more_of_averaging() -> dict[str, Field]:
    where = "training_params.averaging"
    compressions = {"float16": _("16 bits"), "none": _("None (32 bits)")}
    return {
        "training_params.max_grad_norm": text(
            _("Gradient norm"), _("The averaged gradient is cut to it; empty: never")
        ),
        **_local_norm("diloco"),
        "training_params.diloco.bits": choice(
            _("Bits a value"), {each: each for each in ("4", "8", "16")}
        ),
        **_local_norm("sparseloco"),
        "training_params.sparseloco.keep": text(
            _("Values sent"), _("Of each 4096; 64 to 128 are usual")
        ),
        f"{where}.compression": choice(
            _("Compression"), compressions, _("16 bits halve the traffic")
        ),
        f"{where}.matchmaking_seconds": text(
            _("Matchmaking"), _("Seconds for a group to form; no epoch is shorter")
        ),
        f"{where}.timeout_seconds": text(
            _("Time-out"), _("Seconds that a round may take, or auto: by the model's size")
        ),
        f"{where}.record_seconds": text(
            _("Presence"), _("Seconds that a silent peer still counts")
        ),
    }


def strategy_labels() -> dict[str, str]:
    """The strategies, with their labels."""
    return {
        "gradient-averaging": _("Average each gradient"),
        "diloco": _("Steps of one's own, then average (DiLoCo)"),
        "sparseloco": _("Steps of one's own, largest changes sent (SparseLoCo)"),
    }


def _local_batch(strategy: str) -> dict[str, Field]:
    field = text(_("Local batch"), _("Samples of one step on one machine"))
    return {f"training_params.{strategy}.local_batch_size": field}


def _local_norm(strategy: str) -> dict[str, Field]:
    field = text(_("Gradient norm"), _("The gradient of a step is cut to it"))
    return {f"training_params.{strategy}.max_grad_norm": field}


def _evaluation() -> dict[str, Field]:
    measured = {
        "share": _("A share of the data, held out"),
        "hub": _("A Hugging Face data set"),
        "https": _("A file at an https address"),
        "never": _("Nothing: no evaluation"),
    }
    where = "training_params.evaluation"
    prompts = _("One a line, {count} at most. The model goes on from each; empty: no samples.")
    return {
        "evaluation.text": choice(
            _("Measured on"), measured, _("Text that nobody trains on: what it has really learnt")
        ),
        f"{where}.every_epochs": text(
            _("Evaluate every"), _("Epochs; evaluations take 2 % of the time at most")
        ),
        f"{where}.share": text(_("Share held out"), _("0.02 is 2 % of the text; 0.5 at most")),
        **{f"dataset_info.held_out.{name}": each for name, each in source_options().items()},
        f"{where}.prompts": Field(
            _("Prompts for samples"),
            text_area("Once upon a time"),
            prompts.format(count=MOST_PROMPTS),
        ),
        f"{where}.seconds": text(
            _("Time for one evaluation"), _("Seconds on each machine, 60 at most")
        ),
    }


def _end() -> dict[str, Field]:
    return {
        "training_params.stop.epochs": text(_("After epochs"), _("Empty: never")),
        "training_params.stop.minutes": text(
            _("After minutes of training"), _("Empty: never; counted on each machine")
        ),
        "training_params.stop.unimproved_evaluations": text(
            _("When it no longer improves"),
            _("After so many evaluations without a better one; empty: never. 5 to 20 are usual."),
        ),
    }


def _access() -> dict[str, Field]:
    local: Control = QCheckBox(_("On this machine only"))
    kinds = {
        "open": _("Everybody with an invite"),
        "signed": _("Everybody; you sign the invite"),
        "closed": _("Only members whom you add"),
    }
    return {
        "organiser.access": choice(
            _("Access"), kinds, _("A signed invite shows that it comes from you, unchanged")
        ),
        "organiser.name": text(_("Your name"), _("Shown with the invite")),
        "local": Field(
            _("On this machine only"), local, _("For trying out: no other machine can connect")
        ),
    }


def _about() -> dict[str, Field]:
    return {
        "about.purpose": text(_("Purpose"), _("Shown to whoever is invited, as all of these")),
        "about.organiser": text(_("Run by"), _("A group, a school, you")),
        "about.until": text(_("Runs until"), _("A day, such as 2027-03-31; nothing ends by it")),
        "about.licence": text(_("Licence of the model"), _("Such as Apache-2.0")),
        "about.contact": text(_("Contact"), _("Where to ask")),
    }

"""The fields of the form to start a swarm, by sections."""

from dataclasses import dataclass

from PySide6.QtWidgets import QCheckBox

from app.common.i18n import _
from app.spec import draft
from app.spec.families import FAMILIES
from ui.texts import specs as spec_texts
from ui.widgets.forms.fields import Control, Field, combo_box, line_edit, text_area


@dataclass(frozen=True)
class SpecSection:
    """A card of the form."""

    title: str
    """Translated."""

    fields: dict[str, Field]
    """By their names in `app.spec.draft`."""


def sections() -> tuple[SpecSection, ...]:
    """All sections, filled in with values that suit a first swarm."""
    made = (
        SpecSection(_("Swarm"), _swarm()),
        SpecSection(_("Model"), _model()),
        SpecSection(_("Training data"), _data()),
        SpecSection(_("Training"), _training()),
        SpecSection(_("Averaging"), _averaging()),
        SpecSection(_("End"), _end()),
        SpecSection(_("Who may take part"), _organiser()),
    )
    for section in made:
        for name, field in section.fields.items():
            field.set_value(draft.DEFAULTS[name])
    return made


def _text(caption: str, hint: str = "") -> Field:
    return Field(caption, line_edit(), hint)


def _choice(caption: str, words: dict[str, str], hint: str = "") -> Field:
    return Field(caption, combo_box(words), hint)


def _swarm() -> dict[str, Field]:
    local: Control = QCheckBox(_("On this machine only"))
    return {
        "title": _text(_("Title"), _("What people will see")),
        "run_id": _text(
            _("Run id"), _("Names the run in the network; no other run may have the same")
        ),
        "local": Field(
            _("On this machine only"), local, _("For trying out: no other machine can connect")
        ),
    }


def _model() -> dict[str, Field]:
    types = {name: spec_texts.model_name(name) for name in FAMILIES}
    return {
        **_pretrained(),
        "model_config.model_type": _choice(_("Type"), types),
        "model_config.layers": _text(_("Layers")),
        "model_config.width": _text(_("Width"), _("Size of the hidden states")),
        "model_config.heads": _text(_("Attention heads"), _("A divisor of the width")),
        "model_config.feed_forward": _text(_("Feed-forward size"), _("2 to 4 times the width")),
        "training_params.sequence_length": _text(
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
        "pretrained.source": _choice(
            _("Begins with"), begins, _("Safetensors only; the same for all peers")
        ),
        "pretrained.name": _text(_("Model"), _("Such as HuggingFaceTB/SmolLM2-135M")),
        "pretrained.revision": _text(
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


def _data() -> dict[str, Field]:
    sources = {
        "builtin": _("Python's documentation (built in)"),
        "hub": _("Hugging Face hub, streamed"),
        "https": _("A file at an https address"),
        "files": _("Files on this machine"),
    }
    formats = {
        "auto": _("By the file's ending"),
        "text": _("Text"),
        "jsonl": _("JSON lines"),
        "parquet": _("Parquet"),
    }
    tokenizers = {
        "bytes": _("Bytes"),
        "hub": _("From the Hugging Face hub"),
        "https": _("A tokenizer.json at an https address"),
        "file": _("A tokenizer.json on this machine"),
    }
    return {
        "dataset_info.source": _choice(_("Source"), sources),
        "dataset_info.name": _text(_("Data set"), _("Such as wikimedia/wikipedia")),
        "dataset_info.config": _text(_("Configuration"), _("Such as 20231101.en; often none")),
        "dataset_info.split": _text(_("Split")),
        "dataset_info.url": _text(_("Address"), _("Begins with https://")),
        "dataset_info.sha256": _text(
            _("SHA-256"), _("The file's checksum; any other file is refused")
        ),
        "dataset_info.paths": Field(
            _("Files"),
            text_area("~/texts/part-1.txt"),
            _("One file a line. Others choose files of their own, and don't see these paths."),
        ),
        "dataset_info.format": _choice(_("Format"), formats),
        "dataset_info.text_field": _text(_("Text column"), _("In JSON lines, parquet and the hub")),
        "dataset_info.tokenizer.kind": _choice(_("Tokenizer"), tokenizers),
        "dataset_info.tokenizer.path": _text(_("Path of the tokenizer.json")),
        "dataset_info.tokenizer.name": _text(
            _("Repository"), _("Usually the model's, such as HuggingFaceTB/SmolLM2-135M")
        ),
        "dataset_info.tokenizer.revision": _text(_("Commit"), _("40 digits")),
        "dataset_info.tokenizer.url": _text(_("Address"), _("Begins with https://")),
        "dataset_info.tokenizer.sha256": _text(
            _("SHA-256"), _("The file's checksum; any other file is refused")
        ),
    }


def _training() -> dict[str, Field]:
    precisions = {"auto": _("Best of each device"), "fp32": "fp32", "bf16": "bf16", "fp16": "fp16"}
    schedules = {"constant": _("Constant"), "linear": _("Linear decay"), "cosine": _("Cosine")}
    return {
        **_adapters(),
        "training_params.target_batch_size": _text(
            _("Target batch"), _("Samples of all peers together before they average")
        ),
        "training_params.micro_batch_size": _text(
            _("Micro-batch"), _("Samples of a step on one machine, or auto")
        ),
        "training_params.optimizer.name": _choice(
            _("Optimizer"), {"adamw": "AdamW", "muon": _("Muon, with AdamW"), "sgd": "SGD"}
        ),
        "training_params.optimizer.learning_rate": _text(_("Learning rate")),
        "training_params.optimizer.weight_decay": _text(_("Weight decay")),
        "training_params.precision": _choice(_("Precision"), precisions),
        "training_params.schedule.name": _choice(_("Schedule"), schedules),
        "training_params.schedule.warmup_epochs": _text(_("Warm-up"), _("Epochs")),
        "training_params.schedule.total_epochs": _text(
            _("Decay until"), _("Epoch; needed unless constant")
        ),
        "training_params.seed": _text(
            _("Seed"), _("Sets the first weights, the same for all peers")
        ),
    }


def _adapters() -> dict[str, Field]:
    kinds = {"all": _("All weights"), "adapters": _("Adapters beside them (LoRA)")}
    where = "training_params.adapters"
    return {
        f"{where}.train": _choice(
            _("Trains"), kinds, _("Adapters are small: a round moves megabytes")
        ),
        f"{where}.rank": _text(_("Rank"), _("8 to 64 are usual")),
        f"{where}.alpha": _text(_("Alpha"), _("Often twice the rank")),
        f"{where}.dropout": _text(_("Dropout"), _("0 to 0.1 are usual")),
        f"{where}.targets": _text(
            _("Matrices"), _("Such as q_proj, v_proj; empty for all of a block")
        ),
    }


def _averaging() -> dict[str, Field]:
    where = "training_params.averaging"
    compressions = {"float16": _("16 bits"), "none": _("None (32 bits)")}
    return {
        "training_params.strategy": _choice(
            _("Strategy"), strategy_labels(), _("The second and third are for lines of homes")
        ),
        "training_params.max_grad_norm": _text(
            _("Gradient norm"), _("The averaged gradient is cut to it; empty: never")
        ),
        **_local_steps("diloco"),
        "training_params.diloco.bits": _choice(
            _("Bits a value"), {each: each for each in ("4", "8", "16")}
        ),
        **_local_steps("sparseloco"),
        "training_params.sparseloco.keep": _text(
            _("Values sent"), _("Of each 4096; 64 to 128 are usual")
        ),
        f"{where}.compression": _choice(
            _("Compression"), compressions, _("16 bits halve the traffic")
        ),
        f"{where}.matchmaking_seconds": _text(
            _("Matchmaking"), _("Seconds for a group to form; no epoch is shorter")
        ),
        f"{where}.timeout_seconds": _text(
            _("Time-out"), _("Seconds that a round may take, or auto: by the model's size")
        ),
        f"{where}.record_seconds": _text(
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


def _local_steps(strategy: str) -> dict[str, Field]:
    return {
        f"training_params.{strategy}.local_batch_size": _text(
            _("Local batch"), _("Samples of one step on one machine")
        ),
        f"training_params.{strategy}.max_grad_norm": _text(
            _("Gradient norm"), _("The gradient of a step is cut to it")
        ),
    }


def _end() -> dict[str, Field]:
    return {
        "training_params.stop.epochs": _text(_("After epochs"), _("Empty: never")),
        "training_params.stop.minutes": _text(
            _("After minutes of training"), _("Empty: never; counted on each machine")
        ),
    }


def _organiser() -> dict[str, Field]:
    kinds = {
        "open": _("Everybody with an invite"),
        "signed": _("Everybody; you sign the invite"),
        "closed": _("Only members whom you add"),
    }
    return {
        "organiser.access": _choice(
            _("Access"), kinds, _("A signed invite shows that it comes from you, unchanged")
        ),
        "organiser.name": _text(_("Your name"), _("Shown with the invite")),
    }

"""The form's fields for where text and tokenizer come from."""

from app.common.i18n import _
from ui.widgets.forms.fields import Field, combo_box, line_edit, text_area


def text(caption: str, hint: str = "") -> Field:
    """A field with a line of text."""
    return Field(caption, line_edit(), hint)


def choice(caption: str, words: dict[str, str], hint: str = "") -> Field:
    """A field with a combo box. words: the text of each entry, by its key."""
    return Field(caption, combo_box(words), hint)


def data() -> dict[str, Field]:
    """The fields of the training data's source, by their names in `app.spec.form.names`."""
    sources = plain_sources() | {"mixture": _("Several sources, mixed")}
    options = source_options() | {"paths": paths()}
    where = "dataset_info"
    return {
        f"{where}.source": choice(_("Source"), sources),
        **{f"{where}.{name}": field for name, field in options.items()},
    }


def plain_sources() -> dict[str, str]:
    """The sources of text but mixtures, with their labels."""
    return {
        "builtin": _("Python's documentation (built in)"),
        "hub": _("Hugging Face hub, streamed"),
        "https": _("A file at an https address"),
        "files": _("Files on this machine"),
    }


def source_options() -> dict[str, Field]:
    """The fields of sources on the network, by the names of a source's fields."""
    formats = {
        "auto": _("By the file's ending"),
        "text": _("Text"),
        "jsonl": _("JSON lines"),
        "parquet": _("Parquet"),
    }
    return {
        "name": text(_("Data set"), _("Such as wikimedia/wikipedia")),
        "config": text(_("Configuration"), _("Such as 20231101.en; often none")),
        "split": text(_("Split")),
        "url": text(_("Address"), _("Begins with https://")),
        "sha256": text(_("SHA-256"), _("The file's checksum; any other file is refused")),
        "format": choice(_("Format"), formats),
        "text_field": text(_("Text column"), _("In JSON lines, parquet and the hub")),
    }


def paths() -> Field:
    """The field for files of this machine."""
    return Field(
        _("Files"),
        text_area("~/texts/part-1.txt"),
        _("One file a line. Others choose files of their own, and don't see these paths."),
    )


def tokenizer() -> dict[str, Field]:
    """The fields of the tokenizer, likewise."""
    kinds = {
        "bytes": _("Bytes"),
        "hub": _("From the Hugging Face hub"),
        "https": _("A tokenizer.json at an https address"),
        "file": _("A tokenizer.json on this machine"),
    }
    fields = {
        "kind": choice(_("Tokenizer"), kinds),
        "path": text(_("Path of the tokenizer.json")),
        "name": text(_("Repository"), _("Usually the model's, such as HuggingFaceTB/SmolLM2-135M")),
        "revision": text(_("Commit"), _("40 digits")),
        "url": text(_("Address"), _("Begins with https://")),
        "sha256": text(_("SHA-256"), _("The file's checksum; any other file is refused")),
    }
    return {f"dataset_info.tokenizer.{name}": field for name, field in fields.items()}

"""A form's texts become a spec, or errors at the form's fields."""

import json

import pytest

from app.spec import filling, invite
from app.spec.estimate import estimate
from app.spec.evaluation import EvaluationSpec
from app.spec.form import draft
from app.spec.form.names import DEFAULTS, PART_DEFAULTS, part_name
from app.spec.schema import SwarmSpec
from app.spec.sources.data import (
    FileData,
    HttpsData,
    HttpsFile,
    HubData,
    HubDataset,
    MixtureData,
    SlotData,
)
from app.spec.sources.pretrained import HttpsWeights, HubWeights

FILLED = {**DEFAULTS, "run_id": "my-run"}


def fields_wrong(**changes: str) -> set[str]:
    found, wrong = draft.check(FILLED | {name.replace("__", "."): v for name, v in changes.items()})
    assert (found is None) == bool(wrong)
    assert all(error.message for error in wrong.values())
    return set(wrong)


def test_forms_initial_texts_are_valid() -> None:
    found, wrong = draft.check(FILLED)
    assert wrong == {}
    assert found is not None
    assert found.training.averaging.matchmaking_seconds == 5
    assert found.training.micro_batch_size == "auto"
    assert found.model.fields["max_position_embeddings"] == found.training.sequence_length


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("run_id", "", "run_id"),
        ("run_id", "../a", "run_id"),
        ("title", "x" * 201, "title"),
        ("model_config.layers", "", "model_config.layers"),
        ("model_config.layers", "two", "model_config.layers"),
        ("model_config.layers", "0", "model_config.layers"),
        ("model_config.layers", "²", "model_config.layers"),
        ("model_config.width", "9" * 5000, "model_config.width"),
        ("model_config.heads", "5", "model_config.heads"),
        ("training_params.sequence_length", "x", "training_params.sequence_length"),
        ("training_params.target_batch_size", "-1", "training_params.target_batch_size"),
        ("training_params.micro_batch_size", "some", "training_params.micro_batch_size"),
        ("training_params.micro_batch_size", "4096", "training_params.target_batch_size"),
        ("training_params.schedule.name", "cosine", "training_params.schedule.total_epochs"),
        (
            "training_params.averaging.timeout_seconds",
            "6",
            "training_params.averaging.timeout_seconds",
        ),
        ("training_params.stop.minutes", "soon", "training_params.stop.minutes"),
        ("dataset_info.source", "files", "dataset_info.paths"),
        ("dataset_info.tokenizer.kind", "file", "dataset_info.tokenizer.path"),
    ],
)
def test_error_is_shown_at_its_field(name: str, text: str, field: str) -> None:
    found, wrong = draft.check(FILLED | {name: text})
    assert found is None
    assert list(wrong) == [field]
    assert field in FILLED


def test_all_errors_are_reported() -> None:
    wrong = fields_wrong(
        run_id="", model_config__heads="5", training_params__seed="x", dataset_info__source="https"
    )
    assert wrong == {
        "run_id",
        "model_config.heads",
        "training_params.seed",
        "dataset_info.url",
        "dataset_info.sha256",
    }


def test_paths_are_one_per_line() -> None:
    found, _wrong = draft.check(
        FILLED | {"dataset_info.source": "files", "dataset_info.paths": "a.txt\n\n  b c.txt \n"}
    )
    assert found is not None
    assert isinstance(found.data, FileData)
    assert found.data.paths == ("a.txt", "b c.txt")


def test_texts_of_other_sources_are_ignored() -> None:
    every = {"paths": "a.txt", "url": "https://example.org/a", "sha256": "0" * 64, "name": "a/b"}
    texts = FILLED | {f"dataset_info.{name}": text for name, text in every.items()}
    for source, kind in (("files", FileData), ("https", HttpsData), ("hub", HubData)):
        found, wrong = draft.check(texts | {"dataset_info.source": source})
        assert wrong == {}
        assert found is not None
        assert isinstance(found.data, kind)


@pytest.mark.parametrize(
    ("title", "begins"),
    [("My Poems!", "my-poems-"), ("", "swarm-"), ("唐诗", "swarm-"), ("x" * 99, "x" * 40 + "-")],
)
def test_suggested_run_id_is_valid_and_unique(title: str, begins: str) -> None:
    run_id = draft.suggested_run_id(title)
    assert run_id.startswith(begins)
    assert run_id != draft.suggested_run_id(title)
    assert draft.check(FILLED | {"run_id": run_id})[0] is not None


# --- weights to begin with, adapters, tokenizers

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}
COMMIT = "0123456789" * 4
BEGINS = FILLED | {
    "pretrained.source": "hub",
    "pretrained.name": "us/model",
    "pretrained.revision": COMMIT,
    "pretrained.config": json.dumps(CONFIG),
}


def test_weights_of_the_hub_bring_their_sizes() -> None:
    found, wrong = draft.check(BEGINS | {"model_config.heads": "5"})
    assert wrong == {}
    assert found is not None
    assert found.pretrained == HubWeights(source="hub", name="us/model", revision=COMMIT)
    assert found.model.fields["num_key_value_heads"] == 3
    assert not {"rms_norm_eps", "torch_dtype", "architectures"} & found.model.fields.keys()
    assert found.training.adapters is None
    assert estimate(found, device="cpu").parameters == 134_515_008


def test_weights_behind_https_are_one_file_a_line() -> None:
    files = f"https://x.org/config.json {'a' * 64}\nhttps://x.org/m.safetensors  {'b' * 64}\n"
    found, wrong = draft.check(BEGINS | {"pretrained.source": "https", "pretrained.files": files})
    assert wrong == {}
    assert found is not None
    assert isinstance(found.pretrained, HttpsWeights)
    assert [each.sha256[0] for each in found.pretrained.files] == ["a", "b"]


def test_adapters_are_of_the_form_only_where_they_are_chosen() -> None:
    chosen = {
        "training_params.adapters.train": "adapters",
        "training_params.adapters.targets": "q_proj, v_proj",
    }
    found, wrong = draft.check(BEGINS | chosen)
    assert wrong == {}
    assert found is not None
    assert found.training.adapters is not None
    assert found.training.adapters.targets == ("q_proj", "v_proj")
    plain, _wrong = draft.check(FILLED | chosen)
    assert plain is not None
    assert plain.training.adapters is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pretrained.revision": "main"}, "pretrained.revision"),
        ({"pretrained.name": ""}, "pretrained.name"),
        ({"pretrained.config": ""}, "pretrained.config"),
        ({"pretrained.config": "{"}, "pretrained.config"),
        ({"pretrained.config": "[" * 10**5}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": []}'}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": "bert"}'}, "pretrained.config"),
        ({"pretrained.config": '{"model_type": "llama"}'}, "pretrained.config"),
        (
            {"training_params.adapters.train": "adapters", "training_params.adapters.rank": "0"},
            "training_params.adapters.rank",
        ),
        (
            {
                "training_params.adapters.train": "adapters",
                "training_params.adapters.targets": "c_attn",
            },
            "training_params.adapters.targets",
        ),
        (
            {"pretrained.source": "https", "pretrained.files": "https://x.org/config.json"},
            "pretrained.files",
        ),
        ({"dataset_info.tokenizer.kind": "hub"}, "dataset_info.tokenizer.name"),
        ({"dataset_info.tokenizer.kind": "https"}, "dataset_info.tokenizer.url"),
    ],
)
def test_a_mistake_is_shown_at_its_field(change: dict[str, str], field: str) -> None:
    found, wrong = draft.check(BEGINS | change)
    assert found is None
    assert field in wrong
    assert wrong.keys() <= DEFAULTS.keys()


@pytest.mark.parametrize("kind", ["hub", "https"])
def test_a_tokenizer_is_fetched_if_the_form_says_so(kind: str) -> None:
    texts = {
        "dataset_info.tokenizer.kind": kind,
        "dataset_info.tokenizer.name": "us/words",
        "dataset_info.tokenizer.revision": COMMIT,
        "dataset_info.tokenizer.url": "https://example.org/tokenizer.json",
        "dataset_info.tokenizer.sha256": "a" * 64,
    }
    found, wrong = draft.check(FILLED | texts)
    assert wrong == {}
    assert found is not None
    assert found.data.tokenizer.kind == kind


# --- what is evaluated


def made(values: dict[str, str]) -> SwarmSpec:
    """The spec, which must survive its way to another machine."""
    found, wrong = draft.check(values)
    assert wrong == {}
    assert found is not None
    shared = invite.shared(found, ())
    assert invite.read_text(invite.as_link(shared)) == shared
    return found


def test_evaluations_are_those_of_the_spec_unless_they_are_changed() -> None:
    found = made(FILLED)
    assert found.training.evaluation == EvaluationSpec()
    assert "evaluation" not in found.to_json()["training_params"]
    assert found.data.held_out is None


def test_prompts_are_lines_and_keep_their_spaces() -> None:
    prompts = "training_params.evaluation.prompts"
    found = made(FILLED | {prompts: "def \n\n  Once\n"})
    assert found.training.evaluation.prompts == ("def ", "  Once")
    assert made(FILLED | {prompts: " \n"}).training.evaluation.prompts == ()


def test_a_swarm_that_is_not_evaluated_holds_nothing_out() -> None:
    texts = {"evaluation.text": "never", "training_params.evaluation.share": "wrong"}
    found = made(FILLED | texts | {"training_params.stop.unimproved_evaluations": "5"})
    assert not found.training.evaluation.is_on
    assert found.training.stop.is_never


@pytest.mark.parametrize(
    ("text", "kind", "options"),
    [
        ("hub", HubDataset, {"name": "us/words"}),
        ("https", HttpsFile, {"url": "https://example.org/a.txt", "sha256": "0" * 64}),
    ],
)
@pytest.mark.parametrize("source", ["builtin", "files", "mixture"])
def test_text_for_evaluations_can_come_from_elsewhere(
    text: str, kind: type, options: dict[str, str], source: str
) -> None:
    values = MIXED | {"dataset_info.source": source, "dataset_info.paths": "a.txt"}
    held_out = {f"dataset_info.held_out.{name}": value for name, value in options.items()}
    found = made(values | {"evaluation.text": text} | held_out)
    assert isinstance(found.data.held_out, kind)
    assert found.data.source == source


def test_a_run_ends_when_it_no_longer_improves() -> None:
    texts = {
        "training_params.stop.unimproved_evaluations": "7",
        "training_params.evaluation.every_epochs": "10",
    }
    training = made(FILLED | texts).training
    assert training.stop.unimproved_evaluations == 7
    assert training.evaluation.every_epochs == 10


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"training_params.evaluation.share": "2"}, "training_params.evaluation.share"),
        ({"training_params.evaluation.seconds": "0"}, "training_params.evaluation.seconds"),
        (
            {"training_params.evaluation.every_epochs": "x"},
            "training_params.evaluation.every_epochs",
        ),
        ({"training_params.evaluation.prompts": "x" * 201}, "training_params.evaluation.prompts"),
        ({"training_params.evaluation.prompts": "x\n" * 9}, "training_params.evaluation.prompts"),
        ({"evaluation.text": "hub"}, "dataset_info.held_out.name"),
        ({"evaluation.text": "https"}, "dataset_info.held_out.url"),
        (
            {
                "training_params.stop.unimproved_evaluations": "5",
                "training_params.evaluation.every_epochs": "0",
            },
            "training_params.stop.unimproved_evaluations",
        ),
    ],
)
def test_mistakes_about_evaluations_are_shown_at_their_fields(
    change: dict[str, str], field: str
) -> None:
    found, wrong = draft.check(FILLED | change)
    assert found is None
    assert next(iter(wrong)) == field
    assert wrong.keys() <= DEFAULTS.keys()


# --- mixtures


def part(number: int, **changes: str) -> dict[str, str]:
    """The texts of a part of a mixture."""
    values = dict(PART_DEFAULTS) | {k.replace("__", "."): v for k, v in changes.items()}
    return {part_name(number, name): text for name, text in values.items()}


MIXED = (
    FILLED
    | {"dataset_info.source": "mixture"}
    | part(0, data__source="builtin", data__url="http://ignored")
    | part(1, data__name="us/words", weight="2.5")
    | part(2, data__source="files", data__paths="a.txt\nb.txt")
)


def test_a_mixture_has_the_parts_of_the_form_in_their_order() -> None:
    found = made({name: MIXED[name] for name in reversed(MIXED)}).data
    assert isinstance(found, MixtureData)
    assert [each.weight for each in found.parts] == [1, 2.5, 1]
    assert [each.data.source for each in found.parts] == ["builtin", "hub", "files"]
    files = found.parts[2].data
    assert isinstance(files, FileData)
    assert files.paths == ("a.txt", "b.txt")


def test_files_of_a_mixture_are_slots_for_others() -> None:
    both = MIXED | part(0, data__source="files", data__paths="c.txt")
    shared = filling.emptied(made(both)).data
    assert isinstance(shared, MixtureData)
    slots = [each.data for each in shared.parts if isinstance(each.data, SlotData)]
    assert [each.label for each in slots] == ["data", "data-2"]


def test_more_than_ten_parts_stay_in_order() -> None:
    values = MIXED
    for number in range(12):
        values = values | part(number, data__name=f"us/{number}")
    found = made(values).data
    assert isinstance(found, MixtureData)
    names = [each.data.name for each in found.parts if isinstance(each.data, HubData)]
    assert names == [f"us/{number}" for number in range(12)]


def test_parts_are_ignored_where_there_is_one_source() -> None:
    found = made(MIXED | {"dataset_info.source": "builtin"})
    assert found.data.source == "builtin"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weight": "0"}, "weight"),
        ({"weight": "nan"}, "weight"),
        ({"weight": ""}, "weight"),
        ({"weight": "1,5"}, "weight"),
        ({"data__name": ""}, "data.name"),
        ({"data__name": "../../etc"}, "data.name"),
        ({"data__source": "files"}, "data.paths"),
        ({"data__source": "https", "data__url": "http://a.org"}, "data.url"),
    ],
)
def test_mistakes_of_a_part_are_shown_at_its_field(change: dict[str, str], field: str) -> None:
    found, wrong = draft.check(MIXED | part(1, **{"data__name": "us/words"} | change))
    assert found is None
    assert part_name(1, field) in wrong
    assert all(name.startswith("dataset_info.parts.1.") for name in wrong)  # and not of all parts
    assert all(error.message and error.remedy for error in wrong.values())

"""How to load an exported folder, in Python."""

import json


def lines_to_load(folder: str, *, exact_tokenizer: bool) -> str:
    """Three lines of Python. exact_tokenizer: see `app.takeout.messages.Exported`."""
    kind = "AutoTokenizer" if exact_tokenizer else "PreTrainedTokenizerFast"
    quoted = json.dumps(folder, ensure_ascii=False)
    return "\n".join(
        (
            f"from transformers import AutoModelForCausalLM, {kind}",
            f"model = AutoModelForCausalLM.from_pretrained({quoted})",
            f"tokenizer = {kind}.from_pretrained({quoted})",
        )
    )

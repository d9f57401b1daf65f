"""Turn text into tokens: one for each byte of UTF-8, or by a ``tokenizer.json``."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from app.common.errors import DataError, ProtocolError
from app.common.i18n import _
from app.common.paths import open_regular
from app.spec.sources.data import (
    BytesTokenizer,
    FileTokenizer,
    HttpsTokenizer,
    HubTokenizer,
    SlotTokenizer,
    TokenizerSpec,
)
from app.trainer.data.decoding import ByteDecoder, Decoder, TokenDecoder
from app.trainer.data.documents import Piece
from app.trainer.pinned.downloads import Downloads
from app.trainer.pinned.https import fetch
from app.trainer.pinned.repository import ListedFile, fetch_files

if TYPE_CHECKING:
    import tokenizers

TokenArray = NDArray[np.unsignedinteger]
"""Token ids, shape [n], in the smallest type that holds the vocabulary."""

MOST_BYTES = 64 * 2**20
"""Of a ``tokenizer.json``; the largest in use have about half as many."""

_MOST_TOKENS = 2**24
"""The largest vocabulary that a spec may give a model, too."""

_PIECES, _CHARACTERS = 128, 16 * 2**20
"""Pieces that are tokenized together: so many, or fewer once they have so many characters."""

_PART = 2000
"""Tokens that become text together."""

TOKENIZER_FILE = "tokenizer.json"

_FIELD = "dataset_info.tokenizer"
_SEPARATORS = (
    "<|endoftext|>",  # GPT-2, GPT-NeoX, OLMo, Qwen, phi
    "<|end_of_text|>",  # Llama 3
    "</s>",  # OPT, Llama, Mistral
    "<eos>",
    "[SEP]",
)
"""Names of the token at the end of a text. The first one that is in the vocabulary is used."""


class Tokenizer(Protocol):
    """Turns documents into tokens."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""

    @property
    def separator(self) -> TokenArray:
        """The tokens that follow each document."""

    @property
    def fingerprint(self) -> str:
        """A string that differs when the tokens of a text may differ."""

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The tokens of each text, without any added before or after."""

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; U+FFFD for what is no character."""

    def byte_count(self, tokens: TokenArray) -> int:
        """Bytes of UTF-8 that tokens stand for."""

    def decoder(self, before: Sequence[int]) -> Decoder:
        """Turns tokens that follow ``before`` into text, one by one."""

    def as_file(self) -> str:
        """The JSON of a ``tokenizer.json`` that gives the same tokens by itself."""


def open_tokenizer(spec: TokenizerSpec, downloads: Downloads) -> Tokenizer:
    """The tokenizer that a spec asks for, downloaded unless it is there. Raises `DataError`."""
    match spec:
        case BytesTokenizer():
            return ByteTokens()
        case FileTokenizer():
            return FileTokens(Path(spec.path).expanduser(), field=f"{_FIELD}.path")
        case HubTokenizer():
            return FileTokens(_from_hub(spec, downloads), field=f"{_FIELD}.name")
        case HttpsTokenizer():
            with downloads.arriving("tokenizer", size=spec.bytes) as arrival:
                path = fetch(
                    spec.url,
                    sha256=spec.sha256,
                    field=_FIELD,
                    cache=downloads.files,
                    arrival=arrival,
                    context=downloads.context,
                    limit=_limit(spec),
                )
            return FileTokens(path, field=f"{_FIELD}.url")
        case SlotTokenizer():
            raise ProtocolError("the app fills the slots of a spec before it starts a trainer")


def _limit(spec: HubTokenizer | HttpsTokenizer) -> int:
    """Bytes: no more than the preview has shown."""
    return min(MOST_BYTES, spec.bytes or MOST_BYTES)


def _from_hub(spec: HubTokenizer, downloads: Downloads) -> Path:
    with downloads.arriving("tokenizer") as arrival:
        found = fetch_files(
            spec,
            _needed,
            field=f"{_FIELD}.name",
            cache=downloads.repositories,
            limit=_limit(spec),
            sign_in=downloads.sign_in,
            arrival=arrival,
        )
    return found[TOKENIZER_FILE]


def _needed(files: Iterable[ListedFile]) -> list[ListedFile]:
    found = [each for each in files if each.name == TOKENIZER_FILE]
    if not found:
        raise DataError(
            _("the repository has no {file}.").format(file=TOKENIZER_FILE),
            field=f"{_FIELD}.name",
            remedy=_("Choose a repository that has the tokenizer in this form."),
        )
    return found


def tokens_of(pieces: Iterable[Piece], *, tokenizer: Tokenizer) -> Iterator[TokenArray]:
    """The tokens of documents, each followed by the separator: arrays of any length."""
    batch: list[Piece] = []
    characters = 0
    for piece in pieces:
        batch.append(piece)
        characters += len(piece.text)
        if len(batch) >= _PIECES or characters >= _CHARACTERS:
            yield from _encoded(batch, tokenizer)
            batch, characters = [], 0
    yield from _encoded(batch, tokenizer)


def _encoded(batch: Sequence[Piece], tokenizer: Tokenizer) -> Iterator[TokenArray]:
    encoded = tokenizer.encode([piece.text for piece in batch])
    for piece, tokens in zip(batch, encoded, strict=True):
        yield tokens
        if piece.last:
            yield tokenizer.separator


def token_type(vocabulary_size: int) -> np.dtype[np.unsignedinteger]:
    """The smallest unsigned type for ids below ``vocabulary_size``."""
    return np.dtype(np.min_scalar_type(vocabulary_size - 1))


class ByteTokens:
    """One token for each byte. NUL, which ordinary text doesn't contain, follows each document."""

    vocabulary_size = 256
    fingerprint = "bytes"
    separator: TokenArray = np.zeros(1, dtype=np.uint8)

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The UTF-8 bytes of each text."""
        return [np.frombuffer(text.encode(), dtype=np.uint8) for text in texts]

    def decode(self, tokens: Sequence[int]) -> str:
        """The bytes as UTF-8."""
        return bytes(tokens).decode("utf-8", "replace")

    def byte_count(self, tokens: TokenArray) -> int:
        """One for each."""
        return len(tokens)

    def decoder(self, before: Sequence[int]) -> Decoder:
        """Turns bytes into text, one by one."""
        return ByteDecoder()

    def as_file(self) -> str:
        """A vocabulary of the 256 bytes, in GPT-2's letters for them, and nothing to merge."""
        from tokenizers import Tokenizer as Library
        from tokenizers import decoders, models, pre_tokenizers

        made = Library(models.BPE(vocab=_byte_letters(), merges=[]))
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        made.decoder = decoders.ByteLevel()
        return str(made.to_str(pretty=True))


class FileTokens:
    """A ``tokenizer.json``, as `tokenizers` writes it."""

    def __init__(self, path: Path, *, field: str) -> None:
        """field: of the spec, which names the file. Raises `DataError`."""
        content = _read(path, field=field)
        self.fingerprint = hashlib.sha256(content).hexdigest()
        self._tokenizer = _parsed(content, path=path, field=field)
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        if not ids:
            raise _broken(path, _("its vocabulary is empty"), field=field)
        # Not get_vocab_size(): ids may have gaps, and the model needs a row for the largest id.
        self.vocabulary_size = max(ids.values()) + 1
        if self.vocabulary_size > _MOST_TOKENS:
            largest = self.vocabulary_size - 1
            reason = _("its largest token id is {number:,}").format(number=largest)
            raise _broken(path, reason, field=field)
        self._type = token_type(self.vocabulary_size)
        ends = [ids[name] for name in _SEPARATORS if name in ids]
        self.separator: TokenArray = (
            np.array(ends[:1], dtype=self._type) if ends else self.encode(["\n"])[0]
        )

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The token ids of each text."""
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(each.ids, dtype=self._type) for each in encoded]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, with the names of special tokens in it."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=False))

    def byte_count(self, tokens: TokenArray) -> int:
        """Of the text, without special tokens."""
        # in parts, since text takes far more memory than its tokens
        parts = (tokens[begin : begin + _PART] for begin in range(0, len(tokens), _PART))
        texts = (self._tokenizer.decode(part.tolist(), skip_special_tokens=True) for part in parts)
        return sum(len(text.encode("utf-8", "replace")) for text in texts)

    def decoder(self, before: Sequence[int]) -> Decoder:
        """Turns token ids that follow ``before`` into text, one by one."""
        return TokenDecoder(self._tokenizer, before)

    def as_file(self) -> str:
        """The file without what it would add, cut off or fill up."""
        content = json.loads(self._tokenizer.to_str())
        return json.dumps(content | {"post_processor": None}, ensure_ascii=False)


def _byte_letters() -> dict[str, int]:
    """The letter of each byte in byte-level tokenizers: the byte as a character of Latin-1 if that
    can be seen, else the next one from U+0100 on."""
    seen = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = itertools.count(256)
    return {chr(byte if byte in seen else next(others)): byte for byte in range(256)}


def _read(path: Path, *, field: str) -> bytes:
    try:
        with open_regular(path) as stream:
            content = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(
            _("{path} can't be read: {reason}.").format(path=path, reason=error.strerror),
            field=field,
            remedy=_("Put the tokenizer.json there, or name the file where it is."),
        ) from error
    if len(content) > MOST_BYTES:
        reason = _("it has more than {size} MiB").format(size=MOST_BYTES // 2**20)
        raise _broken(path, reason, field=field)
    return content


def _parsed(content: bytes, *, path: Path, field: str) -> "tokenizers.Tokenizer":
    import tokenizers

    try:
        content.decode()  # names the wrong byte, which the library doesn't
        tokenizer = tokenizers.Tokenizer.from_buffer(content)
    except ValueError as error:  # `from_str` would raise a bare Exception
        reason = str(error).removeprefix("Cannot instantiate Tokenizer from buffer: ")
        raise _broken(path, " ".join(reason.split()), field=field) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _broken(path: Path, reason: str, *, field: str) -> DataError:
    message = _("{path} is no tokenizer.json of the tokenizers library: {reason}.")
    return DataError(
        message.format(path=path, reason=reason),
        field=field,
        remedy=_("Get the file again from where the swarm's model comes from."),
    )

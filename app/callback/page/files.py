"""The files of the page: read once, sent with headers that let a browser load nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response

from app.common.paths import RESOURCES

FOLDER = RESOURCES / "page"

LANGUAGES = {"en": "English", "zh-CN": "简体中文"}
"""The languages of the page, by their own names. The first is for all who read neither."""

LANGUAGE_COOKIE = "cotrain-language"

_KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
        " require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""Of the page and its files: nothing from elsewhere, no inline script or style, in no frame."""

PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of what tells something of this machine."""


@dataclass(frozen=True, kw_only=True)
class PageFile:
    """A file as it is sent."""

    content: bytes

    kind: str
    """Its media type."""

    tag: str
    """A digest of the content, by which a browser asks whether it has changed."""

    def answer(self, headers: Headers, **more: str) -> Response:
        """The file, or only that the browser has it already. headers: the request's."""
        told = {**HEADERS, "ETag": self.tag, "Cache-Control": "no-cache", **more}
        if headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=told)
        return Response(self.content, media_type=self.kind, headers=told)


def _file(content: bytes, kind: str) -> PageFile:
    return PageFile(content=content, kind=kind, tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class PageFiles:
    """All files of the page, in memory. Nothing else on the disk has a name here."""

    def __init__(self, folder: Path = FOLDER) -> None:
        known = {*_KINDS, ".html"}
        read = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in known}
        frame = read.pop("index.html").decode()
        texts = {each: json.loads(read[f"{each}.json"]) for each in LANGUAGES}
        self._pages = {
            language: _file(_filled(frame, language, texts[language]).encode(), "text/html")
            for language in LANGUAGES
        }
        self._files = {
            name: _file(content, _KINDS[Path(name).suffix]) for name, content in read.items()
        }
        icon = (RESOURCES / "icons" / "app.svg").read_bytes()
        self._files["app.svg"] = _file(icon, _KINDS[".svg"])

    def page(self, language: str) -> PageFile:
        """The page in one of `LANGUAGES`."""
        return self._pages[language]

    def find(self, name: str) -> PageFile | None:
        """A file that the page loads; None if there is none of this name."""
        return self._files.get(name)


def _filled(frame: str, language: str, texts: Mapping[str, str]) -> str:
    """The page with each ``{{name}}`` replaced by a text. Raises `KeyError` for an unknown name."""
    known = {**texts, "language": language}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: escape(known[found[1]]), frame)


def language_of(asked: str | None, kept: str | None, accepted: str) -> str:
    """The language to answer in.

    asked: by the link that switches it. kept: in the cookie. accepted: ``Accept-Language``.
    """
    wanted = [asked, kept, *_by_preference(accepted[:500])]
    for each in wanted:
        for language in LANGUAGES:
            if each and each.lower().split("-")[0] == language.split("-")[0].lower():
                return language
    return next(iter(LANGUAGES))


def _by_preference(accepted: str) -> list[str]:
    """The languages in ``Accept-Language``, those that are liked most first."""
    found: list[tuple[float, str]] = []
    for part in accepted.split(","):
        name, _, rest = part.strip().partition(";")
        given = re.fullmatch(r"\s*q=([01](?:\.\d{0,3})?)\s*", rest)
        weight = float(given[1]) if given else 1.0
        if weight > 0:
            found.append((weight, name.strip()))
    return [name for _, name in sorted(found, key=lambda each: -each[0])]

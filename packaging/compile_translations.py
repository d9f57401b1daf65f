"""Compile ``resources/translations/**/*.po`` into the ``.mo`` files that gettext reads.

``zh_CN.po`` becomes ``zh_CN/LC_MESSAGES/cotrain.mo``; a catalogue that already lies in such a
folder is compiled in its place. Nothing happens without catalogues, or where they are current.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "resources" / "translations"
DOMAIN = "cotrain"


def target(source: Path) -> Path:
    """Where the compiled form of a catalogue belongs."""
    if source.parent == ROOT:
        return ROOT / source.stem / "LC_MESSAGES" / f"{DOMAIN}.mo"
    return source.with_suffix(".mo")


def is_current(source: Path, compiled: Path) -> bool:
    """Whether the compiled file is at least as new as its source."""
    return compiled.exists() and compiled.stat().st_mtime >= source.stat().st_mtime


def compile_catalogue(source: Path, compiled: Path) -> None:
    """Write one catalogue; a broken one raises babel's PoFileError with its line."""
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    with source.open("rb") as file:
        catalogue = read_po(file, abort_invalid=True)
    compiled.parent.mkdir(parents=True, exist_ok=True)
    with compiled.open("wb") as file:
        write_mo(file, catalogue)


def main() -> None:
    """Compile what is out of date."""
    for source in sorted(ROOT.rglob("*.po")):
        compiled = target(source)
        if not is_current(source, compiled):
            compile_catalogue(source, compiled)
            print(f"compiled {compiled.relative_to(ROOT)}")


if __name__ == "__main__":
    main()

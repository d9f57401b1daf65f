"""Write the signed file that tells the apps of a later version (see `app/desktop/updates.py`).

    packaging/publish.py KEY VERSION PAGE > newest.json

KEY is the publisher's private key (PEM); it is made where there is none, and belongs on no server.
PAGE is where people get the version. The public key, for the settings, is said on stderr.
"""

import argparse
import json
import sys
from pathlib import Path

from app.common import signing
from app.common.signing import MachineKey
from app.desktop.updates import read


def signed(key: MachineKey, version: str, page: str) -> bytes:
    """The file, as an app will read it; raises what an app would."""
    manifest = {"version": version, "url": page}
    signature = signing.as_text(key.sign(signing.canonical(manifest)))
    content = json.dumps({"manifest": manifest, "signature": signature}, indent=1).encode()
    read(content, key=key.public_key)
    return content


def main() -> None:
    """Sign what the command line says."""
    parser = argparse.ArgumentParser(description="Sign the file that tells of a later version.")
    parser.add_argument("key", type=Path)
    parser.add_argument("version")
    parser.add_argument("page")
    given = parser.parse_args()
    key = MachineKey.load_or_create(given.key)
    sys.stdout.write(signed(key, given.version, given.page).decode() + "\n")
    print(f"update_key: {key.public_key}", file=sys.stderr)


if __name__ == "__main__":
    main()

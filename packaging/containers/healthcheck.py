"""Asks the app in this container whether it is there; ends with 0 if it answers ``healthy``.

The probe goes to loopback, which the app always allows. With ``COTRAIN_CALLBACK_CERTIFICATE`` it is
https; the certificate isn't checked, since it is for the name by which others call.
"""

import json
import os
import ssl
import sys
import urllib.request

SECONDS = 8.0
LONGEST = 1024


def main() -> int:
    """The exit status."""
    scheme = "https" if os.environ.get("COTRAIN_CALLBACK_CERTIFICATE") else "http"
    url = f"{scheme}://127.0.0.1:{os.environ.get('PORT', '8000')}/health"
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=SECONDS, context=unchecked) as reply:
            told = json.loads(reply.read(LONGEST))
    except (OSError, ValueError) as error:
        print(f"{url}: {error}")
        return 1
    print(told)
    return 0 if told == {"status": "healthy", "service": "hivemind"} else 1


if __name__ == "__main__":
    sys.exit(main())

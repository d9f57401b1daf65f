#!/usr/bin/env bash
# Makes a base image from Debian's packages alone, for where no image registry can be reached:
#   packaging/containers/local/base.sh [SUITE [IMAGE]]
# Needs root, mmdebstrap and podman. Then: podman build --build-arg BASE=IMAGE …
set -euo pipefail

SUITE=${1:-bookworm}  # has Python 3.11, for which CI's machines have PyTorch's wheel
IMAGE=${2:-localhost/cotrain-base:$SUITE}

mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv "$SUITE" - \
  | podman import --quiet --change 'CMD ["bash"]' --change 'ENV LANG=C.UTF-8' - "$IMAGE"

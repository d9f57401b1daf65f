#!/usr/bin/env bash
# Builds what the proof runs where no image registry can be reached, from Debian's packages and PyPI
# alone: a base, the app's image on it (PyTorch for the CPU), and Debian's Prometheus. Needs root, podman
# and mmdebstrap. The base and Prometheus are made once; `podman rmi` has them made anew.
set -euo pipefail
cd "$(dirname "$0")/../../.."

BASE=localhost/cotrain-base:trixie
APP=localhost/cotrain-contributor:local
PROMETHEUS=localhost/cotrain-prometheus:local
HERE=packaging/containers

# without more rights than this shell has, and on this machine's network
BUILD=(podman build --format docker --network host --ulimit "nofile=$(ulimit -Hn)" --build-arg "BASE=$BASE")

# Debian 13 with Debian 12's Python 3.11, for which CI's machines have PyTorch's wheel
debian() {
  local mirror=http://deb.debian.org
  cat >"$work/preferences" <<'END'
Package: *
Pin: release n=bookworm
Pin-Priority: 100

Package: python3 python3-* python3.11* libpython3*
Pin: release n=bookworm
Pin-Priority: 990
END
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
    --setup-hook="install -D '$work/preferences' \"\$1/etc/apt/preferences.d/bookworm\"" \
    --customize-hook='rm "$1/etc/apt/preferences.d/bookworm"' \
    --customize-hook='sed -i /bookworm/d "$1/etc/apt/sources.list"' \
    trixie - "deb $mirror/debian trixie main" "deb $mirror/debian bookworm main" \
    "deb $mirror/debian-security trixie-security main"
}

work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
podman image exists "$BASE" || debian \
  | podman import --quiet --change 'CMD ["bash"]' --change 'ENV LANG=C.UTF-8' - "$BASE"
podman image exists "$PROMETHEUS" \
  || "${BUILD[@]}" -t "$PROMETHEUS" -f $HERE/local/Prometheus.Containerfile $HERE/local

# what pip is told on this machine, as a secret; its folders are mounted for this build
authorities=${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}
wheels=${PIP_FIND_LINKS:-}
printf '[global]\ncert = /run/secrets/ca.pem\ntimeout = %s\n' "${PIP_DEFAULT_TIMEOUT:-60}" >"$work/pip.conf"
mounts=()
if [ -d "$wheels" ]; then
  printf 'find-links = %s\n' "$wheels" >>"$work/pip.conf"
  mounts+=(-v "$wheels:$wheels:ro")
fi
if [ -e /etc/xdg/pip/constraints.txt ]; then
  printf 'constraint = /etc/xdg/pip/constraints.txt\n' >>"$work/pip.conf"
  mounts+=(-v /etc/xdg/pip:/etc/xdg/pip:ro)
fi
"${BUILD[@]}" "${mounts[@]}" -t "$APP" -f $HERE/Containerfile \
  --ignorefile $HERE/Containerfile.dockerignore --build-arg "TORCH_INDEX=${TORCH_INDEX:-}" \
  --secret "id=pip.conf,src=$work/pip.conf" --secret "id=ca.pem,src=$authorities" .

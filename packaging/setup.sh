#!/usr/bin/env bash
# Makes a checkout ready. Called by the Makefile:
#   packaging/setup.sh venv EXTRAS   the virtual environment .venv and, on Debian, Qt's libraries;
#                                    TORCH_INDEX: where PyTorch comes from, if not from pip's own
#   packaging/setup.sh xvfb          a virtual display, for measuring and screenshots
#   packaging/setup.sh pictures      the same, and a font for Chinese
#   packaging/setup.sh appimage      what the AppImage is made of, and with
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
SUITS='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'
QT_LIBRARIES=(
  libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 libxcb-cursor0
  libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
  libxcb-xinerama0 fonts-dejavu-core
)

HARDLY_USED='/(tests?|testing|transformers/models)/'  # compiled when it is first imported

NETWORK_TOOLS=(iproute2 nftables)  # for tests on networks of their own

PACKAGE_TOOLS=(binutils gcc icu-devtools)  # make the package smaller
APPIMAGE_PARTS=(
  gcc libc6-dev pkg-config squashfs-tools libsquashfuse-dev libfuse3-dev libzstd-dev liblzma-dev
  liblz4-dev liblzo2-dev zlib1g-dev fuse3
)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Runs as root, through sudo where needed; fails where neither is possible.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 1
  fi
}

apt_install() {
  as_root true || { say "no root rights: install these yourself: $*"; return 1; }
  as_root apt-get update -q || say "apt-get update failed, trying with the lists that are here"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
}

# Installs those of the named Debian packages that are missing; elsewhere does nothing.
need_packages() {
  have apt-get && have dpkg-query || return 0
  local name missing=()
  for name in "$@"; do installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -eq 0 ] && return 0
  say "installing system packages: ${missing[*]}"
  apt_install "${missing[@]}"
}

find_python() {
  local name
  if [ -n "${PYTHON:-}" ]; then
    "$PYTHON" -c "$SUITS" 2>/dev/null || die "PYTHON=$PYTHON is not Python 3.11, 3.12 or 3.13"
    echo "$PYTHON"
    return
  fi
  for name in python3.11 python3.12 python3.13 python3; do
    if "$name" -c "$SUITS" 2>/dev/null; then echo "$name"; return; fi
  done
  die "no Python 3.11, 3.12 or 3.13 found. Install one (Debian, Ubuntu: apt install python3" \
    "python3-venv), or name it: make run PYTHON=/path/to/python3.11"
}

# Debian keeps venv's heart in a package of its own, one for each version.
need_venv_module() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  local package
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  have apt-get && { apt_install "$package" || apt_install python3-venv; } || true
  "$1" -c 'import ensurepip, venv' 2>/dev/null || die "$1 can't make virtual environments: install $package"
}

make_venv() {
  if [ -z "${PYTHON:-}" ] && "$VENV/bin/python" -c "$SUITS; import pip" 2>/dev/null; then return; fi
  local python
  python=$(find_python)
  need_venv_module "$python"
  say "making $VENV with $("$python" --version)"
  "$python" -m venv --clear "$VENV"
}

venv() {
  need_packages "${QT_LIBRARIES[@]}" || say "going on without them; the window may not open"
  case ",$1," in *,dev,*)
    need_packages "${NETWORK_TOOLS[@]}" || say "going on without them; some tests are skipped" ;;
    *,package,*)
    need_packages "${PACKAGE_TOOLS[@]}" || say "going on without them; the package is larger" ;;
  esac
  make_venv
  say "installing the dependencies (PyTorch and Qt are large: this takes minutes the first time)"
  "$VENV/bin/python" -m pip install --quiet --upgrade "pip>=24"
  if [ -n "${TORCH_INDEX:-}" ]; then
    "$VENV/bin/python" -m pip install --quiet --no-compile --index-url "$TORCH_INDEX" "torch>=2.6,<3"
  fi
  "$VENV/bin/python" -m pip install --quiet --no-compile -e ".[$1]"
  # pip compiles on one core
  "$VENV/bin/python" -m compileall -qq -j 0 -x "$HARDLY_USED" "$VENV"/lib/python*/site-packages || true
  touch "$VENV/.ready-run"
  local extra
  for extra in dev package; do
    case ",$1," in *,"$extra",*) touch "$VENV/.ready-$extra" ;; esac
  done
}

xvfb() {
  have Xvfb || need_packages xvfb || true
  have Xvfb || die "Xvfb is missing: install it (Debian, Ubuntu: apt install xvfb)"
}

pictures() {
  xvfb
  need_packages fonts-droid-fallback || say "no font for Chinese: its pictures lack the letters"
}

appimage() {
  need_packages "${APPIMAGE_PARTS[@]}" || true
  have mksquashfs && pkg-config --exists squashfuse_ll fuse3 2>/dev/null \
    || die "an AppImage is made on Debian 13 or later, or where libsquashfuse 0.5 is"
}

case "${1:-}" in
  venv) venv "${2:?which extras?}" ;;
  xvfb) xvfb ;;
  pictures) pictures ;;
  appimage) appimage ;;
  *) die "usage: packaging/setup.sh venv EXTRAS | xvfb | pictures | appimage" ;;
esac

#!/usr/bin/env bash
# Makes what Linux users download, of the folder that PyInstaller built:
#   packaging/linux/artefacts.sh [tarball] [deb] [appimage]
# Each lands in dist/, with its line in dist/SHA256SUMS. The same folder makes the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

NAME=cotrain-contributor
BUILT=dist/$NAME
HERE=packaging/linux
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
MACHINE=$(uname -m)
ARCHITECTURE=$(dpkg --print-architecture 2>/dev/null || echo "$MACHINE")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

say() { printf 'artefacts: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# A folder to make something in; it goes with this script.
stage() {
  local folder
  folder=$(mktemp -d "$PWD/build/$1.XXXXXX")
  chmod 755 "$folder"
  echo "$folder"
}

# usr/: the app, and what makes a desktop know it.
lay_out() {
  local root=$1/usr
  mkdir -p "$root/lib" "$root/bin"
  cp -al "$BUILT" "$root/lib/$NAME"
  ln -s "../lib/$NAME/$NAME" "$root/bin/$NAME"
  install -Dm644 "$HERE/$NAME.desktop" "$root/share/applications/$NAME.desktop"
  install -Dm644 "$HERE/$NAME.xml" "$root/share/mime/packages/$NAME.xml"
  install -Dm644 resources/icons/app.svg "$root/share/icons/hicolor/scalable/apps/$NAME.svg"
  install -Dm644 LICENSE "$root/share/doc/$NAME/copyright"
}

# The version of a file's maker is nobody's business, nor is the time when it was made.
pack() {
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
    --directory "$1" "$2"
}

finish() {
  say "$(du -h --apparent-size "$1" | tr '\t' ' ')"
  (cd dist && touch SHA256SUMS && sed -i "/  $(basename "$1")\$/d" SHA256SUMS \
    && sha256sum "$(basename "$1")" >> SHA256SUMS)
}

# Unpack anywhere and start; the files for the desktop lie beside.
tarball() {
  local folder target=$NAME-$VERSION
  folder=$(stage tarball)
  mkdir "$folder/$target"
  cp -al "$BUILT/." "$folder/$target"
  cp resources/icons/app.svg "$folder/$target/$NAME.svg"
  cp LICENSE "$HERE/$NAME.desktop" "$HERE/$NAME.xml" "$folder/$target"
  pack "$folder" "$target" | xz -T0 -6 > "dist/$target-linux-$MACHINE.tar.xz"
  rm -rf "$folder"
  finish "dist/$target-linux-$MACHINE.tar.xz"
}

deb() {
  have dpkg-deb || die "dpkg-deb is missing: a .deb is made on Debian or Ubuntu"
  local folder target=dist/${NAME}_${VERSION}_$ARCHITECTURE.deb
  folder=$(stage deb)
  lay_out "$folder"
  install -Dm644 -t "$folder/usr/lib/systemd/user" packaging/systemd/cotrain-contributor.service
  install -Dm644 -t "$folder/usr/lib/systemd/system" packaging/systemd/cotrain-door.service
  mkdir "$folder/DEBIAN"
  control "$folder" > "$folder/DEBIAN/control"
  dpkg-deb --root-owner-group -Zxz -z6 --build "$folder" "$target" >&2
  rm -rf "$folder"
  finish "$target"
}

# Desktop entry, MIME type and icon are taken in by the triggers of their owners: no scripts needed.
control() {
  cat <<END
Package: $NAME
Version: $VERSION
Architecture: $ARCHITECTURE
Maintainer: The CoTrain project <noreply@cotrain.invalid>
Installed-Size: $(du -sk --apparent-size "$1/usr" | cut -f1)
Depends: $("$PYTHON" packaging/deb_depends.py "$BUILT")
Recommends: desktop-file-utils, shared-mime-info, fonts-dejavu-core | fonts-liberation
Suggests: fonts-noto-cjk
Section: science
Priority: optional
Description: give a GPU to the collaborative training of models
 CoTrain Contributor joins a swarm of machines that train a language model
 together, and shows live how it goes. Python, PyTorch (for the CPU) and
 Hivemind are inside.
END
}

# One file that shows its folder by FUSE and starts what is in it. libsquashfuse is linked into it.
appimage() {
  packaging/setup.sh appimage
  local folder target=dist/$NAME-$VERSION-$MACHINE.AppImage
  folder=$(stage AppDir)
  app_dir "$folder"
  runtime "$target"
  mksquashfs "$folder" build/AppDir.squashfs -noappend -all-root -no-xattrs -comp zstd \
    -Xcompression-level 22 -b 1M -quiet -no-progress >&2
  cat build/AppDir.squashfs >> "$target"
  rm -rf "$folder" build/AppDir.squashfs
  finish "$target"
}

# Its head, with the mark by which file managers and launchers know an AppImage of type 2.
runtime() {
  gcc -Os -Wall -static -s -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=32 \
    $(pkg-config --cflags squashfuse_ll fuse3) "$HERE/runtime.c" -o "$1" \
    -lsquashfuse_ll -lsquashfuse -lfuse3 -lzstd -llzma -llz4 -llzo2 -lz 2>&1 \
    | { grep -v "fuse_get_module\|'dlopen' in statically linked" >&2 || true; }
  printf 'AI\002' | dd of="$1" bs=1 seek=8 conv=notrunc status=none
}

app_dir() {
  lay_out "$1"
  cp "$HERE/AppRun" "$HERE/$NAME.desktop" "$1"
  cp resources/icons/app.svg "$1/$NAME.svg"
}

PYTHON=${PYTHON:-.venv/bin/python}
[ -x "$BUILT/$NAME" ] || die "$BUILT is missing: run make package"
mkdir -p build
for each in "${@:-tarball}"; do
  case $each in
    tarball | deb | appimage) "$each" ;;
    *) die "unknown artefact: $each" ;;
  esac
done

#!/usr/bin/env bash
# Takes the photographs that scenes.py and the training of the surface model use as grounds out of four Debian packages (bookworm:
# ufoai-textures, sweethome3d, gnome-backgrounds, mate-backgrounds; `apt-get download` them first). Needs dpkg-deb and unzip.
#
#   datasets/render/pictures.sh FOLDER-OF-DEBS OUT
set -euo pipefail
debs=${1:?the folder with the packages} out=${2:?a folder for the pictures}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in ufoai-textures sweethome3d gnome-backgrounds mate-backgrounds; do
  dpkg-deb -x "$(ls "$debs/${name}"_*.deb | head -1)" "$work/$name"
done
mkdir -p "$out/home"
unzip -qo "$work/ufoai-textures/usr/share/games/ufoai/base/0textures.pk3" -d "$work/ufo"
# No painted metal, and no maps of normals or gloss.
for kind in nature terrain dirt furniture buildings buildings_snow streets shop pics; do
  cp -r "$work/ufo/textures/tex_$kind" "$out/"
done
find "$out" \( -name '*_nm.*' -o -name '*_sm.*' -o -name '*_gm.*' -o -name '*_rm.*' \) -delete
unzip -qo "$work/sweethome3d/usr/share/sweethome3d/sweethome3d.jar" -d "$work/home"
find "$work/home" -path '*textures*' -name '*.jpg' -exec cp {} "$out/home/" \;
find "$work/gnome-backgrounds" -name 'wood-*.webp' -exec cp {} "$out/" \;
find "$work/mate-backgrounds" -path '*nature*' -name '*.jpg' -exec cp {} "$out/" \;
echo "$(find "$out" -type f | wc -l) pictures in $out"

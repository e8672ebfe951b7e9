#!/usr/bin/env bash
# Makes the surface model anew, from rendering to the int8 variant: two and a half hours of rendering and an hour and a half of training on
# two cores. On a GPU it takes minutes, and more of both pays (models/surface.md). Every step goes on where it was stopped. Needs the packages of models/requirements.txt and
# datasets/render/requirements.txt, libllvm19, dpkg-deb, unzip, the public sets (models/surface.md) and a built loupe.
#
#   models/retrain.sh ../shared/real target/train
set -euo pipefail
cd "$(dirname "$0")/.."
real=${1:?the folder with mtd/ and bsdata/} work=${2:?a folder for rendered pieces and checkpoints}
export DRJIT_LIBLLVM_PATH=${DRJIT_LIBLLVM_PATH:-/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1}
loupe=${CARGO_TARGET_DIR:-target}/release/loupe
mkdir -p "$work"
for kind in signet:54 band:36 plate:36 pave:22 halo:22 row:20 solitaire:20 stamp:15; do
  python3 datasets/render/render.py --kind "${kind%:*}" --count "${kind#*:}" --out "$work/pieces" --seed 31 \
    --defects datasets/render/train.toml --spp 16 --size 640x480 --min-contrast 0
done
python3 models/train_surface.py --data "$real" --rendered "$work/pieces" --out "$work/pieces.onnx" --steps 3200 --ckpt "$work/surface.pt"
# What is metal and what is not, on any ground: rendered photographs of jewellery. The grounds' photographs are Debian's.
if [ ! -d "$work/pictures" ]; then
  mkdir -p "$work/debs"
  (cd "$work/debs" && apt-get download ufoai-textures sweethome3d gnome-backgrounds mate-backgrounds)
  datasets/render/pictures.sh "$work/debs" "$work/pictures.part"
  mv "$work/pictures.part" "$work/pictures"
fi
python3 datasets/render/scenes.py --count 150 --out "$work/scenes" --seed 8101 --spp 36 --pictures "$work/pictures"
photographs=(--data "$real" --rendered "$work/pieces" --scenes "$work/scenes" --pictures "$work/pictures" --start "$work/pieces.onnx" --keep 1 --uncalibrated)
python3 models/train_surface.py "${photographs[@]}" --steps 3200 --lr 1e-3 --out "$work/photographs.onnx" --ckpt "$work/photographs.pt"
python3 models/train_surface.py "${photographs[@]}" --regions "$work/photographs.onnx" --batch 16 --steps 300 --lr 1e-2 --epoch 100 --out "$work/surface.onnx" \
  --ckpt "$work/regions.pt"
python3 models/train_surface.py --data "$real" --out "$work/surface.onnx" --calibrate
# What the second opinion is fitted on: the pieces that training left out, pieces of the default mix (the shipped trees were grown on 1259 pieces, most of them
# of it), pits among dust, and empty seats.
for row in signet:72 band:56 plate:56 pave:32 halo:32 row:24 solitaire:24 stamp:20; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "${row#*:}" --start 7001 --out "$work/opinion" --seed 909090 --spp 12 --size 640x480
done
for row in signet:28 plate:24 band:16 stamp:4; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "${row#*:}" --start 9001 --out "$work/opinion" --seed 660011 --spp 12 --size 640x480 \
    --min-contrast 0 --defects datasets/render/specks.toml
done
for row in pave:14 halo:14 row:8 band:8 solitaire:8; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "${row#*:}" --start 8001 --out "$work/opinion" --seed 515151 --spp 10 --size 640x480 \
    --all-bad --defect missing_stone --defects datasets/render/missing.toml
done
for piece in "$work"/pieces/*[05]; do ln -sfn "$(realpath "$piece")" "$work/opinion/"; done
python3 models/fit_opinion.py --model "$work/surface.onnx" --loupe "$loupe" --pieces "$work/opinion" --all
python3 models/quantize_surface.py --data "$real" --rendered "$work/opinion" --model "$work/surface.onnx" --out "$work/surface.int8.onnx"
python3 models/fit_opinion.py --model "$work/surface.int8.onnx" --loupe "$loupe" --pieces "$work/opinion" --all
# And on with the trees on defects that no renderer's look has, painted on the same pieces.
for seed in 71 72; do
  python3 models/blemishes.py --pieces "$work/opinion" --out "$work/painted$seed" --seed "$seed"
done
for model in surface surface.int8; do
  python3 models/widen_opinion.py --model "$work/$model.onnx" --loupe "$loupe" --pieces "$work/opinion" --painted "$work/painted71" "$work/painted72"
done
echo "$work/surface.onnx and $work/surface.int8.onnx are ready to be measured (models/surface.md)"

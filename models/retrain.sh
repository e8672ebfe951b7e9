#!/usr/bin/env bash
# Makes the surface model anew, from rendering to the int8 variant: about an hour of rendering and 50 minutes of training on two
# cores. Every step goes on where it was stopped. Needs the packages of models/requirements.txt and
# datasets/render/requirements.txt, libllvm19, the public sets (models/surface.md) and a built loupe.
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
python3 models/train_surface.py --data "$real" --rendered "$work/pieces" --out "$work/surface.onnx" --steps 3200 \
  --ckpt "$work/surface.pt"
python3 models/fit_opinion.py --model "$work/surface.onnx" --loupe "$loupe" --pieces "$work/pieces"
python3 models/quantize_surface.py --data "$real" --rendered "$work/pieces" --model "$work/surface.onnx" --out "$work/surface.int8.onnx"
python3 models/fit_opinion.py --model "$work/surface.int8.onnx" --loupe "$loupe" --pieces "$work/pieces"
echo "$work/surface.onnx and $work/surface.int8.onnx are ready to be measured (models/surface.md)"

#!/usr/bin/env bash
# Makes the models of stones and prongs anew: about 70 minutes of rendering and 70 of training on two cores. Every step goes on
# where it was stopped. Needs the packages of models/requirements.txt and datasets/render/requirements.txt, and libllvm19.
#
#   models/retrain_stones.sh target/train
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:?a folder for rendered pieces and checkpoints}
export DRJIT_LIBLLVM_PATH=${DRJIT_LIBLLVM_PATH:-/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1}
mkdir -p "$work"
# Kind, count, number of the first, samples a pixel.
for row in "pave 23 1 16" "halo 14 1 16" "band 12 1 16" "row 7 1 16" "tray 49 401 12" "pave 12 401 12" "halo 6 401 12"; do
  read -r kind count start spp <<< "$row"
  python3 datasets/render/render.py --kind "$kind" --count "$count" --start "$start" --out "$work/stones" --seed 77 \
    --defects datasets/render/stones.toml --spp "$spp" --min-contrast 0
done
pieces=("$work/stones")
if [ -d "$work/pieces" ]; then pieces+=("$work/pieces"); fi # those of the surface model, where retrain.sh made them
python3 models/train_stones.py --net prongs --pieces "${pieces[@]}" --out "$work/prongs.onnx" --steps 2500
python3 models/train_stones.py --net stones --pieces "${pieces[@]}" --out "$work/stones.onnx" --steps 3800 --batch 40
echo "$work/stones.onnx and $work/prongs.onnx are ready to be measured (models/stones.md)"

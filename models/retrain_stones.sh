#!/usr/bin/env bash
# Makes the models of stones and prongs anew: about 1000 pieces (7 s each on two cores) and 5400 + 3600 steps (3.3 s and less each),
# seven hours there, or an hour and a half with a fifth of both. One H100 did it in nine minutes (RENDER_VARIANT=cuda_ad_rgb and 16
# render.py beside each other, each with numbers of its own, then PyTorch on the GPU).
#
#   models/retrain_stones.sh target/train            # as the shipped ones were made
#   models/retrain_stones.sh target/train 30 1100    # 30 pieces a kind (trays: twice as many), 1100 steps
#
# Every step goes on where it was stopped. Needs the packages of models/requirements.txt and datasets/render/requirements.txt, and
# libllvm19.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:?a folder for rendered pieces and checkpoints}
pieces=${2:-145}
steps=${3:-5400}
export DRJIT_LIBLLVM_PATH=${DRJIT_LIBLLVM_PATH:-/usr/lib/x86_64-linux-gnu/libLLVM.so.19.1}
mkdir -p "$work"
for row in tray:2 pave:1 solitaire:1 halo:1 row:1 band:1; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "$((pieces * ${row#*:}))" --start 1001 --out "$work/stones" --seed 77 \
    --defects datasets/render/stones.toml --spp 14 --min-contrast 0
done
python3 models/train_stones.py --net prongs --pieces "$work/stones" --out "$work/prongs.onnx" --steps "$((steps * 2 / 3))" --batch 256
python3 models/train_stones.py --net stones --pieces "$work/stones" --out "$work/stones.onnx" --steps "$steps" --batch 256
for row in pave:3 halo:2 band:2 row:1 solitaire:1; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "$((pieces * ${row#*:} / 4))" --start 1001 --out "$work/girdles" --seed 4321 \
    --defects datasets/render/girdles.toml --spp 14 --min-contrast 0 --size 800x600
done
for row in pave:3 halo:3 band:2 row:1 solitaire:1; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "$((pieces * ${row#*:} / 15))" --out "$work/small" --seed 626364 \
    --defects datasets/render/small.toml --all-bad --spp 10 --min-contrast 0 --size 640x480
done
python3 models/train_girdles.py --pieces "$work/stones" "$work/girdles" "$work/small" --out "$work/girdles.onnx" --steps "$steps"
# What tells of a broken rim in a branch of its own, on more chips and on painted ones.
for row in pave:4 halo:4 band:4 row:3 solitaire:2 centres:2; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "$((pieces * ${row#*:} / 12))" --start 1001 --out "$work/breaks" --seed 550011 \
    --defects datasets/render/breaks.toml --spp 10 --min-contrast 0 --size 720x540
done
python3 models/train_girdles.py --rim --paint 0.45 --pieces "$work/breaks" --start "$work/girdles.onnx" --out "$work/rims.onnx" --steps "$((steps / 2))" --batch 96
mv "$work/rims.onnx" "$work/girdles.onnx"
# What the odds of a chip say of its depth in pixels, on large stones that were not learned on.
python3 datasets/render/render.py --kind centres --count "$((pieces * 5 / 4))" --out "$work/centres" --seed 31337 --defects datasets/render/chips.toml \
  --spp 10 --min-contrast 0 --size 800x600
python3 models/train_girdles.py --pieces "$work/centres" --calibrate "$work/girdles.onnx"
# Of all other cuts: trays of them, and the rows and solitaires that they are set in.
for row in fancies:2 solitaire:1 row:1; do
  python3 datasets/render/render.py --kind "${row%:*}" --count "$((pieces * ${row#*:} / 2))" --out "$work/cuts" --seed 818283 \
    --defects datasets/render/cuts.toml --spp 12 --min-contrast 0 --size 720x540
done
python3 models/train_girdles.py --fancies --pieces "$work/cuts" "$work/stones" --start "$work/girdles.onnx" --out "$work/fancies.onnx" --steps "$steps"
for net in stones prongs girdles fancies; do
  python3 models/quantize_parts.py --pieces "$work/stones" --model "$work/$net.onnx" --out "$work/$net.int8.onnx"
done
echo "$work/stones.onnx, $work/prongs.onnx, $work/girdles.onnx and $work/fancies.onnx, and what the program runs, the same in eight-bit integers, are ready to be measured (models/stones.md)"

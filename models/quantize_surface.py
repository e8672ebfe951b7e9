#!/usr/bin/env python3
"""Makes the int8 variant of a surface model: static quantisation, calibrated on real frames of the train parts.

  quantize_surface.py --data REAL --rendered RENDERED --model models/surface.onnx --out models/surface.int8.onnx

REAL holds mtd/ and bsdata/, RENDERED rendered pieces. Weights get int8 scales per output channel, activations one uint8 scale each. The first
and the last layers stay in float: they are the thinnest and the most sensitive. The metadata is carried over, with
`loupe.name` = `surface-int8`.
"""
import argparse, random
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationMethod

import int8
import rendered
import train_surface as ts


def tiles(items, side, count, seed):
    """Crops of one tile's side from the middle of defects and from anywhere, half and half, [1, 3, side, side] each."""
    rng = random.Random(seed)
    for k in range(count):
        it = items[rng.randrange(len(items))]
        im = it.image if it.image.ndim == 3 else np.repeat(it.image[:, :, None], 3, 2)
        h, w = im.shape[:2]
        x, y = rng.randrange(max(1, w - side + 1)), rng.randrange(max(1, h - side + 1))
        bad = (it.mask >= ts.SOUND) & (it.mask < ts.ANY)
        if k % 2 and bad.any():
            ys, xs = np.nonzero(bad)
            j = rng.randrange(len(ys))
            x, y = int(np.clip(xs[j] - side // 2, 0, max(0, w - side))), int(np.clip(ys[j] - side // 2, 0, max(0, h - side)))
        crop = im[y:y + side, x:x + side]
        pad = [(0, side - crop.shape[0]), (0, side - crop.shape[1]), (0, 0)]
        crop = np.pad(crop, pad, mode="reflect" if min(crop.shape[:2]) > max(p[1] for p in pad) else "edge")
        yield crop.astype(np.float32).transpose(2, 0, 1)[None]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True, type=Path)
    ap.add_argument("--rendered", type=Path, help="rendered pieces, for half of the tiles")
    ap.add_argument("--model", required=True, type=Path)
    ap.add_argument("--out", required=True, type=Path)
    ap.add_argument("--tiles", type=int, default=120, help="calibration tiles")
    ap.add_argument("--seed", type=int, default=7)
    a = ap.parse_args()
    sp, labels = ts.splits(str(a.data), a.seed)
    rng = random.Random(a.seed)
    items = ts.load_mtd(str(a.data), rng.sample(sp["mtd"]["train"], 80))
    items += ts.load_bsdata(str(a.data), rng.sample(sp["bsdata"]["train"], 40), labels)
    if a.rendered:
        frames = rendered.load(str(a.rendered))
        items = rng.sample(items, 60) + rng.sample(frames, min(60, len(frames)))
    # In float: the first layer, the heads and all that comes after them.
    stays = lambda graph: [int8.first(graph), *int8.onwards(graph, lambda n: n.name.endswith("head/Conv"))]
    int8.quantised(a.model, a.out, tiles(items, ts.TILE, a.tiles, a.seed), stays, "surface-int8", calibrate_method=CalibrationMethod.MinMax)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Makes the int8 variant of a surface model: static quantisation, calibrated on real frames of the train parts.

  quantize_surface.py --data REAL --rendered RENDERED --model models/surface.onnx --out models/surface.int8.onnx

REAL holds mtd/ and bsdata/, RENDERED rendered pieces. Weights get int8 scales per output channel, activations one uint8 scale each. The first
and the last layers stay in float: they are the thinnest and the most sensitive. The metadata is carried over, with
`loupe.name` = `surface-int8`.
"""
import argparse, hashlib, random
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import rendered
from stamp import stamp
import train_surface as ts


class Tiles(CalibrationDataReader):
    """Crops of one tile's side from the middle of defects and from anywhere, half and half."""

    def __init__(self, items, side, count, seed):
        rng = random.Random(seed)
        self.tiles = []
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
            self.tiles.append(crop.astype(np.float32).transpose(2, 0, 1)[None])
        self.next = iter(self.tiles)

    def get_next(self):
        t = next(self.next, None)
        return None if t is None else {"image": t}


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
    pre = a.out.with_suffix(".pre.onnx")
    quant_pre_process(str(a.model), str(pre), skip_symbolic_shape=True)
    graph = onnx.load(str(pre)).graph
    # In float: the first layer, the heads and all that comes after them.
    keep, late = [next(n.name for n in graph.node if n.op_type == "Conv")], set()
    for n in graph.node:
        if n.name.endswith("head/Conv") or late & set(n.input):
            keep.append(n.name)
            late |= set(n.output)
    quantize_static(str(pre), str(a.out), Tiles(items, ts.TILE, a.tiles, a.seed), quant_format=QuantFormat.QDQ,
                    per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    calibrate_method=CalibrationMethod.MinMax, nodes_to_exclude=keep)
    pre.unlink()
    model = onnx.load(str(a.out))
    stamp(model, {**{p.key: p.value for p in onnx.load(str(a.model)).metadata_props}, "loupe.name": "surface-int8"})
    onnx.save(model, str(a.out))
    ort.InferenceSession(str(a.out))
    print(a.out, a.out.stat().st_size, "bytes, sha256", hashlib.sha256(a.out.read_bytes()).hexdigest())


if __name__ == "__main__":
    main()

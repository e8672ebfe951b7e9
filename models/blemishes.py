#!/usr/bin/env python3
"""Paints pits, pores, scratches, scuffs, stains and worn places on the metal of rendered pieces, in many looks that a renderer's have not.

  blemishes.py --pieces DIR... --out DIR --seed S [--each 4]

Every piece is written once more with so many blemishes on its bare metal, clear of what lies there already: frames, masks and truth, which hold the painted ones beside the rendered
ones. Bursts and backlit frames are left out. What would show too little in every frame is not painted. `fit_opinion.py --painted` grows trees on such pieces.
"""
import argparse
import json
import math
import os
import tomllib
import zlib

import cv2
import numpy as np

import rendered as R

SHOWN = 6.0  # grey levels by which what is painted differs from what was there, on average over it, in one frame at least
CLEAR_PX = 5  # from stones, prongs, borders and what lies on the metal already
# Sizes in mm (mm2), log-uniform.
PIT, PORE, SCRATCH, WIDTH, AREA = (0.045, 0.4), (0.025, 0.07), (0.3, 3.0), (0.007, 0.045), (0.03, 0.9)
KINDS = {"pit": 0.3, "porosity": 0.1, "scratch": 0.22, "scuff": 0.1, "stain": 0.18, "worn_plating": 0.1}


def log_uniform(rng, span):
    return math.exp(rng.uniform(*np.log(span)))


def blob(rng, shape, x, y, area, rough, aspect, edge):
    """How far each pixel lies within an irregular place of so many pixels, 0 to 1 over an edge of `edge` pixels."""
    h, w = shape
    reach = int(2.5 * math.sqrt(area * aspect) + 3 * edge + 4)
    x0, y0, x1, y1 = max(0, int(x) - reach), max(0, int(y) - reach), min(w, int(x) + reach), min(h, int(y) + reach)
    yy, xx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    t = rng.uniform(0, math.pi)
    u, v = (xx - x) * math.cos(t) + (yy - y) * math.sin(t), (yy - y) * math.cos(t) - (xx - x) * math.sin(t)
    u, v = u / math.sqrt(aspect), v * math.sqrt(aspect)
    phi = np.arctan2(v, u)
    form = sum(rough / k * rng.normal() * np.cos(k * phi + rng.uniform(0, 6.3)) for k in (2, 3, 4, 5, 7, 9))
    form = np.clip(1 + form, 0.35, 2.0)
    radius = math.sqrt(area / math.pi)
    out = np.zeros(shape, np.float32)
    out[y0:y1, x0:x1] = np.clip((radius * form - np.hypot(u, v)) / edge + 0.5, 0, 1)
    return out


def stroke(rng, shape, points, width):
    """A line of so many pixels' width along points, fading at its ends, sometimes broken."""
    scale = 8
    fine = (points + 0.5) * scale - 0.5
    big = np.zeros((shape[0], shape[1]), np.float32)
    lo = np.maximum(np.floor(points.min(0) - width - 4).astype(int), 0)
    hi = np.minimum(np.ceil(points.max(0) + width + 4).astype(int), [shape[1], shape[0]])
    if (hi <= lo).any():
        return big
    canvas = np.zeros(((hi[1] - lo[1]) * scale, (hi[0] - lo[0]) * scale), np.uint8)
    n = len(points)
    broken = rng.random() < 0.25
    for k in range(n - 1):
        s = k / (n - 2)
        if broken and math.sin(s * 17 + n) > 0.75:
            continue
        here = max(1, round(width * scale * min(1.0, 0.35 + 5 * min(s, 1 - s))))
        a, b = (np.round(q - lo * scale).astype(int) for q in fine[k:k + 2])
        cv2.line(canvas, tuple(map(int, a)), tuple(map(int, b)), 255, here)
    small = cv2.resize(canvas, (hi[0] - lo[0], hi[1] - lo[1]), interpolation=cv2.INTER_AREA)
    big[lo[1]:hi[1], lo[0]:hi[0]] = cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), rng.uniform(0.35, 0.7))
    return big


def path(rng, x, y, length, angle, curve):
    t = np.linspace(-0.5, 0.5, 60)
    u, v = t * length, curve * length * (t * t * 4 - 1) * 0.5 + rng.normal(0, 0.01) * length * np.sin(9 * t)
    return np.stack([x + u * math.cos(angle) - v * math.sin(angle), y + u * math.sin(angle) + v * math.cos(angle)], 1)


def shade(rng, image, on, light):
    """The frame with a hollow where `on` says: dark, black, shaded from one side, or bright."""
    kind = 3 if light == "dark_field" and rng.random() < 0.8 else rng.choice(4, p=[0.5, 0.2, 0.2, 0.1])
    if kind == 0:
        to = image * rng.uniform(0.05, 0.75)
    elif kind == 1:
        to = np.full_like(image, rng.uniform(3, 60)) + rng.normal(0, 4, 3).astype(np.float32)
    elif kind == 2:
        ys, xs = np.nonzero(on > 0.3)
        a, r = rng.uniform(0, 6.3), max(1.0, math.sqrt(len(xs)) / 2)
        yy, xx = np.mgrid[:image.shape[0], :image.shape[1]].astype(np.float32)
        d = ((xx - (xs.mean() if len(xs) else 0)) * math.cos(a) + (yy - (ys.mean() if len(ys) else 0)) * math.sin(a)) / r
        to = image * np.clip(0.6 + 0.5 * d, 0.1, rng.uniform(0.8, 1.5))[..., None]
    else:
        to = image + rng.uniform(0.25, 0.9) * (255 - image)
    return image + on[..., None] * (to - image)


def rim_of(rng, on):
    """A lit edge about one side of a place."""
    gx, gy = cv2.Sobel(on, cv2.CV_32F, 1, 0), cv2.Sobel(on, cv2.CV_32F, 0, 1)
    a = rng.uniform(0, 6.3)
    return np.clip(gx * math.cos(a) + gy * math.sin(a), 0, None) / 4


class Blemish:
    """What is painted: a type of defect, how much of each pixel it covers, a row for the truth, and a painter of one frame."""

    def __init__(self, rng, kind, shape, x, y, mm, metal):
        """mm: of a pixel."""
        self.type, self.row = {"scuff": "scratch"}.get(kind, kind), {}
        self.reach, self.size = 0.0, 0.0
        if kind == "pit":
            d = log_uniform(rng, PIT)
            self.on = cv2.GaussianBlur(blob(rng, shape, x, y, math.pi * (d / mm / 2) ** 2, rng.uniform(0, 0.25), rng.uniform(1, 1.4), rng.uniform(0.6, 1.6)), (0, 0), 0.4)
            self.size, self.reach = d, d / mm / 2
        elif kind == "porosity":
            self.on, places = np.zeros(shape, np.float32), []
            n, spread = int(rng.integers(4, 12)), rng.uniform(0.08, 0.3)
            for _ in range(n):
                q = np.array([x, y]) + rng.normal(0, spread / 2, 2) / mm
                d = log_uniform(rng, PORE)
                self.on = np.maximum(self.on, blob(rng, shape, *q, math.pi * (d / mm / 2) ** 2, 0.1, 1.1, 1.0))
                places.append([float(q[0]), float(q[1]), d / mm / 2])
            self.on, self.size, self.reach = cv2.GaussianBlur(self.on, (0, 0), 0.4), float(n), spread / mm
            self.row["pores_px"] = places
        elif kind in ("scratch", "scuff"):
            n = int(rng.integers(3, 14)) if kind == "scuff" else 1
            length, angle, spread = log_uniform(rng, SCRATCH if n == 1 else (0.3, 1.3)), rng.uniform(0, math.pi), rng.uniform(0.06, 0.25)
            width, turn = log_uniform(rng, WIDTH), rng.uniform(0.02, 0.15)
            self.strokes, paths = [], []
            for _ in range(n):
                q = np.array([x, y]) + (rng.normal(0, spread, 2) / mm if n > 1 else 0)
                p = path(rng, *q, length * (rng.uniform(0.5, 1.1) if n > 1 else 1) / mm, angle + (rng.normal(0, turn) if n > 1 else 0), rng.choice([0, 0, rng.normal(0, 0.2)]))
                self.strokes.append(stroke(rng, shape, p, max(0.8, width / mm * rng.uniform(0.7, 1.3))) * metal)
                paths.append(p)
            self.on, self.size = np.maximum.reduce(self.strokes), length
            self.row["path_px"] = np.concatenate(paths)[::4].tolist()
        else:
            area = log_uniform(rng, AREA)
            self.on = blob(rng, shape, x, y, area / mm / mm, rng.uniform(0.1, 0.5), rng.uniform(1, 2.2), rng.uniform(1, 5)) * metal
            self.size, self.reach = area, math.sqrt(area / math.pi) / mm
            if kind == "stain":
                self.tint = rng.uniform(0.45, 0.92) * np.array([1, rng.uniform(0.85, 1.02), rng.uniform(0.7, 1.05)])
                self.tide = rng.uniform(0, 0.25) * (rng.random() < 0.5)
            else:
                self.tint = np.exp(rng.uniform(0.3, 1) * rng.choice([-1, 1]) * np.array([-0.1, 0.02, 0.38]) + rng.normal(0, 0.03))
                self.tide = 0.0
        self.bright = rng.random() < 0.35

    def paint(self, rng, image, light):
        """The frame with it (float32 RGB)."""
        if self.type in ("pit", "porosity"):
            out = shade(rng, image, self.on, light)
            if rng.random() < 0.4:
                out = out + (rng.uniform(15, 90) * rim_of(rng, self.on))[..., None]
        elif self.type == "scratch":
            out, bright = image, self.bright or light == "dark_field"
            for s in self.strokes:
                k = rng.uniform(0.15, 0.8)
                flip = len(self.strokes) > 1 and rng.random() < 0.2
                out = out + s[..., None] * (k * (255 - out) if bright != flip else -k * out)
                if rng.random() < 0.25:  # one flank lit, the other in the shade
                    out = out + (rng.uniform(20, 70) * (np.roll(s, 1, rng.integers(2)) - s))[..., None]
        else:
            edge = cv2.GaussianBlur(self.on, (0, 0), 2.5)
            out = image * (1 + self.on[..., None] * (self.tint - 1)) * (1 - self.tide * (4 * edge * (1 - edge) * (self.on > 0.2)))[..., None]
        return np.clip(out, 0, 255)


LIMITS = {"pit": ("pit.diameter_mm", 0.1), "porosity": ("porosity.pore_count", 4), "scratch": ("scratch.length_mm", 0.5), "stain": ("stain.area_mm2", 0.1),
          "worn_plating": ("worn_plating.area_mm2", 0.1)}


def paint(rng, folder, out, each):
    """Writes a piece with blemishes; how many."""
    truth = json.load(open(os.path.join(folder, "truth.json")))
    piece = json.load(open(os.path.join(folder, "piece.json")))
    rows = [r for r in piece["frames"] if r["light"] != "backlight"]
    if not rows or any(r.get("burst") for r in rows):
        return 0
    frames = [cv2.imread(os.path.join(folder, r["file"]))[:, :, ::-1].astype(np.float32) for r in rows]
    shape, mm = frames[0].shape[:2], truth["um_per_px"] / 1000
    if any(f.shape[:2] != shape for f in frames):
        return 0
    with open(os.path.join(folder, "spec.toml"), "rb") as f:
        limits = {l["characteristic"]: l.get("upper") for l in tomllib.load(f).get("limit", [])}
    labels = R.labels_of(folder, truth, shape)
    free = ((labels == R.METAL) & ~R.mask_of(folder, "nuisance_mask", shape) & ~R.mask_of(folder, "defect_mask", shape)).astype(np.uint8)
    for edge in (np.s_[:8], np.s_[-8:], np.s_[:, :8], np.s_[:, -8:]):
        free[edge] = 0
    # Where every frame is burnt out nothing can be painted.
    free[np.min([f.min(2) for f in frames], axis=0) > 250] = 0
    metal = ((labels == R.METAL) | (labels == R.MARK)).astype(np.float32)
    room = cv2.distanceTransform(free, cv2.DIST_L2, 5)
    masks, done = {}, 0
    for _ in range(6 * each):
        if done == each or not (room > CLEAR_PX).any():
            break
        ys, xs = np.nonzero(room > CLEAR_PX)
        i = rng.integers(len(xs))
        x, y = float(xs[i]), float(ys[i])
        b = Blemish(rng, rng.choice(list(KINDS), p=list(KINDS.values())), shape, x, y, mm, metal)
        on = b.on > 0.3
        if b.type != "scratch" and room[ys[i], xs[i]] < min(b.reach, 12) or on.sum() < 3 or (on & (metal == 0)).mean() * on.size > 0.1 * on.sum() or (on & (room == 0)).sum() > 0.4 * on.sum():
            continue
        new = [b.paint(rng, f, r["light"]) for f, r in zip(frames, rows)]
        if max(np.abs(n - f)[on].mean() for n, f in zip(new, frames)) < SHOWN:
            continue
        frames = new
        masks[b.type] = masks.get(b.type, np.zeros(shape, bool)) | on
        key, usual = LIMITS[b.type]
        limit = limits.get(key)
        truth["defects"].append({"type": b.type, "x_px": x, "y_px": y, "radius_px": max(b.reach, 2.0), "size": b.size, "painted": True,
                                 "status": "fail" if b.size > (usual if limit is None else limit) else "pass", **b.row})
        room[cv2.dilate(on.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0] = 0
        done += 1
    if not done:
        return 0
    os.makedirs(out, exist_ok=True)
    for name in os.listdir(folder):
        if name not in ("truth.json", "piece.json") and name not in [r["file"] for r in piece["frames"]] and not os.path.exists(os.path.join(out, name)):
            os.symlink(os.path.realpath(os.path.join(folder, name)), os.path.join(out, name))
    for kind, m in masks.items():
        target = os.path.join(out, kind + "_mask.png")
        m |= R.mask_of(folder, kind + "_mask", shape)
        if os.path.islink(target):
            os.remove(target)
        cv2.imwrite(target, m.astype(np.uint8) * 255)
    for r, f in zip(rows, frames):
        r.pop("sha256", None)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444] if r["file"].endswith("jpg") else []
        cv2.imwrite(os.path.join(out, r["file"]), np.round(f).astype(np.uint8)[:, :, ::-1], quality)
    piece["frames"], truth["verdict"] = rows, "fail" if any(d["status"] == "fail" for d in truth["defects"]) else truth["verdict"]
    json.dump(piece, open(os.path.join(out, "piece.json"), "w"), indent=1)
    json.dump(truth, open(os.path.join(out, "truth.json"), "w"))
    return done


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pieces", required=True, nargs="+", metavar="DIR")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, required=True)
    ap.add_argument("--each", type=int, default=4)
    a = ap.parse_args()
    pieces, blemishes = 0, 0
    for root in a.pieces:
        for name in sorted(n for n in os.listdir(root) if os.path.exists(os.path.join(root, n, "truth.json"))):
            folder = os.path.join(root, name)
            target = os.path.join(a.out, f"{os.path.basename(os.path.normpath(root))}-{name}")
            n = paint(np.random.default_rng([a.seed, zlib.crc32(target.encode())]), folder, target, a.each)
            pieces, blemishes = pieces + (n > 0), blemishes + n
    print(f"{pieces} pieces with {blemishes} blemishes in {a.out}")


if __name__ == "__main__":
    main()

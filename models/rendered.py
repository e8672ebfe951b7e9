"""Rendered pieces (datasets/render) as training pictures: what each pixel shows, and places worth looking at."""
import json
import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

# What a pixel can show. The first six are sound; `lint` is dust and fibres, `mark` hairlines, fingerprints and hallmarks.
CLASSES = ["metal", "background", "stone", "prong", "lint", "mark", "pore_pit", "crack_scratch", "stain", "worn_plating", "other_defect"]
METAL, BACKGROUND, STONE, PRONG, LINT, MARK, PORE, CRACK, STAIN, WORN, OTHER = range(11)
SOUND = 6
IGNORE = 255
# Painted in this order: what lies on top comes last.
MASKS = [("metal_mask", METAL), ("stone_mask", STONE), ("prong_mask", PRONG), ("fingerprint_mask", MARK), ("hairline_mask", MARK),
         ("stain_mask", STAIN), ("worn_plating_mask", WORN), ("scratch_mask", CRACK), ("porosity_mask", PORE), ("pit_mask", PORE),
         ("dust_mask", LINT), ("fibre_mask", LINT)]
FAINT = 2.0  # grey levels: a defect that shows less in a frame teaches nothing there


class Frame:
    """One frame of a rendered piece."""
    __slots__ = ("name", "image", "mask", "spots", "um", "light", "kind", "polys")

    def __init__(self, name, image, mask, um, light):
        self.name, self.image, self.mask, self.um, self.light, self.kind, self.polys = name, image, mask, um, light, "rendered", []
        k = np.random.default_rng(0)
        self.spots = {}
        for c in np.unique(mask):
            if c == IGNORE or c == BACKGROUND:
                continue
            ys, xs = np.nonzero(mask == c)
            i = k.permutation(len(ys))[:150]
            self.spots[int(c)] = np.stack([xs[i], ys[i]], 1).astype(np.int32)


def mask_of(folder, name, shape):
    path = os.path.join(folder, name + ".png")
    return cv2.imread(path, 0) > 127 if os.path.exists(path) else np.zeros(shape, bool)


def labels_of(folder, truth, shape):
    """Class of every pixel of a piece's first pose."""
    out = np.full(shape, BACKGROUND, np.uint8)
    for h in truth.get("hallmarks", []):  # letters are ordered, not a defect
        box = cv2.boxPoints(((h["x_px"], h["y_px"]), (h["width_mm"] * 1000 / truth["um_per_px"], h["height_mm"] * 1000 / truth["um_per_px"]), 0.0))
        a = np.deg2rad(-(h["angle_deg"] + truth["pose"]["rotation_deg"]))
        c = np.array([h["x_px"], h["y_px"]])
        R = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        cv2.fillPoly(out, [np.round((box - c) @ R.T + c).astype(np.int32)], MARK)
    marked = out == MARK
    for name, c in MASKS:
        m = mask_of(folder, name, shape)
        out[m & ~marked if c == METAL else m] = c
    return out


def faint_out(image, labels):
    """A frame's labels without the defects that its light does not show: their pixels teach nothing."""
    out = labels.copy()
    grey = image.mean(2)
    for c in (PORE, CRACK, STAIN, WORN):
        n, lab, st, _ = cv2.connectedComponentsWithStats((labels == c).astype(np.uint8), connectivity=8)
        for k in range(1, n):
            x, y, w, h, _ = st[k]
            g = 8
            win = (slice(max(0, y - g), y + h + g), slice(max(0, x - g), x + w + g))
            inside, around = lab[win] == k, labels[win] == METAL
            if around.sum() < 12:
                continue
            chroma = [image[win].astype(np.float32)[..., 0] - image[win].astype(np.float32)[..., 2]]
            shown = 0.0
            for p in [grey[win]] + chroma:
                ring = p[around]
                shown = max(shown, float(np.quantile(np.abs(p[inside] - np.median(ring)), 0.8)) - 0.8 * float(np.std(ring)))
            if shown < FAINT:
                out[win][inside] = IGNORE
    return out


def read(folder):
    """The frames of a piece; of a burst the first."""
    truth = json.load(open(os.path.join(folder, "truth.json")))
    rows = json.load(open(os.path.join(folder, "piece.json")))["frames"]
    if any(r.get("burst") for r in rows):
        rows = rows[:1]
    base, out = None, []
    for r in rows:
        if r["light"] == "backlight":
            continue
        image = cv2.imread(os.path.join(folder, r["file"]))[:, :, ::-1].copy()
        if base is None:
            base = labels_of(folder, truth, image.shape[:2])
        out.append(Frame(f"{os.path.basename(folder)}/{r['file']}", image, faint_out(image, base), truth["um_per_px"], r["light"]))
    return out


def load(root, held=False):
    """The frames of a folder's pieces that training uses (or, with `held`, of those it leaves out)."""
    names = sorted(n for n in os.listdir(root) if os.path.exists(os.path.join(root, n, "truth.json")) and held_out(n) == held)
    with ThreadPoolExecutor() as pool:
        return [f for piece in pool.map(read, (os.path.join(root, n) for n in names)) for f in piece]


def held_out(name):
    """Whether training leaves a piece out (every fifth of a kind): what the weights of `fit_opinion.py` are fitted on."""
    return int(name.rsplit("-", 1)[1]) % 5 == 0

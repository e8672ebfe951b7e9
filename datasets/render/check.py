#!/usr/bin/env python3
"""Checks rendered folders: do masks, sizes, places and the verdict agree?

  check.py DIR...      folders of pieces, or of such folders; exits with 1 if anything is wrong
"""
import json
import math
import sys
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation

import defects as D


def near(a, b, tol):
    return abs(a - b) <= tol


def piece(folder):
    """The mistakes in one folder, as lines."""
    bad = []
    try:
        doc = json.loads((folder / "piece.json").read_text())
        truth = json.loads((folder / "truth.json").read_text())
        spec = tomllib.loads((folder / doc["spec"]).read_text())
    except (OSError, ValueError, KeyError) as e:
        return [f"cannot be read: {e}"]
    if doc.get("schema") != "loupe.piece/1" or doc.get("piece_id") != folder.name:
        bad.append("piece.json: wrong schema or piece_id")
    sizes = set()
    for f in doc["frames"]:
        try:
            with Image.open(folder / f["file"]) as im:
                im.load()
                sizes.add(im.size)
        except OSError as e:
            bad.append(f"{f['file']}: {e}")
        if f["um_per_px"] != truth["um_per_px"]:
            bad.append(f"{f['file']}: scale differs from the truth's")
    if len(sizes) != 1:
        return bad + [f"frames of different sizes: {sizes}"]
    W, H = sizes.pop()
    mm = truth["um_per_px"] / 1000
    mask = {}
    for p in folder.glob("*_mask.png"):
        m = np.asarray(Image.open(p))
        mask[p.stem] = m > 127
        if m.shape != (H, W) or not set(np.unique(m)) <= {0, 255}:
            bad.append(f"{p.name}: not a mask of the frame")
    for k in ("metal_mask", "stone_mask", "prong_mask", "defect_mask", "nuisance_mask"):
        if k not in mask:
            return bad + [f"{k}.png is missing"]
    if (mask["metal_mask"] & mask["stone_mask"]).any():
        bad.append("metal and stone masks overlap")
    yy, xx = np.mgrid[0:H, 0:W]

    def disc(x, y, r):
        return np.hypot(xx - x, yy - y) <= r
    # defects
    limits = {r["characteristic"]: r for r in spec.get("limit", [])}
    union = np.zeros((H, W), bool)
    for d in truth["defects"]:
        t = d["type"]
        own = mask.get(f"{t}_mask")
        if own is None:
            bad.append(f"{t}: no mask")
            continue
        union |= own
        x, y, r = d["x_px"], d["y_px"], d["radius_px"]
        if not near(d["x_mm"], (x - (W - 1) / 2) * mm, 1e-6) or not near(d["y_mm"], ((H - 1) / 2 - y) * mm, 1e-6) or not near(d["radius_mm"], r * mm, 1e-6):
            bad.append(f"{t}: mm and pixels disagree")
        here = own & disc(x, y, 1.15 * r + 3)
        area = here.sum()
        if not area:
            bad.append(f"{t}: its mask is empty where the truth puts it")
            continue
        cx, cy = xx[here].mean(), yy[here].mean()
        if t != "chipped_stone" and math.hypot(cx - x, cy - y) > 0.6 * r + 2:
            bad.append(f"{t}: the mask's centre ({cx:.1f}, {cy:.1f}) is not at ({x:.1f}, {y:.1f})")
        alone = sum(q["type"] == t for q in truth["defects"]) == 1
        if t == "chipped_stone" and not (own & disc(d["chip_x_px"], d["chip_y_px"], max(0.7 * r, 4))).any():
            bad.append("chipped_stone: the mask does not lie at the break")
        if t == "pit":
            want = math.pi * r * r
            if abs(area - want) > 0.15 * want + 2.5 * math.pi * r:
                bad.append(f"pit: mask of {area} px, the size asks for {want:.0f}")
        elif t == "porosity":
            want = sum(math.pi * q[2] ** 2 for q in d["pores_px"])
            if d["pore_count"] != len(d["pores_px"]) or abs(area - want) > 0.2 * want + sum(3 * q[2] for q in d["pores_px"]):
                bad.append(f"porosity: mask of {area} px, the pores ask for {want:.0f}")
        elif t == "scratch":
            p = np.array(d["path_px"])
            long_ = np.hypot(*np.diff(p, axis=0).T).sum() * mm
            want = d["length_mm"] * max(d["width_mm"], mm) / mm**2
            if not near(long_, d["length_mm"], 0.04 * d["length_mm"] + mm) or not near(r * mm, d["length_mm"] / 2, 1e-6):
                bad.append("scratch: path and length disagree")
            if abs(area - want) > 0.25 * want + 12:
                bad.append(f"scratch: mask of {area} px, the size asks for {want:.0f}")
        elif t in ("stain", "worn_plating"):
            want = d["area_mm2"] / mm**2
            if abs(area - want) > 0.12 * want + 6 * math.sqrt(want):
                bad.append(f"{t}: mask of {area} px, the area asks for {want:.0f}")
        elif t == "incomplete_fill" and alone and not near(d["deviation_mm"] / mm, own.sum() / max(r, 1) / 1.4, d["deviation_mm"] / mm + 3):
            bad.append("incomplete_fill: mask and depth disagree")
        elif t == "missing_stone":
            s = next(q for q in truth["stones"] if q["id"] == d["stone"])
            if not s["missing"] or (mask["stone_mask"] & own).sum() > 0.1 * own.sum():
                bad.append("missing_stone: a stone is there")
        elif t in ("offset_stone", "tilted_stone"):
            s = next(q for q in truth["stones"] if q["id"] == d["stone"])
            key = "offset_mm" if t == "offset_stone" else "tilt_deg"
            if not near(s[key], d[key], 1e-6):
                bad.append(f"{t}: {key} differs between stone and defect")
        elif t == "loose_stone":
            s = next(q for q in truth["stones"] if q["id"] == d["stone"])
            m = np.array(s["moves_mm"])
            far = max(math.hypot(*(a - b)) for a in m for b in m)
            if not near(far, d["play_mm"], 1e-6):
                bad.append("loose_stone: play and moves disagree")
            if len({f.get("burst") for f in doc["frames"]}) != 1 or len(doc["frames"]) < 2:
                bad.append("loose_stone: no burst of frames")
        if D.status(d, limits) != d["status"]:
            bad.append(f"{t}: status {d['status']} does not follow from its size and the limits")
    if (union != mask["defect_mask"]).any():
        bad.append("defect_mask is not the union of the classes")
    for k in mask:
        t = k[:-5]
        if t in D.TYPES and t not in {d["type"] for d in truth["defects"]}:
            bad.append(f"{k}.png without such a defect")
    fails = any(d["status"] == "fail" for d in truth["defects"])
    if truth["verdict"] != ("fail" if fails else "pass"):
        bad.append(f"verdict {truth['verdict']} does not follow from the defects")
    # stones
    named = {d.get("stone") for d in truth["defects"]}
    design = spec["view"][0].get("stone", [])
    if len(truth["stones"]) < len(design):
        bad.append("stones are missing from the truth")
    every = np.zeros((H, W), bool)
    for s in truth["stones"]:
        r = s["diameter_mm"] / mm / 2
        x, y = s["x_px"], s["y_px"]
        every |= disc(x, y, 2.6 * r)
        if not (r < x < W - r and r < y < H - r) or s["missing"]:
            continue
        share = mask["stone_mask"][disc(x, y, 0.6 * r)].mean()
        if share < 0.8:
            bad.append(f"stone {s['id']}: the mask shows only {share:.0%} of its middle")
        if s["id"] not in named and s["offset_mm"] > limits.get("stone.offset_mm", {}).get("upper", 9):
            bad.append(f"stone {s['id']}: out of limits but no defect")
        if s["cut"] == "round" and s["id"] not in named:
            m = mask["stone_mask"] & disc(x, y, 1.03 * r)
            solid = binary_dilation(mask["prong_mask"], iterations=2)
            lost = (disc(x, y, 0.93 * r) & ~m & ~solid).sum() / (math.pi * r * r)
            if lost > 0.12 and truth["setting"] == "prong":
                bad.append(f"stone {s['id']}: the mask lacks {lost:.0%} of it")
    if (mask["stone_mask"] & ~every).any():
        bad.append("stone mask where the truth has no stone")
    for q in truth["not_defects"]:
        if "x_px" in q and q["area_px"] and q["radius_px"] > 1:
            if not (mask["nuisance_mask"] & disc(q["x_px"], q["y_px"], 1.3 * q["radius_px"] + 3)).any():
                bad.append(f"{q['type']}: not in the nuisance mask")
    return bad


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    folders = []
    for a in map(Path, sys.argv[1:]):
        folders += [a] if (a / "piece.json").exists() else sorted(p.parent for p in a.glob("*/piece.json") if not p.parent.name.startswith("."))
    if not folders:
        sys.exit("no pieces found")
    wrong = 0
    for f in folders:
        rows = piece(f)
        wrong += bool(rows)
        for r in rows:
            print(f"{f.name}: {r}")
    print(f"{len(folders)} pieces, {wrong} with mistakes")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

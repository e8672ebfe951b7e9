#!/usr/bin/env python3
"""Fits how much the surface model's word weighs beside classic vision's, and writes the weights into the model file.

  fit_opinion.py --model models/surface.onnx --loupe target/release/loupe --pieces DIR

DIR holds rendered pieces (datasets/render); of those only every fifth of a kind is used, which training leaves out. Each is
inspected with the model as it is, without weights. Every place that the program asks the model about (LOUPE_LOG=debug tells
them) is held against the pieces' masks: on a defect, or on sound metal, dust, a fibre, a mark. A logistic regression per shape
(ridge) then gives the probability that a place is a defect; five-fold cross-validation over pieces prints how well. The two
thresholds of a shape are chosen on the cross-validated probabilities: `sound_SHAPE` so that at most --escape of the defects
over their limit lie below, `defect_SHAPE` so that at most --overkill of the sound ones lie above. For stones, classic vision's log odds and
the model's are put together in the same way, on all pieces of DIR.
"""
import argparse, json, os, re, subprocess, sys, tempfile

import cv2
import numpy as np
import onnx

import rendered as R
from stamp import restamp

SUREST = 0.9  # the probability from which a place stands in any case
SUREST_SMALL = 0.97  # the same of a spot of a few pixels: of 165 good pieces 4 had a speck of dust above 0.9, 2 above this
SHAPES = ("spot", "small_spot", "line", "patch", "alone_spot", "alone_line", "alone_patch")


# What each input may do: a defect is never likelier for looking more like lint, a mark or metal, nor less for looking more
# like a defect. The constant, the standout and the size may do either.
SIGNS = (0, 1, -1, -1, -1, 0, 0)


def fit_signed(x, y, ridge):
    """Weights of the signs that SIGNS allows: an input that would have the wrong one is left out."""
    keep = list(range(x.shape[1]))
    while True:
        w = np.zeros(x.shape[1])
        w[keep] = fit(x[:, keep], y, ridge)
        wrong = [k for k in keep if w[k] * SIGNS[k] < 0]
        if not wrong:
            return w
        keep.remove(max(wrong, key=lambda k: abs(w[k])))


def fit(x, y, ridge, each=1.0):
    """Newton's method; the constant is not shrunk."""
    w = np.zeros(x.shape[1])
    reg = ridge * np.ones(x.shape[1])
    reg[0] = 1e-3
    for _ in range(60):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        g = x.T @ (each * (p - y)) + reg * w
        h = (x * (each * p * (1 - p))[:, None]).T @ x + np.diag(reg)
        step = np.linalg.solve(h, g)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    return w


def on_defect(mask, f):
    """Whether a place lies on a labelled defect; None where that is not to be judged."""
    m = np.zeros(mask.shape, np.uint8)
    if len(f["outline"]) > 2:
        cv2.fillPoly(m, [np.round(np.array(f["outline"])).astype(np.int32)], 1)
    else:
        cv2.circle(m, (round(f["x"]), round(f["y"])), max(1, round(f["radius"])), 1, -1)
    grown = mask[cv2.dilate(m, np.ones((3, 3), np.uint8)) > 0]
    if not len(grown) or (grown == R.IGNORE).mean() > 0.1:
        return None
    bad = ((grown >= R.SOUND) & (grown != R.IGNORE)).mean()
    if bad > 0.02 and ((grown == R.LINT) | (grown == R.MARK)).mean() > 0.5 * bad:
        return None  # both: dust on a stain, a fibre across a scratch
    return True if bad > 0.12 else False if bad < 0.02 else None


def is_due(truth, f):
    """Whether a place reaches a defect that is over its limit."""
    for d in truth["defects"]:
        if d["status"] == "fail" and "x_px" in d:
            path = np.array(d.get("path_px") or d.get("pores_px") or [[d["x_px"], d["y_px"]]], float)
            reach = f["radius"] + (3.0 if len(path) > 1 else d["radius_px"])
            if np.hypot(path[:, 0] - f["x"], path[:, 1] - f["y"]).min() < reach:
                return True
    return False


def collect(a):
    """Rows of (piece, shape, inputs, is a defect, is one over its limit, where) and of stones (piece, classic, model, is there), read off the program's log."""
    rows, stones = [], []
    names = sorted(n for n in os.listdir(a.pieces) if os.path.exists(os.path.join(a.pieces, n, "truth.json")))
    held = [n for n in names if a.all or R.held_out(n)]
    for n in names:  # stones off all of them: too few are missing
        folder = os.path.join(a.pieces, n)
        truth = json.load(open(os.path.join(folder, "truth.json")))
        frames = json.load(open(os.path.join(folder, "piece.json")))["frames"]
        if any(r.get("burst") for r in frames):
            continue
        with tempfile.TemporaryDirectory() as out:
            run = subprocess.run([a.loupe, "inspect", folder, "--out", out, "--no-overlay", "--quiet", "--model", a.plain],
                                 env={**os.environ, "LOUPE_LOG": "loupe=debug", "NO_COLOR": "1"}, stderr=subprocess.PIPE, text=True)
        if run.returncode > 1:
            sys.exit(run.stderr[-2000:])
        masks, base = {}, None
        for fr in frames if n in held else []:
            image = cv2.imread(os.path.join(folder, fr["file"]))[:, :, ::-1]
            if base is None:
                base = R.labels_of(folder, truth, image.shape[:2])
                # A place of another finish is a defect that the map has no class for.
                other = R.mask_of(folder, "wrong_finish_mask", base.shape).astype(np.uint8)
                base[cv2.dilate(other, np.ones((9, 9), np.uint8)) > 0] = R.IGNORE
            masks[fr["file"]] = R.faint_out(image, base)
        gone = {s["id"] for s in truth["stones"] if s["missing"]}
        for line in run.stderr.splitlines():
            if masks and " opinion {" in line:
                f = json.loads(line[line.index(" opinion {") + 9:])
                bad = on_defect(masks[f["file"]], f)
                if bad is not None:
                    rows.append((n, f["shape"], f["inputs"], bad, bad and is_due(truth, f), f"{n} {f['x']:.0f},{f['y']:.0f}"))
            m = re.search(r"stone (\S+) of .*: classic (-?[\d.]+), model (-?[\d.]+)", line)
            if m:
                stones.append((n, float(m[2]), float(m[3]), m[1] not in gone))
    return rows, stones, held


def crossed(x, y, groups, ridge, each=None, folds=5):
    p = np.zeros(len(y))
    which = np.array([hash_of(g) % folds for g in groups])
    for k in range(folds):
        t = which != k
        w = fit_signed(x[t], y[t], ridge) if each is None else fit(x[t], y[t], ridge, each[t])
        p[~t] = 1 / (1 + np.exp(-np.clip(x[~t] @ w, -30, 30)))
    return p


def hash_of(s):
    import zlib
    return zlib.crc32(s.encode())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--loupe", required=True)
    ap.add_argument("--pieces", required=True)
    ap.add_argument("--all", action="store_true", help="use every piece of DIR, not only those that training leaves out")
    ap.add_argument("--least", type=int, default=8, help="fewest defects and fewest sound places that weights are fitted on")
    ap.add_argument("--ridge", type=float, default=1.0)
    ap.add_argument("--alone", type=float, default=0.35, help="probability from which the model alone proposes a region on a located piece")
    ap.add_argument("--escape", type=float, default=0.01)
    ap.add_argument("--overkill", type=float, default=0.003)
    ap.add_argument("--list", action="store_true", help="print the places that the thresholds rule wrongly")
    a = ap.parse_args()
    model = onnx.load(a.model)
    meta = {p.key: p.value for p in model.metadata_props}
    thr = {k: v for k, v in json.loads(meta["loupe.thresholds"]).items() if not k.startswith(("sound_", "defect_"))}

    def store(weights, thresholds, path):
        keep = {**meta, "loupe.thresholds": json.dumps(thresholds)}
        keep.pop("loupe.opinion", None)
        if weights:
            keep["loupe.opinion"] = json.dumps(weights)
        restamp(model, keep, path)

    thr["alone"] = a.alone
    a.plain = a.model + ".plain"
    store(None, thr, a.plain)
    rows, stones, held = collect(a)
    os.remove(a.plain)
    print(f"{len(held)} pieces, {len(rows)} places, {len(stones)} stones")
    weights = {}

    def one(key, x, y, groups, due, where):
        p = crossed(x, y, groups, a.ridge)
        weights[key] = [round(float(v), 4) for v in fit_signed(x, y, a.ridge)]
        pos, neg = p[y > 0], p[y == 0]
        auc = float(((pos[:, None] > neg[None]) + 0.5 * (pos[:, None] == neg[None])).mean())
        low = float(min(np.quantile(p[due] if due.any() else pos, a.escape), 0.3))
        high = float(np.clip(np.quantile(neg, 1 - a.overkill), low, SUREST_SMALL if key == "small_spot" else SUREST))
        print(f"{key}: {len(pos)} defects, {len(neg)} sound; cross-validated AUROC {auc:.4f}; weights {weights[key]}")
        print(f"  below {low:.4f} sound, up to {high:.3f} doubtful: of the defects {int((pos < low).sum())} sound "
              f"({int((p[due] < low).sum())} of {int(due.sum())} over their limit), "
              f"{int(((pos >= low) & (pos < high)).sum())} doubtful; of the sound {int((neg < low).sum())} sound, "
              f"{int(((neg >= low) & (neg < high)).sum())} doubtful, {int((neg >= high).sum())} stand")
        print("  from a probability on: sound that stand, defects that stand: "
              + "; ".join(f"{q:g}: {int((neg >= q).sum())}, {int((pos >= q).sum())}" for q in (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)))
        for k in np.nonzero((y > 0) & (p < low) & due | (y == 0) & (p >= high))[0] if a.list else []:
            print(f"    {p[k]:.3f} {'defect' if y[k] else 'sound'} {where[k]} {np.round(x[k], 2).tolist()}")
        return low, high

    for shape in SHAPES:
        k = [r for r in rows if r[1] == shape]
        x, y = np.array([r[2] for r in k]).reshape(-1, 7), np.array([r[3] for r in k], float)
        if min(y.sum(), len(y) - y.sum()) < a.least:
            if not shape.startswith("alone_"):
                sys.exit(f"{shape}: {int(y.sum())} defects and {int(len(y) - y.sum())} sound places are too few; render more pieces")
            # Too little to tell: what classic vision's places taught, which are seen more surely.
            print(f"{shape}: {int(y.sum())} defects, {int(len(y) - y.sum())} sound: too few, it takes the weights of {shape[6:]}")
            thr["sound_" + shape] = thr["sound_" + shape[6:]]
            thr["defect_" + shape] = 1.0  # and a person decides
            weights[shape] = weights[shape[6:]]
            continue
        low, high = one(shape, x, y, [r[0] for r in k], np.array([r[4] for r in k], bool), [r[5] for r in k])
        thr["sound_" + shape], thr["defect_" + shape] = round(low, 4), round(high, 3)
    y = np.array([s[3] for s in stones], float)
    if len(y) and (y == 0).sum() >= 3:
        x = np.array([[1.0, np.clip(s[1], -8, 8), s[2]] for s in stones])
        # Few are missing, and to miss one is the worse mistake: both kinds weigh the same.
        each = np.where(y > 0, 0.5 * len(y) / y.sum(), 0.5 * len(y) / (y == 0).sum())
        p = crossed(x, y, [s[0] for s in stones], a.ridge, each)
        weights["stone"] = [round(float(v), 4) for v in fit(x, y, a.ridge, each)]
        print(f"stone: {int(y.sum())} there, {int((y == 0).sum())} missing; cross-validated: {int((p[y > 0] < 0.5).sum())} called missing, "
              f"{int((p[y == 0] >= 0.5).sum())} called there (classic vision alone: {int((x[y > 0, 1] < 0).sum())}, "
              f"{int((x[y == 0, 1] >= 0).sum())}); weights {weights['stone']}")
    store(weights, thr, a.model)


if __name__ == "__main__":
    main()

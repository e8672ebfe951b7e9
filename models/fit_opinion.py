#!/usr/bin/env python3
"""Fits how much the surface model's word weighs beside classic vision's, and writes the weights into the model file.

  fit_opinion.py --model models/surface.onnx --loupe target/release/loupe --pieces DIR...

A DIR holds rendered pieces (datasets/render); of those only every fifth of a kind is used, which training leaves out (--all: every one). Each is
inspected with the model as it is, without weights. Every place that the program asks the model about (LOUPE_LOG=debug tells
them) is held against the pieces' masks: on a defect, or on sound metal, dust, a fibre, a mark. Gradient-boosted trees per shape, grown on what the
model shows there and on how the place looks against the metal about it, then give the probability that a place is a defect; where a shape has few
places, a logistic regression (ridge) on what the model shows. Five-fold cross-validation over pieces prints how well. The two
thresholds of a shape are chosen on the cross-validated probabilities: `sound_SHAPE` so that at most --escape of the defects
over their limit lie below, `defect_SHAPE` so that at most --overkill of the good pieces have a sound place above. For stones, classic vision's log odds and
the model's are put together by a logistic regression, on all pieces.
"""
import argparse, json, os, re, subprocess, sys, tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # trees of four leaves: threads that wait for each other cost ten times what they save
import cv2
import numpy as np
import onnx

import rendered as R
from sklearn.ensemble import HistGradientBoostingClassifier
from stamp import restamp

SUREST = 0.99  # the probability from which a place stands in any case
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


# What the trees are shown, in the program's order (`src/model/forest.rs`).
INPUTS = ("defect lint mark metal standout size map_defect map_lint map_mark map_metal patch line elsewhere map_patch map_line core edge halo darkest brightest "
          "core_red core_green core_light red green light darkest_red darkest_light brightest_red brightest_light saturation metal_level scatter own_colour "
          "spread edge_spread steep sharp one_sided radius half_width grain bare ended metal_ended").split()
RISING = [{"defect": 1, "lint": -1, "mark": -1, "metal": -1}.get(n.removeprefix("map_"), 0) for n in INPUTS]
BAGS, SHARE = 8, 0.7  # so many times on that share of the pieces
TREES = dict(max_iter=200, learning_rate=0.06, max_leaf_nodes=4, min_samples_leaf=8, l2_regularization=2.0, max_features=0.3, early_stopping=False)


class Forest:
    """Bagged gradient-boosted trees."""

    def __init__(self, x, y, groups):
        names, self.bags = np.unique(groups), []
        for b in range(BAGS):
            take = np.isin(groups, np.random.default_rng(b).permutation(names)[: round(SHARE * len(names))])
            m = HistGradientBoostingClassifier(monotonic_cst=RISING, random_state=b, **TREES)
            self.bags.append(m.fit(x[take], y[take]))

    def as_json(self):
        """Log odds as the program adds them up: a base and trees, whose nodes are [input, threshold, left, right] or a leaf."""
        def node(n):
            value = float(f"{n['value'] / BAGS:.4g}")
            return [value] if n["is_leaf"] else [int(n["feature_idx"]), float(f"{n['num_threshold']:.6g}"), int(n["left"]), int(n["right"])]
        trees = [[node(n) for n in t[0].nodes] for m in self.bags for t in m._predictors]
        return {"base": round(sum(float(m._baseline_prediction[0, 0]) for m in self.bags) / BAGS, 5), "trees": trees}

    def log_odds(self, x):
        return sum(m.decision_function(x) for m in self.bags) / BAGS


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
        if d.get("status") == "fail" and "x_px" in d and reaches(d, f):
            return True
    return False


def reaches(d, f):
    """Whether a place reaches a defect of the truth."""
    path = np.array(d.get("path_px") or d.get("pores_px") or [[d["x_px"], d["y_px"]]], float)[:, :2]
    return np.hypot(path[:, 0] - f["x"], path[:, 1] - f["y"]).min() < f["radius"] + (3.0 if len(path) > 1 else d["radius_px"])


def collect(a, root):
    """Places of a folder's pieces (a row of the program's log each, with its piece, whether it is a defect, whether one over its limit) and stones (piece, classic, model, is there)."""
    rows, stones, held = [], [], []
    for name in sorted(n for n in os.listdir(root) if os.path.exists(os.path.join(root, n, "truth.json"))):  # stones off all of them: too few are missing
        folder, n = os.path.join(root, name), f"{os.path.basename(root)}/{name}"
        used = a.all or R.held_out(n)
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
        good = not any(d.get("status") == "fail" for d in truth["defects"])
        if used:
            held.append((n, good))
        for fr in frames if used else []:
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
                    rows.append({"piece": n, "shape": f["shape"], "inputs": f["inputs"], "seen": f["seen"], "defect": bool(bad), "good": good,
                                 "due": bool(bad and is_due(truth, f)),
                                 "painted": any(d.get("painted") and reaches(d, f) for d in truth["defects"]), "where": f"{n} {f['file']} {f['x']:.0f},{f['y']:.0f}"})
            m = re.search(r"stone (\S+) of .*: classic (-?[\d.]+), model (-?[\d.]+)", line)
            if m:
                stones.append((n, float(m[2]), float(m[3]), m[1] not in gone))
    return rows, stones, held


def crossed(groups, log_odds, folds=5):
    """Cross-validated probabilities: `log_odds` is given the rows to fit on and, to answer for, the others."""
    p = np.zeros(len(groups))
    which = np.array([hash_of(g) % folds for g in groups])
    for k in range(folds):
        if (which == k).any():
            p[which == k] = 1 / (1 + np.exp(-np.clip(log_odds(which != k, which == k), -30, 30)))
    return p


def auroc(pos, neg):
    return float(((pos[:, None] > neg[None]) + 0.5 * (pos[:, None] == neg[None])).mean())


def hash_of(s):
    import zlib
    return zlib.crc32(s.encode())


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--loupe", required=True)
    ap.add_argument("--pieces", required=True, nargs="+", metavar="DIR")
    ap.add_argument("--all", action="store_true", help="use every piece, not only those that training leaves out")
    ap.add_argument("--rows", help="a file that keeps a folder's places from one run to the next (FILE.FOLDER)")
    ap.add_argument("--least", type=int, default=8, help="fewest defects and fewest sound places that weights are fitted on")
    ap.add_argument("--many", type=int, default=60, help="fewest defects and fewest sound places that trees are grown on")
    ap.add_argument("--ridge", type=float, default=1.0)
    ap.add_argument("--alone", type=float, default=0.35, help="probability from which the model alone proposes a region on a located piece")
    ap.add_argument("--escape", type=float, default=0.01)
    ap.add_argument("--overkill", type=float, default=0.003, help="share of good pieces that one shape's places may fail")
    ap.add_argument("--keep-stones", action="store_true", help="leave as it is how stones are weighed")
    ap.add_argument("--list", action="store_true", help="print the places that the thresholds rule wrongly")
    a = ap.parse_args()
    model = onnx.load(a.model)
    meta = {p.key: p.value for p in model.metadata_props}
    thr = {k: v for k, v in json.loads(meta["loupe.thresholds"]).items() if not k.startswith(("sound_", "defect_"))}

    def store(weights, forests, thresholds, path):
        keep = {**meta, "loupe.thresholds": json.dumps(thresholds)}
        keep.pop("loupe.opinion", None)
        keep.pop("loupe.forest", None)
        if weights:
            keep["loupe.opinion"] = json.dumps(weights)
        if forests:
            keep["loupe.forest"] = json.dumps({"inputs": INPUTS, "shapes": forests}, separators=(",", ":"))
        restamp(model, keep, path)

    thr["alone"] = a.alone
    a.plain = a.model + ".plain"
    store(None, None, thr, a.plain)
    rows, stones, held = [], [], []
    for root in a.pieces:
        kept = f"{a.rows}.{os.path.basename(os.path.normpath(root))}" if a.rows else None
        if kept and os.path.exists(kept):
            got = json.load(open(kept))
        else:
            got = collect(a, os.path.normpath(root))
            if kept:
                json.dump(got, open(kept, "w"))
        for all_, new in zip((rows, stones, held), got):
            all_ += new
    os.remove(a.plain)
    good = sum(g for _, g in held)
    print(f"{len(held)} pieces, {good} of them good, {len(rows)} places, {len(stones)} stones")
    weights, forests = {}, {}

    def one(key, x, seen, y, groups, due, on_good, where):
        few = min(y.sum(), len(y) - y.sum()) < a.many
        p = crossed(groups, lambda t, of: x[of] @ fit_signed(x[t], y[t], a.ridge))
        plain = auroc(p[y > 0], p[y == 0])
        weights[key] = [round(float(v), 4) for v in fit_signed(x, y, a.ridge)]
        if not few:
            p = crossed(groups, lambda t, of: Forest(seen[t], y[t], groups[t]).log_odds(seen[of]))
            forests[key] = Forest(seen, y, groups).as_json()
        pos, neg = p[y > 0], p[y == 0]
        low = float(min(np.quantile(p[due] if due.any() else pos, a.escape), 0.3))
        # The surest sound place of each good piece; so many of them may stand.
        surest = {}
        for g, v, k in zip(groups, p, on_good & (y == 0)):
            if k:
                surest[g] = max(v, surest.get(g, 0.0))
        surest = sorted(surest.values(), reverse=True) + [0.0]
        high = float(np.clip(surest[min(int(a.overkill * good), len(surest) - 1)], max(low, 0.8), SUREST))
        if few:
            high = 1.0  # too few to tell how seldom a sound one looks so: a person decides
        print(f"{key}: {len(pos)} defects, {len(neg)} sound; cross-validated AUROC {auroc(pos, neg):.4f}" + ("" if few else f" (without trees {plain:.4f})") + f"; weights {weights[key]}")
        print(f"  below {low:.4f} sound, up to {high:.3f} doubtful: of the defects {int((pos < low).sum())} sound "
              f"({int((p[due] < low).sum())} of {int(due.sum())} over their limit), "
              f"{int(((pos >= low) & (pos < high)).sum())} doubtful; of the sound {int((neg < low).sum())} sound, "
              f"{int(((neg >= low) & (neg < high)).sum())} doubtful, {int((neg >= high).sum())} stand")
        print("  from a probability on: good pieces with a sound place that stands, defects over their limit that stand: "
              + "; ".join(f"{q:g}: {sum(v >= q for v in surest)}, {int((p[due] >= q).sum())}" for q in (0.8, 0.9, 0.95, 0.97, 0.98, 0.99)))
        for k in np.nonzero((y > 0) & (p < low) & due | (y == 0) & (p >= high))[0] if a.list else []:
            print(f"    {p[k]:.3f} {'defect' if y[k] else 'sound'} {where[k]} {np.round(x[k], 2).tolist()}")
        return low, high

    for shape in SHAPES:
        k = [r for r in rows if r["shape"] == shape]
        x, y = np.array([r["inputs"] for r in k]).reshape(-1, 7), np.array([r["defect"] for r in k], float)
        if min(y.sum(), len(y) - y.sum()) < a.least:
            if not shape.startswith("alone_"):
                sys.exit(f"{shape}: {int(y.sum())} defects and {int(len(y) - y.sum())} sound places are too few; render more pieces")
            # Too little to tell: what classic vision's places taught, which are seen more surely.
            print(f"{shape}: {int(y.sum())} defects, {int(len(y) - y.sum())} sound: too few, it takes the weights of {shape[6:]}")
            thr["sound_" + shape] = thr["sound_" + shape[6:]]
            thr["defect_" + shape] = 1.0  # and a person decides
            weights[shape] = weights[shape[6:]]
            continue
        of = lambda key: np.array([r[key] for r in k])
        low, high = one(shape, x, of("seen"), y, of("piece"), of("due"), of("good"), of("where"))
        thr["sound_" + shape], thr["defect_" + shape] = round(low, 4), round(high, 4)
    y = np.array([s[3] for s in stones], float)
    if a.keep_stones:
        weights["stone"] = json.loads(meta["loupe.opinion"])["stone"]
    elif len(y) and (y == 0).sum() >= 3:
        x = np.array([[1.0, np.clip(s[1], -8, 8), s[2]] for s in stones])
        # Few are missing, and to miss one is the worse mistake: both kinds weigh the same.
        each = np.where(y > 0, 0.5 * len(y) / y.sum(), 0.5 * len(y) / (y == 0).sum())
        p = crossed([s[0] for s in stones], lambda t, of: x[of] @ fit(x[t], y[t], a.ridge, each[t]))
        weights["stone"] = [round(float(v), 4) for v in fit(x, y, a.ridge, each)]
        print(f"stone: {int(y.sum())} there, {int((y == 0).sum())} missing; cross-validated: {int((p[y > 0] < 0.5).sum())} called missing, "
              f"{int((p[y == 0] >= 0.5).sum())} called there (classic vision alone: {int((x[y > 0, 1] < 0).sum())}, "
              f"{int((x[y == 0, 1] >= 0).sum())}); weights {weights['stone']}")
    store(weights, forests, thr, a.model)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Goes on with the trees of the second opinion on defects in looks that no renderer has, and writes them into the model file.

  blemishes.py --pieces DIR... --out PAINTED --seed S
  widen_opinion.py --model models/surface.onnx --loupe target/release/loupe --pieces DIR... --painted PAINTED...

Places are collected as in `fit_opinion.py`, of the pieces as they were rendered and of those painted on. Of each shape that classic vision sees, boosting goes on from KEEP of the log odds of the
model's trees (LightGBM, monotonic as those are): what rendered defects taught stays, and what is new has its say. Five-fold cross-validation over pieces prints how well. A place is sound below the
probability that PAINTED of the painted defects over their limit lie below, or RENDERED of the rendered ones, whichever is less; one stands from
where OVERKILL of the good pieces have a surer sound place.
What the model alone saw keeps its trees.
"""
import argparse
import json
import os
import types

import lightgbm
import numpy as np
import onnx

import fit_opinion as F
from stamp import restamp

SHAPES = ("spot", "small_spot", "line", "patch")
KEEP = 0.5  # of the log odds that the trees so far say
TREES = 250
WEIGHT = 4.0  # of a rendered defect's place: there are thirty times as many painted ones
PAINTED, RENDERED, MOST = 0.01, 0.03, 0.3
OVERKILL = 0.01  # share of good pieces of which a sound place may stand, by one shape
LEAST = 0.9  # from which a place may stand
SETTINGS = dict(objective="binary", num_leaves=6, learning_rate=0.05, min_data_in_leaf=20, lambda_l2=4, feature_fraction=0.4, bagging_fraction=0.7, bagging_freq=1,
                monotone_constraints=F.RISING, monotone_constraints_method="basic", verbose=-1, num_threads=1, deterministic=True, seed=3)


def say(forest, x):
    """What trees as the model file has them say of rows."""
    out = np.full(len(x), forest["base"])
    for tree in forest["trees"]:
        at = np.zeros(len(x), int)
        for i, n in enumerate(tree):  # children stand behind their parents
            here = at == i
            if len(n) == 1:
                out[here] += n[0]
            else:
                at[here] = np.where(x[here, n[0]] <= n[1], n[2], n[3])
    return out


def grown(model):
    """The trees of a LightGBM model as the model file has them."""
    def flat(node, out):
        i = len(out)
        out.append(None)
        if "leaf_value" in node:
            out[i] = [float(f"{node['leaf_value']:.4g}")]
        else:
            a = flat(node["left_child"], out)
            b = flat(node["right_child"], out)
            out[i] = [node["split_feature"], float(f"{node['threshold']:.9g}"), a, b]
        return i

    trees = []
    for t in model.dump_model()["tree_info"]:
        trees.append([])
        flat(t["tree_structure"], trees[-1])
    return trees


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--loupe", required=True)
    ap.add_argument("--pieces", required=True, nargs="+", metavar="DIR")
    ap.add_argument("--painted", required=True, nargs="+", metavar="DIR")
    ap.add_argument("--rows", help="a file that keeps a folder's places from one run to the next (FILE.FOLDER)")
    ap.add_argument("--version", help="the model's new version")
    a = ap.parse_args()
    model = onnx.load(a.model)
    meta = {p.key: p.value for p in model.metadata_props}
    thr, forests = json.loads(meta["loupe.thresholds"]), json.loads(meta["loupe.forest"])
    assert tuple(forests["inputs"]) == tuple(F.INPUTS)
    plain = a.model + ".plain"
    bare = {k: v for k, v in meta.items() if k not in ("loupe.opinion", "loupe.forest")}
    restamp(onnx.load(a.model), {**bare, "loupe.thresholds": json.dumps({k: v for k, v in thr.items() if not k.startswith(("sound_", "defect_"))})}, plain)
    rows = []
    for painted, root in [(False, r) for r in a.pieces] + [(True, r) for r in a.painted]:
        root = os.path.normpath(root)
        kept = f"{a.rows}.{os.path.basename(os.path.dirname(root))}-{os.path.basename(root)}" if a.rows else None
        if kept and os.path.exists(kept):
            got = json.load(open(kept))
        else:
            got, _, _ = F.collect(types.SimpleNamespace(all=True, loupe=a.loupe, plain=plain), root)
            if kept:
                json.dump(got, open(kept, "w"))
        # A painted piece has its folder in its name (`blemishes.py`): it is held out with the piece that it was.
        rows += [{**r, "piece": r["piece"].split("/", 1)[1] if painted else r["piece"].replace("/", "-", 1), "copy": painted} for r in got]
    os.remove(plain)
    for shape in SHAPES:
        k = [r for r in rows if r["shape"] == shape]
        of = lambda key: np.array([r[key] for r in k])
        x, y, groups = of("seen"), of("defect").astype(float), of("piece")
        painted, due, copy, good = of("painted"), of("due"), of("copy"), of("good")
        so_far = say(forests["shapes"][shape], x)
        weight = np.where((y > 0) & ~painted, WEIGHT, 1.0)
        grow = lambda t: lightgbm.train(SETTINGS, lightgbm.Dataset(x[t], y[t], weight=weight[t], init_score=KEEP * so_far[t]), num_boost_round=TREES)
        p = F.crossed(groups, lambda t, out: KEEP * so_far[out] + grow(t).predict(x[out], raw_score=True))
        own, new, none = (y > 0) & ~painted & ~copy & due, (y > 0) & painted & due, y == 0
        low = min(np.quantile(p[new], PAINTED), np.quantile(p[own], RENDERED), MOST)
        surest = {}
        for g, v in zip(groups[none & good & ~copy], p[none & good & ~copy]):
            surest[g] = max(v, surest.get(g, 0.0))
        surest = sorted(surest.values(), reverse=True)[int(OVERKILL * len(surest))]
        high = float(np.clip(surest, max(low, LEAST), F.SUREST))
        before = 1 / (1 + np.exp(-so_far))
        was = thr["sound_" + shape], thr["defect_" + shape]
        print(f"{shape}: {int(new.sum())} painted and {int(own.sum())} rendered defects over their limit, {int(none.sum())} sound places")
        print(f"  AUROC, before and cross-validated now: painted {F.auroc(before[new], before[none]):.4f}, {F.auroc(p[new], p[none]):.4f}; rendered {F.auroc(before[own], before[none]):.4f}, {F.auroc(p[own], p[none]):.4f}")
        for name, q, (lo, hi) in (("before", before, was), ("now", p, (low, high))):
            count = lambda which: f"{int((q[which] < lo).sum())}, {int(((q[which] >= lo) & (q[which] < hi)).sum())}, {int((q[which] >= hi).sum())}"
            print(f"  {name}, sound below {lo:.4f}, standing from {hi:.4f}: sound places {count(none)}; painted {count(new)}; rendered {count(own)}")
        last = forests["shapes"][shape]
        halved = [[n if len(n) > 1 else [float(f"{KEEP * n[0]:.4g}")] for n in t] for t in last["trees"]]
        new_trees = grow(np.ones(len(k), bool))
        forests["shapes"][shape] = {"base": round(KEEP * last["base"], 5), "trees": halved + grown(new_trees)}
        off = np.abs(say(forests["shapes"][shape], x[:200]) - KEEP * so_far[:200] - new_trees.predict(x[:200], raw_score=True)).max()
        print(f"  {len(forests['shapes'][shape]['trees'])} trees; as written they differ from those grown by {off:.3f} at most")
        thr["sound_" + shape], thr["defect_" + shape] = round(float(low), 4), round(high, 4)
    meta.update({"loupe.thresholds": json.dumps(thr), "loupe.forest": json.dumps(forests, separators=(",", ":"))})
    if a.version:
        meta["loupe.version"] = a.version
    restamp(model, meta, a.model)


if __name__ == "__main__":
    main()

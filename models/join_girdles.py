#!/usr/bin/env python3
"""Joins two models of girdles: the mean of their weights, the thresholds of chips carried over.

    python models/join_girdles.py models/girdles.onnx target/train/more.onnx --share 0.4 --pieces DIR [DIR ...] --out models/girdles.onnx

The second has gone on from the first (train_girdles.py --start) with other pieces. --share is how much of it the mean has. What the log odds of a chip
mean moves with the weights: each of the first one's thresholds becomes the log odds that as many whole stones of --pieces (such as neither has
learned on) lie below. Where chips are then missed less often, as is printed, nothing is lost. The deviations' scales stay the first one's.
"""
import argparse, json, os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import onnx
from onnx import numpy_helper

import parts
from stamp import stamp
import train_girdles as girdles
from train_stones import load


def mean(first, second, share):
    """The first model with the mean of both weights; with a share of 1 the second, which may have another form, with the first one's metadata."""
    if share == 1:
        out = onnx.load(second)
        stamp(out, {p.key: p.value for p in onnx.load(first).metadata_props})
        return out
    out, other = onnx.load(first), onnx.load(second)
    weights = {t.name: numpy_helper.to_array(t) for t in other.graph.initializer}
    for t in out.graph.initializer:
        w = numpy_helper.to_array(t)
        if w.dtype == np.float32:
            t.CopyFrom(numpy_helper.from_array(((1 - share) * w + share * weights[t.name]).astype(np.float32), t.name))
    of = {p.key: p.value for p in other.metadata_props}
    for p in out.metadata_props:
        if p.key in ("loupe.kappa", "loupe.slope_kappa"):
            p.value = str(round((1 - share) * float(p.value) + share * float(of[p.key]), 5))
    return out


def chips(path, frames, patches, window, least):
    """Log odds of a chip of every look, and whether it is judged, chipped, and how deep."""
    session = parts.opened(path)[2]
    y, _, _, _, _, known, *_ = girdles.answers(lambda x: session.run(None, {"strip": x})[0], frames, patches, 2)
    return girdles.together(girdles.chip_score(y), np.tile(window, 2), least), known


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("first")
    ap.add_argument("second")
    ap.add_argument("--share", type=float, default=0.4)
    ap.add_argument("--pieces", nargs="+", required=True)
    ap.add_argument("--stones", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "stones.onnx"))
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    frames, halves = load("stones", a.pieces)
    patches = girdles.known(frames, sum(halves, []), False)
    window = girdles.window_says(a.stones, frames, patches)[:, 9]
    odds = json.loads(parts.opened(a.first)[1]["loupe.chip_odds"])
    before, known = chips(a.first, frames, patches, window, odds.get("window_least"))
    joined = mean(a.first, a.second, a.share)
    onnx.save(joined, a.out + ".part")
    now, _ = chips(a.out + ".part", frames, patches, window, girdles.WINDOW_LEAST)
    judged, chipped, depth = known[:, 0] > 0, known[:, 1] > 0, known[:, 2]
    whole = judged & ~chipped
    carried = lambda t: round(float(np.quantile(now[whole], np.mean(before[whole] < t))), 3)
    for p in joined.metadata_props:
        if p.key == "loupe.chip_odds":
            # What only a whole stone in thousands exceeds these pieces cannot tell: it rises with what one in five hundred exceeds.
            up = float(np.quantile(now[whole], 0.998) - np.quantile(before[whole], 0.998))
            new = {**odds, "sure": round(odds["sure"] + max(up, 0.0), 3), "window_least": girdles.WINDOW_LEAST, "maybe": carried(odds["maybe"]), **{k: [[carried(t), d] for t, d in odds[k]] for k in ("unseen", "unseen_px")}}
            p.value = json.dumps(new)
        elif p.key == "loupe.version":
            p.value = girdles.VERSION
        elif p.key == "loupe.trained_on":
            p.value = "rendered pieces (datasets/render, girdles.toml, lips.toml, small.toml, breaks.toml)"
    os.remove(a.out + ".part")
    onnx.save(joined, a.out)
    print(f"{whole.sum()} looks at whole stones, {(judged & chipped).sum()} at chipped ones; sure from {odds['sure']} (now {new['sure']}) on: "
          f"{(before[whole] > odds['sure']).sum()} and {(now[whole] > new['sure']).sum()} of the whole, {(before[judged & chipped] > odds['sure']).sum()} and {(now[judged & chipped] > new['sure']).sum()} of the chipped")
    for (old, d), (t, _) in zip(odds["unseen"], new["unseen"]):
        q = judged & chipped & (depth >= d)
        print(f"  chips of {d} widths and more: {100 * np.mean(before[whole] < old):.0f} % of the whole stones had none by log odds below {old}, {100 * np.mean(now[whole] < t):.0f} % have below {t}, "
              f"as had {100 * np.mean(before[q] < old):.0f} % of {q.sum()} chipped ones and have {100 * np.mean(now[q] < t):.0f} %")


if __name__ == "__main__":
    main()

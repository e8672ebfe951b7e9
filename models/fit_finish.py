#!/usr/bin/env python3
"""Learns which finish a piece's metal shows, from what the program itself describes it by, and writes models/finish.json.

  fit_finish.py --loupe target/release/loupe --train DIR... --test DIR... [--out models/finish.json]

The DIRs hold rendered pieces (datasets/render). `loupe finish-rows` describes each frame's bare metal, all of it and block by
block; spec.toml and truth.json say which finish it has, and where a piece has a region of another, its mask. Every fifth
piece of a kind is left out of training. A small network (one hidden layer, tanh, the mean of a few) learns on the rest: a
frame counts once as a whole and once as its blocks together. Five-fold cross-validation over the pieces of the training part
sets the thresholds: `accept`, `reject` and `block`. Then the figures of the fifth that was left out and of --test are
printed. Same rows and seed: same file.
"""
import argparse, csv, json, os, subprocess, sys, tempfile, tomllib, zlib

import cv2
import numpy as np
import torch

import rendered as R

FINISHES = ["polished", "brushed", "matte", "florentine"]
HEAD = 9  # columns before the values


class Piece:
    """What a folder's truth says of its finish."""
    cache = {}

    def __init__(self, folder):
        spec = tomllib.load(open(os.path.join(folder, "spec.toml"), "rb"))
        truth = json.load(open(os.path.join(folder, "truth.json")))
        self.ordered = FINISHES.index(spec["finish"])
        other = [d for d in truth["defects"] if d["type"] == "wrong_finish"]
        self.other = FINISHES.index(other[0]["finish_seen"]) if other else None
        self.share = other[0]["finish_share"] if other else 1.0
        mask = os.path.join(folder, "wrong_finish_mask.png")
        self.mask = cv2.imread(mask, 0) > 127 if other and os.path.exists(mask) else None

    @classmethod
    def of(cls, folder):
        if folder not in cls.cache:
            cls.cache[folder] = cls(folder)
        return cls.cache[folder]

    def whole(self):
        return self.ordered if self.share > 0.995 else self.other if self.share < 0.02 else None

    def at(self, x, y, side):
        if self.mask is None:
            return self.whole()
        h = side / 2
        part = self.mask[max(0, round(y - h)):round(y + h) + 1, max(0, round(x - h)):round(x + h) + 1]
        share = part.mean() if part.size else 0.5
        return self.ordered if share < 0.03 else self.other if share > 0.97 else None


class Rows:
    """The rows of some folders: values, labels, and which frame and piece each belongs to."""

    def __init__(self, path):
        self.names, X, self.label, self.frame, self.piece, self.is_whole, self.at, self.light = None, [], [], [], [], [], [], []
        self.direction = []
        with open(path, newline="") as f:
            reader = csv.reader(f)
            self.names = next(reader)[HEAD:]
            last = None
            for row in reader:
                folder, file, light = row[:3]
                x, y, side = map(float, row[4:7])
                key = folder + "/" + file
                p = Piece.of(folder)
                whole = key != last
                last = key
                label = p.whole() if whole else p.at(x, y, side)
                X.append(np.array(row[HEAD:], np.float32))
                self.label.append(-1 if label is None else label)
                self.frame.append(key), self.piece.append(folder), self.is_whole.append(whole)
                self.at.append((x, y, side)), self.light.append(light)
        self.X = np.array(X, np.float32).reshape(len(X), -1)
        for k in ("label", "frame", "piece", "is_whole", "at", "light"):
            setattr(self, k, np.array(getattr(self, k)))
        self.held = np.array([R.held_out(os.path.basename(p)) for p in self.piece], bool)
        self.ordered = np.array([Piece.of(p).ordered for p in self.piece], int)

    def part(self, k):
        out = Rows.__new__(Rows)
        out.names = self.names
        for name in ("X", "label", "frame", "piece", "is_whole", "at", "light", "held", "ordered"):
            setattr(out, name, getattr(self, name)[k])
        return out


def describe(loupe, folders):
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "rows.csv")
        run = subprocess.run([loupe, "finish-rows", *folders, "--out", path], stderr=subprocess.PIPE, text=True)
        if not os.path.exists(path):
            sys.exit(run.stderr[-2000:])
        return Rows(path)


def weights_of(rows):
    """A frame counts once as a whole and once as its blocks; kinds of finish by the root of how rare they are."""
    w = np.zeros(len(rows.label))
    for f in np.unique(rows.frame):
        k = rows.frame == f
        for part in (k & rows.is_whole, k & ~rows.is_whole):
            part &= rows.label >= 0
            if part.any():
                w[part] = 1.0 / part.sum()
    total = np.array([w[rows.label == c].sum() for c in range(len(FINISHES))]) + 1e-9
    return w * np.sqrt(total.mean() / total)[np.maximum(rows.label, 0)]


def learn(rows, a, seed):
    mean, scale = rows.X.mean(0), rows.X.std(0) + 1e-3
    k = rows.label >= 0
    Z = torch.tensor(np.clip((rows.X[k] - mean) / scale, -4, 4))
    y = torch.tensor(rows.label[k])
    w = torch.tensor(weights_of(rows)[k], dtype=torch.float32)
    nets = []
    for n in range(a.nets):
        torch.manual_seed(seed + n)
        net = torch.nn.Sequential(torch.nn.Dropout(0.1), torch.nn.Linear(Z.shape[1], a.hidden), torch.nn.Tanh(), torch.nn.Dropout(0.3),
                                  torch.nn.Linear(a.hidden, len(FINISHES)))
        opt = torch.optim.AdamW(net.parameters(), a.rate, weight_decay=a.decay)
        rng = np.random.default_rng(seed + n)
        p = (w / w.sum()).numpy().astype(np.float64)
        p /= p.sum()
        net.train()
        for step in range(a.steps):
            for g in opt.param_groups:
                g["lr"] = a.rate * (1 - step / a.steps)
            i = torch.tensor(rng.choice(len(p), a.batch, p=p))
            opt.zero_grad()
            torch.nn.functional.cross_entropy(net(Z[i]), y[i]).backward()
            opt.step()
        net.eval()
        nets.append(net)
    return mean, scale, nets


def answer(model, X):
    mean, scale, nets = model
    Z = torch.tensor(np.clip((X - mean) / scale, -4, 4))
    with torch.no_grad():
        return np.mean([torch.softmax(n(Z), 1).double().numpy() for n in nets], 0)


def regions(rows, P, of, block):
    """Blocks of a frame that show one other finish side by side: whether there are two or more."""
    for f in np.unique(P[of].argmax(1)):
        k = [i for i in of if f != rows.ordered[i] and P[i, f] >= block]
        for n, i in enumerate(k):
            for j in k[:n]:
                d = np.abs(rows.at[i][:2] - rows.at[j][:2]) / rows.at[i][2]
                if abs(d.sum() - 1) < 0.1:
                    return True
    return False


def wilson(k, n, z=1.96):
    if n == 0:
        return "-"
    p = k / n
    c, h = (p + z * z / 2 / n) / (1 + z * z / n), z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    return f"{k} of {n} = {100 * p:.1f} % [{100 * max(0, c - h):.1f}, {100 * min(1, c + h):.1f}]"


def figures(title, rows, P, t):
    w = rows.is_whole & (rows.label >= 0)
    y, p = rows.label[w], P[w]
    n = len(y)
    print(f"\n{title}: {n} frames of {len(set(rows.piece[w]))} pieces")
    print("  told right: " + wilson(int((p.argmax(1) == y).sum()), n))
    own = p[np.arange(n), y]
    sure = p.max(1) >= t["accept"]
    print("  of those it is sure of: " + wilson(int((p.argmax(1) == y)[sure].sum()), int(sure.sum())))
    print("  ordered as it is: accepted " + wilson(int((own >= t["accept"]).sum()), n) + "; called wrong " + wilson(int((own < t["reject"]).sum()), n))
    others = np.array([p[i, j] for i in range(n) for j in range(len(FINISHES)) if j != y[i]])
    print("  ordered as one of the three others: accepted " + wilson(int((others >= t["accept"]).sum()), len(others))
          + "; called wrong " + wilson(int((others < t["reject"]).sum()), len(others)))
    print("  seen as     " + "".join(f"{f:>12}" for f in FINISHES))
    for c, f in enumerate(FINISHES):
        print(f"  {f:<12}" + "".join(f"{int(((y == c) & (p.argmax(1) == k)).sum()):>12}" for k in range(len(FINISHES))))
    lights = rows.light[w]
    for l in sorted(set(lights)):
        k = lights == l
        print(f"  {l}: told right " + wilson(int((p.argmax(1) == y)[k].sum()), int(k.sum())) + f", sure {int(sure[k].sum())}")
    good = [f for f in np.unique(rows.frame[w]) if rows.label[w][rows.frame[w] == f][0] == rows.ordered[w][rows.frame[w] == f][0]]
    bad = sum(regions(rows, P, np.nonzero((rows.frame == f) & ~rows.is_whole)[0], t["block"]) for f in good
              if ((rows.frame == f) & ~rows.is_whole).any())
    print("  frames of one finish with a region called another: " + wilson(int(bad), len(good)))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--loupe", default="target/release/loupe")
    ap.add_argument("--train", nargs="+", required=True)
    ap.add_argument("--test", nargs="*", default=[])
    ap.add_argument("--out", default="models/finish.json")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--nets", type=int, default=4)
    ap.add_argument("--hidden", type=int, default=24)
    ap.add_argument("--steps", type=int, default=1500)
    ap.add_argument("--batch", type=int, default=256)
    ap.add_argument("--rate", type=float, default=4e-3)
    ap.add_argument("--decay", type=float, default=0.3)
    ap.add_argument("--wrong", type=float, default=0.003, help="share of orders of another finish that may be accepted")
    ap.add_argument("--good", type=float, default=0.003, help="share of good frames that may be called wrong")
    ap.add_argument("--patchy", type=float, default=0.005, help="share of frames of one finish that may show a region of another")
    a = ap.parse_args()
    torch.set_num_threads(1)
    rows = describe(a.loupe, a.train)
    fit, held = rows.part(~rows.held), rows.part(rows.held)
    fold = np.array([zlib.crc32("/".join(p.split("/")[-2:]).encode()) % 5 for p in fit.piece])
    P = np.zeros((len(fit.label), len(FINISHES)))
    for k in range(5):
        if (fold == k).any():
            P[fold == k] = answer(learn(fit.part(fold != k), a, a.seed), fit.X[fold == k])
    w = fit.is_whole & (fit.label >= 0)
    y, p = fit.label[w], P[w]
    n = len(y)
    own = np.sort(p[np.arange(n), y])
    others = np.sort([p[i, j] for i in range(n) for j in range(len(FINISHES)) if j != y[i]])[::-1]
    t = {"accept": float(max(others[int(a.wrong * len(others))] + 1e-4, 0.8)),
         "reject": float(min(own[int(a.good * n)], 0.2))}
    good = [np.nonzero((fit.frame == f) & ~fit.is_whole)[0] for f in np.unique(fit.frame[w & (fit.label == fit.ordered)])]
    good = [g for g in good if len(g)]
    for block in (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999):
        t["block"] = block
        if sum(regions(fit, P, g, block) for g in good) <= a.patchy * len(good):
            break
    t = {k: round(v, 5) for k, v in t.items()}
    print("thresholds", t)
    figures("cross-validated", fit, P, t)
    model = learn(fit, a, a.seed)
    figures("left out", held, answer(model, held.X), t)
    for d in a.test:
        other = describe(a.loupe, [d])
        figures(os.path.basename(d.rstrip("/")), other, answer(model, other.X), t)
    flat = lambda m: [[round(float(v), 4) for v in r] for r in m]
    nets = [{"hidden": flat(n[1].weight), "hidden_bias": flat([n[1].bias])[0], "out": flat(n[4].weight), "out_bias": flat([n[4].bias])[0]}
            for n in model[2]]
    out = {"finishes": FINISHES, "names": rows.names, "mean": [round(float(v), 5) for v in model[0]],
           "scale": [round(float(v), 5) for v in model[1]], "nets": nets, **t}
    with open(a.out + ".tmp", "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")
    os.replace(a.out + ".tmp", a.out)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Train, measure and export the model of finishes (models/finish.onnx): which finish the metal shows, as a whole and place by place.

    python models/train_finish.py --pieces DIR [DIR ...] --out models/finish.onnx
    python models/train_finish.py --pieces DIR [DIR ...] --test DIR [DIR ...] --measure models/finish.onnx
    python models/train_finish.py --pieces DIR [DIR ...] --calibrate models/finish.onnx

DIR holds rendered pieces (datasets/render; finish.toml is the mix made for this). Every fifth piece of a kind is left out of training: on
those the thresholds are set and the figures printed; --test prints those of other pieces, all of them. --calibrate sets the thresholds of a
model anew, on all of the pieces given: such as it has not learned on. Goes on from the last checkpoint
(--fresh starts anew).

The model is shown a frame at UM_PER_PX micrometres a pixel (a coarser one as it is), cell by cell (CELL pixels) how much of it is
metal that no stone or prong covers, and which of LIGHTS it was taken under (none of them: a light that it does not know). It says of each cell
which finish it shows, and of the frame as a whole what the cells with metal say together.

The pictures to learn on are made on the device that learns, out of frames that lie there whole.
"""
import glob, json, math, os, tomllib
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import parts
import rendered
from stamp import restamp
from looks import bilinear, lit
from train_stones import Residual, block

FINISHES = ["polished", "brushed", "matte", "florentine"]
UM_PER_PX, CELL, SIDE = 12.0, 16, 320  # SIDE: of a training picture, in pixels
VERSION = "3.0.0"
LIGHTS = ["dome", "ring", "bars", "coaxial", "dark_field", "diffuse"]
UNNAMED = 0.15  # share of the training pictures whose light is not named
# Share of orders of another finish that may be accepted, of good frames that may be called wrong, of frames of one finish that may show a
# region of another, and of those that may be left to a person because they look uneven.
SHARES = {"accept": 0.01, "reject": 0.003, "patch": 0.002, "even": 0.15}
LEAST_SURE = 0.001  # a finish that is called wrong is at most so likely to be the ordered one, however few of the pieces here are less likely
LEAST_CELLS = 12  # a region of another finish: 12 cells of 0.19 mm are 0.44 mm2
ERODE = 2  # pixels that the metal is drawn in by: what lies at its borders mirrors other things


class Frame:
    """A frame at the model's scale. whole: the finish of all of it, -1 where it shows two; wrong: where it shows the other one, 0 to 255."""
    __slots__ = ("name", "piece", "light", "ordered", "image", "metal", "other", "wrong", "whole", "um")


def read(job):
    folder, row, truth = job
    f = Frame()
    f.name, f.piece, f.light = f"{os.path.basename(folder)}/{row['file']}", folder, row["light"]
    image = cv2.imread(os.path.join(folder, row["file"]))
    shape = image.shape[:2]
    k = min(1.0, truth["um_per_px"] / UM_PER_PX)
    size = (max(CELL, round(shape[1] * k)), max(CELL, round(shape[0] * k)))
    shrink = lambda x: cv2.resize(x, size, interpolation=cv2.INTER_AREA) if k < 1 else x
    f.um = truth["um_per_px"] / k
    f.image = shrink(image)
    bare = rendered.mask_of(folder, "metal_mask", shape) & ~rendered.mask_of(folder, "stone_mask", shape) & ~rendered.mask_of(folder, "prong_mask", shape)
    f.metal = (shrink(bare.astype(np.uint8) * 255) > 250).astype(np.uint8)
    f.ordered = FINISHES.index(tomllib.load(open(os.path.join(folder, "spec.toml"), "rb"))["finish"])
    f.wrong, f.other, f.whole = None, None, f.ordered
    for d in truth["defects"]:
        if d["type"] == "wrong_finish":
            f.other = FINISHES.index(d["finish_seen"])
            f.wrong = shrink(rendered.mask_of(folder, "wrong_finish_mask", shape).astype(np.uint8) * 255)
            share = d["finish_share"]
            f.whole = f.ordered if share > 0.995 else f.other if share < 0.02 else -1
    return f


def load(folders, held=None):
    """Frames of pieces that training uses (held: false), leaves out (true), or all; of a burst the first."""
    jobs = []
    for root in folders:
        for path in sorted(glob.glob(os.path.join(root, "*", "truth.json"))):
            folder = os.path.dirname(path)
            if held is not None and rendered.held_out(os.path.basename(folder)) != held:
                continue
            rows = json.load(open(os.path.join(folder, "piece.json")))["frames"]
            rows = rows[:1] if any(r.get("burst") for r in rows) else rows
            truth = json.load(open(path))
            jobs += [(folder, r, truth) for r in rows if r["light"] != "backlight"]
    with ThreadPoolExecutor() as pool:
        return [f for f in pool.map(read, jobs) if f.metal.sum() > 40 * CELL * CELL]


def cells(mask):
    """Mean of each cell of a picture whose sides are whole cells, 0 to 1."""
    h, w = mask.shape
    return mask.reshape(h // CELL, CELL, w // CELL, CELL).mean((1, 3), dtype=np.float32)


def light_of(f):
    return np.array([f.light == name for name in LIGHTS], np.float32)


class Examples:
    """Training pictures of random frames: batch `step`. The frames lie on the device as one run of pixels each of four bytes (blue, green, red, where
    the other finish shows), and beside them how far each pixel lies within the metal (255: so far or farther)."""

    def __init__(self, frames, seed, batch, device):
        self.seed, self.batch, self.device = seed, batch, device
        # Rare finishes by the root of how rare they are; two finishes side by side more often, the light that shows a finish as it comes.
        n = np.bincount([f.ordered if f.other is None else f.other for f in frames], minlength=len(FINISHES)) + 1
        put = lambda v, kind=torch.float32: torch.tensor(np.array(v), dtype=kind, device=device)
        self.p = put([1 / math.sqrt(n[f.ordered if f.other is None else f.other]) * (1.5 if f.whole < 0 else 1.0) for f in frames])
        size = [f.metal.size for f in frames]
        first = np.cumsum([0, *size])
        self.pixels = torch.empty((first[-1], 4), dtype=torch.uint8, device=device)
        self.within = torch.empty(first[-1], dtype=torch.uint8, device=device)
        self.spots = torch.empty((len(frames), 256, 2), device=device)
        rng = np.random.default_rng(0)
        for k, f in enumerate(frames):
            wrong = np.zeros(f.metal.shape, np.uint8) if f.wrong is None else f.wrong
            here = slice(first[k], first[k + 1])
            self.pixels[here] = torch.from_numpy(np.dstack([f.image, wrong]).reshape(-1, 4)).to(device)
            within = np.minimum(cv2.distanceTransform(f.metal, cv2.DIST_L1, 3), 255)  # the picture's end is none of the metal's
            self.within[here] = torch.from_numpy(within.astype(np.uint8).ravel()).to(device)
            ys, xs = np.nonzero(f.metal)
            some = rng.integers(len(xs), size=256)
            self.spots[k] = torch.from_numpy(np.stack([xs[some], ys[some]], 1)).float().to(device)
        self.pixels = self.pixels.view(torch.int32)[:, 0]
        self.first, self.width, self.height = put(first[:-1], torch.int64), put([f.metal.shape[1] for f in frames], torch.int64), put([f.metal.shape[0] for f in frames], torch.int64)
        self.ordered, self.other = put([f.ordered for f in frames], torch.int64), put([f.ordered if f.other is None else f.other for f in frames], torch.int64)
        self.whole, self.partly = put([f.whole for f in frames], torch.int64), put([f.wrong is not None for f in frames], torch.bool)
        self.light = put([light_of(f) for f in frames])

    def __getitem__(self, step):
        """Pictures [n, 3, SIDE, SIDE] RGB, their metal [n, 1, c, c], their lights, labels of cells [n, c, c] (-1 unknown) and of the whole."""
        g = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        n = self.batch
        uniform = lambda *shape: torch.rand(shape or (n,), generator=g, device=self.device)
        normal = lambda *shape: torch.randn(shape or (n,), generator=g, device=self.device)
        i = torch.multinomial(self.p, n, True, generator=g)
        a, k = 2 * math.pi * uniform(), torch.exp(0.24 * uniform() - 0.12)  # pixels of the frame to one of the picture
        flip = torch.where(uniform() < 0.5, -1.0, 1.0)
        spot = self.spots[i, (uniform() * 256).long().clamp(max=255)] + 0.6 * SIDE * (uniform(n, 2) - 0.5)
        q = torch.arange(SIDE, device=self.device) - (SIDE - 1) / 2
        col, row = q[None, None, :], q[None, :, None]
        c, s, flip = (k * a.cos())[:, None, None], (k * a.sin())[:, None, None], flip[:, None, None]
        x = spot[:, 0, None, None] + flip * (c * col - s * row)
        y = spot[:, 1, None, None] + s * col + c * row
        w, h, o = (v[i][:, None, None] for v in (self.width, self.height, self.first))
        inside = (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)
        mirrored = lambda v, m: (m - 1.001) - ((v.abs() % (2 * (m - 1.001))) - (m - 1.001)).abs()  # beyond the frame its reflection
        x, y = mirrored(x, w), mirrored(y, h)
        x0, y0 = x.floor().long(), y.floor().long()
        fx, fy = x - x0, y - y0
        seen = bilinear(self.pixels, o + y0 * w + x0, w, fx, fy)
        drawn_in = torch.randint(0, 4, (n, 1, 1), generator=g, device=self.device)
        metal = ((self.within[o + y.round().long().minimum(h - 1) * w + x.round().long().minimum(w - 1)] > drawn_in) & inside).float()[:, None]
        m = F.avg_pool2d(metal, CELL)
        share = F.avg_pool2d(torch.where(inside[:, None], seen[:, 3:], 0.0), CELL)[:, 0] / 255
        ordered, other, partly = self.ordered[i][:, None, None], self.other[i][:, None, None], self.partly[i][:, None, None]
        label = torch.where(partly & (share > 0.9), other, torch.where(partly & (share > 0.1), -1, ordered))
        wrong = (share * m[:, 0]).sum((1, 2)) / m.sum((1, 2, 3)).clamp(min=1e-3)
        whole = torch.where(self.partly[i], torch.where(wrong < 0.01, self.ordered[i], torch.where(wrong > 0.99, self.other[i], -1)), self.whole[i])
        light = self.light[i] * (uniform() >= UNNAMED).float()[:, None]
        return lit(seen[:, [2, 1, 0]], uniform, normal), m, light, label, whole


class FinishNet(nn.Module):
    def __init__(self, w=(16, 40, 64, 96)):
        super().__init__()
        self.body = nn.Sequential(block(3, w[0], 2), block(w[0], w[1], 2), block(w[1], w[2], 2), Residual(w[2]), block(w[2], w[3], 2), Residual(w[3]), Residual(w[3]))
        self.near = nn.Conv2d(w[3], w[3], 1)
        about = 2 * w[3] + len(LIGHTS)
        self.all = nn.Sequential(nn.Linear(about, w[3]), nn.ReLU(inplace=True), nn.Linear(w[3], w[3]))
        self.each = nn.Conv2d(w[3], len(FINISHES) + 1, 1)
        self.whole = nn.Sequential(nn.Linear(about, w[3]), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(w[3], len(FINISHES)))

    def forward(self, image, metal, light):
        x = self.body((image - 127.0) / 64.0)
        total = metal.sum((2, 3)) + 0.1
        mean = (x * metal).sum((2, 3)) / total
        scatter = torch.sqrt((((x - mean[:, :, None, None]) ** 2) * metal).sum((2, 3)) / total + 1e-4)
        about = torch.cat([mean, scatter, light], 1)
        h = F.relu(self.near(x) + self.all(about)[:, :, None, None])
        y = self.each(h)
        said = y[:, : len(FINISHES)]
        trust = torch.sigmoid(y[:, len(FINISHES):]) * metal
        return said, (said * trust).sum((2, 3)) / (trust.sum((2, 3)) + 0.1) + self.whole(about)


def loss_of(y, metal, label, whole):
    said, all_ = y
    each = F.cross_entropy(said, label, ignore_index=-1, reduction="none") * metal[:, 0]
    known = (label >= 0) * metal[:, 0]
    return each.sum() / known.sum().clamp(min=1) + F.cross_entropy(all_, whole, ignore_index=-1)


def shown(f):
    """A frame as the program shows it: whole cells."""
    h, w = (q // CELL * CELL for q in f.image.shape[:2])
    metal = cv2.erode(f.metal[:h, :w], None, iterations=ERODE)
    return np.ascontiguousarray(f.image[:h, :w, ::-1].transpose(2, 0, 1)[None], np.float32), cells(metal)[None, None], light_of(f)[None]


def softmax(z, axis):
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def answers(run, frames, heat=1.0):
    """Of each frame the probabilities of all of it and of its cells, and the cells' metal."""
    out = []
    for f in frames:
        image, metal, light = shown(f)
        said, whole = run(image, metal, light)
        out.append((softmax(whole[0] / heat, 0), softmax(said[0] / heat, 0), metal[0, 0]))
    return out


def regions(p, metal, ordered, least):
    """Cells side by side with at least that probability of one other finish each: the areas (in cells of metal) of those large enough."""
    out = []
    for k in range(len(FINISHES)):
        if k != ordered:
            n, lab = cv2.connectedComponents(((p[k] >= least) & (metal > 0.5)).astype(np.uint8), connectivity=4)
            areas = [metal[lab == i].sum() for i in range(1, n)]
            out += [(k, a) for a in areas if a >= LEAST_CELLS]
    return out


def unevenness(p, metal, ordered):
    """How much the cells differ in what they say against the ordered finish: the standard deviation over the metal of the log odds of the best
    other finish, each the mean of 5 x 5 cells. 0 where too few cells have so much metal about them."""
    odds = np.log(np.maximum(p, 1e-4))
    against = np.delete(odds, ordered, 0).max(0) - odds[ordered]
    blur = lambda x: cv2.blur(np.ascontiguousarray(x, np.float32), (5, 5), borderType=cv2.BORDER_CONSTANT)
    about = blur(metal)
    mean = (blur(against * metal) / np.maximum(about, 1e-3))[about >= 0.5]
    return float(mean.std()) if mean.size >= 5 else 0.0


def said(k, n):
    if n == 0:
        return "-"
    lo, hi = parts.wilson(k, n)
    return f"{k} of {n} = {100 * k / n:.1f} % [{100 * max(0, lo):.1f}, {100 * min(1, hi):.1f}]"


def cost(z, y):
    """Mean negative log likelihood of the finishes y by log odds z."""
    return float(-np.log(np.maximum(softmax(z, 1)[np.arange(len(y)), y], 1e-12)).mean())


def fit_heat(frames, out):
    """What log odds are divided by, so that the probabilities are true on these frames; never sharper than they were learned, for these are of the
    mix that was learned and others are less like it."""
    k = [i for i, f in enumerate(frames) if f.whole >= 0]
    z = np.log(np.maximum(np.array([out[i][0] for i in k]), 1e-12))
    y = np.array([frames[i].whole for i in k])
    return float(min(np.exp(np.linspace(0, 1.5, 31)), key=lambda h: cost(z / h, y)))


def thresholds(frames, out):
    k = [i for i, f in enumerate(frames) if f.whole >= 0]
    p, y = np.array([out[i][0] for i in k]), np.array([frames[i].whole for i in k])
    own = np.sort(p[np.arange(len(y)), y])
    others = np.sort([q[j] for q, t in zip(p, y) for j in range(len(FINISHES)) if j != t])[::-1]
    t = {"accept": float(max(others[int(SHARES["accept"] * len(others))] + 1e-4, 0.8)), "reject": float(min(own[int(SHARES["reject"] * len(own))], LEAST_SURE))}
    t["accept"] = min(t["accept"], 0.999)
    good = [i for i in k if frames[i].whole == frames[i].ordered]
    for least in (0.97, 0.98, 0.99, 0.995, 0.998, 0.999):
        t["patch"] = least
        if sum(bool(regions(out[i][1], out[i][2], frames[i].ordered, least)) for i in good) <= SHARES["patch"] * len(good):
            break
    sure = [unevenness(out[i][1], out[i][2], frames[i].ordered) for i in good if out[i][0][frames[i].ordered] >= t["accept"]]
    t["even"] = float(np.quantile(sure, 1 - SHARES["even"])) if sure else 1.0
    return {n: round(v, 5) for n, v in t.items()}


def figures(title, frames, out, t):
    k = [i for i, f in enumerate(frames) if f.whole >= 0]
    p, y = np.array([out[i][0] for i in k]), np.array([frames[i].whole for i in k])
    light, n = np.array([frames[i].light for i in k]), len(k)
    right, own, sure = p.argmax(1) == y, p[np.arange(n), y], p.max(1) >= t["accept"]
    print(f"{title}: {n} frames that show one finish, {len(frames) - n} that show two")
    print("  told right: " + said(int(right.sum()), n) + "; of those it is sure of: " + said(int(right[sure].sum()), int(sure.sum())))
    print("  ordered as it is: accepted " + said(int((own >= t["accept"]).sum()), n) + "; called wrong " + said(int((own < t["reject"]).sum()), n))
    others = np.array([q[j] for q, a in zip(p, y) for j in range(len(FINISHES)) if j != a])
    print("  ordered as one of the three others: accepted " + said(int((others >= t["accept"]).sum()), len(others)) + "; called wrong " + said(int((others < t["reject"]).sum()), len(others)))
    piece = np.array([frames[i].piece for i in k])
    several = [q for q in (np.nonzero(piece == name)[0] for name in np.unique(piece)) if len(q) > 1]
    if several:
        # As src/inspect/finish.rs puts the frames of a view together.
        both = np.array([softmax(np.log(np.maximum(p[q], 1e-12)).sum(0) / math.sqrt(len(q)), 0) for q in several])
        true = y[[q[0] for q in several]]
        own = both[np.arange(len(true)), true]
        print("  pieces under several lights, their frames together: told right " + said(int((both.argmax(1) == true).sum()), len(true))
              + "; accepted " + said(int((own >= t["accept"]).sum()), len(true)) + "; called wrong " + said(int((own < t["reject"]).sum()), len(true)))
    for c, name in enumerate(FINISHES):
        print(f"  {name:<11} seen as " + "".join(f"{f} {int(((y == c) & (p.argmax(1) == j)).sum())}  " for j, f in enumerate(FINISHES)))
    for l in sorted(set(light)):
        print(f"  {l}: told right " + said(int(right[light == l].sum()), int((light == l).sum())) + f", sure {int(sure[light == l].sum())}")
    found = lambda i: regions(out[i][1], out[i][2], frames[i].ordered, t["patch"])
    good = [i for i in k if frames[i].whole == frames[i].ordered]
    print("  frames of one finish with a region called another: " + said(sum(bool(found(i)) for i in good), len(good)))
    two = [i for i, f in enumerate(frames) if f.whole < 0]
    taken = lambda i: out[i][0][frames[i].ordered] >= t["accept"]
    even = lambda i: unevenness(out[i][1], out[i][2], frames[i].ordered) <= t["even"]
    print("  accepted and even: of one finish, as ordered " + said(sum(taken(i) and even(i) for i in good), len(good))
          + "; with a place of another " + said(sum(taken(i) and even(i) and not found(i) for i in two), len(two)))
    for lo, hi in ((0.05, 0.5), (0.5, 1), (1, 2), (2, 100)):
        some = [i for i in two if lo <= (cells(frames[i].wrong[: out[i][2].shape[0] * CELL, : out[i][2].shape[1] * CELL]) / 255 * out[i][2]).sum() * (CELL * frames[i].um / 1000) ** 2 < hi]
        print(f"  a region of {lo} to {hi} mm2 of another finish seen: " + said(sum(any(q == frames[i].other for q, _ in found(i)) for i in some), len(some)))


def main():
    ap = parts.arguments(__doc__, 4000, 32, 2e-3, 5)
    ap.add_argument("--test", nargs="*", default=[], help="other pieces whose figures are printed, too")
    ap.add_argument("--calibrate", metavar="ONNX", help="set the thresholds of this model anew, and stop")
    a = parts.parsed(ap)
    held = load(a.pieces, None if a.calibrate else True)
    if a.measure or a.calibrate:
        file, meta, session = parts.opened(a.calibrate or a.measure)
        run = lambda image, metal, light: session.run(None, {"image": image, "metal": metal, "light": light})
        if a.calibrate:
            out = answers(run, held)
            t = thresholds(held, out)
            figures("the pieces that the thresholds are set on", held, out, t)
            restamp(file, {**meta, "loupe.thresholds": json.dumps(t)}, a.calibrate)
            print(f"thresholds {t}")
            return
        t = json.loads(meta["loupe.thresholds"])
        figures("left out", held, answers(run, held), t)
        for d in a.test:
            frames = load([d])
            figures(os.path.basename(d.rstrip("/")), frames, answers(run, frames), t)
        return
    train = load(a.pieces, False)
    print(f"{len(train)} frames to learn on, {len(held)} left out; {np.bincount([f.ordered for f in train], minlength=4)} ordered, "
          f"{np.bincount([f.other for f in train if f.other is not None], minlength=4)} wrong", flush=True)
    model, ema = (FinishNet().to(a.device, memory_format=torch.channels_last) for _ in range(2))
    examples = Examples(train, a.seed, a.batch, a.device)
    if a.start:
        parts.begin(model, a.start, examples[a.steps][:3])
    course = parts.Course(a, model, ema, 0.05)

    def run(*given):
        with torch.no_grad():
            return [q.cpu().numpy() for q in ema(*(torch.from_numpy(q).to(a.device) for q in given))]
    while course.past() < 1:
        image, metal, light, label, whole = examples[course.step]
        course.learn(lambda: loss_of(model(image.contiguous(memory_format=torch.channels_last), metal, light), metal, label, whole))
    heat = fit_heat(held, answers(run, held))
    out = answers(run, held, heat)
    t = thresholds(held, out)
    print(f"log odds divided by {heat:.2f}; thresholds {t}")
    figures("left out", held, out, t)
    for d in a.test:
        frames = load([d])
        figures(os.path.basename(d.rstrip("/")), frames, answers(run, frames, heat), t)
    # The heat goes into the weights.
    ema = ema.cpu()
    for last in (ema.each, ema.whole[3]):
        last.weight.data[: len(FINISHES)] /= heat
        last.bias.data[: len(FINISHES)] /= heat
    parts.export(a.out, ema, {"image": (3, SIDE, SIDE), "metal": (1, SIDE // CELL, SIDE // CELL), "light": (len(LIGHTS),)}, "finish", VERSION, FINISHES, "finish.toml", a.seed, {
        "loupe.lights": json.dumps(LIGHTS),
        "loupe.cell": str(CELL), "loupe.erode_px": str(ERODE), "loupe.least_cells": str(LEAST_CELLS), "loupe.thresholds": json.dumps(t)},
        answers=("cells", "whole"), scale=UM_PER_PX, sides=True)


if __name__ == "__main__":
    main()

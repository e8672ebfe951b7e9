#!/usr/bin/env python3
"""Train, measure and export the model of girdles (models/girdles.onnx): where exactly a round stone's girdle runs, and where its rim
is broken.

    python models/train_girdles.py --pieces DIR [DIR ...] --out models/girdles.onnx
    python models/train_girdles.py --pieces DIR [DIR ...] --measure models/girdles.onnx
    python models/train_girdles.py --pieces DIR [DIR ...] --calibrate models/girdles.onnx

DIR holds rendered pieces (datasets/render; girdles.toml is the mix made for this). Every fifth piece of a kind is left out of training: on
those the deviations are scaled and the figures printed. --calibrate sets anew what a model's odds of a chip say of its depth in pixels, on all of the pieces
given: such as it has not learned on (chips.toml). Goes on from the last checkpoint (--fresh starts anew).

The model of stones has said about where the girdle lies. About that circle the picture is unrolled: RAYS directions, and along each
FACETS samples over table and crown and RIM samples across the girdle, from INSIDE of the width and 6 pixels within to OUTSIDE and 6 pixels
without. The model says for each direction how far out the girdle runs and how sure that is, and whether the rim is broken there; a circle
is fitted to all directions (weighted least squares, the model of stones being the prior). Where the metal hides the girdle only the facets
tell where it runs. Of the table's slope against the line of sight each direction says how much lies along it; that is fitted likewise. The
network is the same for every direction, so it need not learn what a turn does.
"""
import json, math, os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import parts
from stamp import restamp
from train_stones import SIDE, SLOPE_UNIT, WINDOW, load, window

RAYS, FACETS, RIM = 64, 32, 40
FACETS_FROM, FACETS_TO = 0.1, 0.42  # of the width
INSIDE, OUTSIDE, MORE_PX = 0.08, 0.05, 6.0  # of the width, and pixels more on both sides
COLUMNS = ["girdle", "log_precision", "chip", "slope", "slope_log_precision"]
VERSION = "1.2.1"
# Which share of the looks at whole stones may be called chipped for sure, and may be left to a person.
CHIP_SHARES = {"sure": 0.0005, "maybe": 0.03}
# Depths of chips (widths) of which the model tells from what log odds on they are there, but for one in forty.
UNSEEN = (0.02, 0.025, 0.03, 0.05, 0.07, 0.1)
# The same in pixels, on stones that are at least LARGE_PX wide: what they show of a chip depends on its pixels, and 0.02 widths are many there.
UNSEEN_PX, LARGE_PX = (3, 4, 5, 6, 8, 10), 100
# How far the model of stones may be off (standard deviations): the centre, in widths; the width, log. As measured in its card, a little more.
CENTRE_SD, SIZE_SD = 0.014, 0.02
# What is known of a slope before anything is seen, and of what all directions have in common (how far in the table lies); in SLOPE_UNIT.
SLOPE_SD, COMMON_SD = 2.5, 1.0


def span(width):
    """From where to where a direction is looked at, in pixels from the circle outwards."""
    return -(INSIDE * width + MORE_PX), OUTSIDE * width + MORE_PX


def strip(image, looked, x, y, radius):
    """RAYS x (FACETS + RIM) pixels about a circle. looked: the window about the stone, how many pixels of the frame one of its own is, its
    centre, its turn: the facets come out of it, the rim out of the frame."""
    a = 2 * math.pi * np.arange(RAYS) / RAYS
    c, s = np.cos(a)[:, None], np.sin(a)[:, None]
    part, k, (wx, wy), turn = looked
    r = 2 * radius * (FACETS_FROM + (FACETS_TO - FACETS_FROM) * (np.arange(FACETS) + 0.5) / FACETS)[None]
    px, py = x + r * c - wx, y - r * s - wy  # in the frame, about the window's centre, y down
    ct, st = math.cos(turn), math.sin(turn)
    h = (part.shape[0] - 1) / 2
    facets = cv2.remap(part, (h + (ct * px - st * py) / k).astype(np.float32), (h + (st * px + ct * py) / k).astype(np.float32),
                       cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    low, high = span(2 * radius)
    r = radius + low + (high - low) * (np.arange(RIM) + 0.5)[None] / RIM
    rim = cv2.remap(image, (x + r * c).astype(np.float32), (y - r * s).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.concatenate([facets, rim], 1)


def broken_at(mask, x, y, rim):
    """Of each direction, whether the chip's mask lies at the girdle there, 0 to 1. rim: the girdle's radius in each direction, pixels. The mask
    has stray pixels of the girdle's own faces: the stretch with most of it is the chip."""
    a = 2 * math.pi * np.arange(RAYS)[:, None] / RAYS
    deep = np.linspace(0, 1, 12)[None] * (0.08 * 2 * rim.mean() + 1)
    r = rim[:, None] - deep
    m = cv2.remap(mask, (x + r * np.cos(a)).astype(np.float32), (y - r * np.sin(a)).astype(np.float32), cv2.INTER_LINEAR) / 255.0
    on, area = m.max(1) > 0.3, m.mean(1)
    if not on.any():
        return np.zeros(RAYS, np.float32)
    if on.all():
        return on.astype(np.float32)
    start = int(np.argmin(on))
    runs, k = [], 0
    order = (start + np.arange(RAYS)) % RAYS
    while k < RAYS:
        n = k
        while n < RAYS and on[order[n]]:
            n += 1
        if n > k:
            runs.append((area[order[k:n]].sum(), order[k:n]))
        k = n + 1
    out = np.zeros(RAYS, np.float32)
    out[max(runs, key=lambda q: q[0])[1]] = 1
    return out


def girdle(p, x, y, radius):
    """How far out the true girdle runs in each direction from (x, y), less the radius, in pixels. A stone out of level shows an ellipse."""
    a = 2 * math.pi * np.arange(RAYS) / RAYS
    R = p.unit / 2
    sx, sy = p.truth[1] or (0.0, 0.0)
    g = math.hypot(sx, sy)
    short = 1 / math.hypot(1, g)
    ux, uy = (sx / g, sy / g) if g > 1e-6 else (1.0, 0.0)
    ox, oy = x - p.x, p.y - y  # from the true centre, y up
    # along u the ellipse is R * short, across it R
    m = np.array([[ux, uy], [-uy, ux]]) / np.array([[R * short], [R]])
    o, d = m @ np.array([ox, oy]), m @ np.stack([np.cos(a), np.sin(a)])
    A, B, C = (d * d).sum(0), (o[:, None] * d).sum(0), (o * o).sum() - 1
    return (-B + np.sqrt(np.maximum(B * B - A * C, 0))) / A - radius


class Strips:
    """Training strips of random stones, jittered as the model of stones errs, under another light: batch `step`."""

    def __init__(self, frames, patches, seed, batch):
        self.frames, self.patches, self.seed, self.batch = frames, patches, seed, batch
        octave = np.array([round(2 * math.log2(p.unit)) for p in patches])
        count = {o: np.sum(octave == o) for o in set(octave)}
        w = np.array([min(3.0, math.sqrt(max(count.values()) / count[o])) for o in octave])
        w *= [1 + 1.0 * bool(p.truth[2]) + 1.5 * (p.truth[1] is not None and math.hypot(*p.truth[1]) > 0.06) for p in patches]
        self.weights = w / w.sum()

    def __len__(self):
        return 1 << 30

    def __getitem__(self, step):
        rng = np.random.default_rng([self.seed, step])
        rows = [example(self.frames, self.patches[i], rng, True) for i in rng.choice(len(self.patches), self.batch, p=self.weights)]
        return tuple(torch.from_numpy(np.stack(q)) for q in zip(*rows))


def example(frames, p, rng, learn):
    """A strip, float [3, RAYS, FACETS + RIM], and its truths: girdle per direction (pixels), place and size to be found (x, y right and up,
    radius; pixels), priors and half the span (pixels), chip per direction, [chip judged, chipped, depth in widths], and [slope right and up, known]."""
    image, chips = frames[p.frame]
    D = p.unit
    wide = math.exp(0.5 * rng.normal()) if learn else 1.0
    sd = wide * 0.8 * CENTRE_SD * D
    x, y = p.x + rng.normal(0, sd), p.y + rng.normal(0, sd)
    radius = D / 2 * math.exp(rng.normal(0, wide * 0.8 * SIZE_SD))
    turn = p.turn + rng.normal(0, 0.05)
    k = WINDOW * D / SIDE["stones"] * math.exp(rng.normal(0, 0.02))
    wx, wy = p.x + rng.normal(0, 0.02 * D), p.y + rng.normal(0, 0.02 * D)
    looked = window(image, wx, wy, SIDE["stones"], k * SIDE["stones"], turn), k, (wx, wy), turn
    out = strip(image, looked, x, y, radius).astype(np.float32)[..., ::-1]
    g = girdle(p, x, y, radius)
    broken = np.zeros(RAYS, np.float32)
    chip = p.truth[2]
    if chip and chip != "hidden" and chips is not None:
        broken = broken_at(chips, x, y, radius + g)
    todo = np.array([p.x - x, y - p.y, D / 2 - radius], np.float32)
    slope = np.array(p.truth[1] or (0.0, 0.0), np.float32) / SLOPE_UNIT
    if learn:
        if rng.random() < 0.5:  # mirrored
            i = (-np.arange(RAYS)) % RAYS
            out, g, broken, todo, slope = out[i], g[i], broken[i], todo * np.float32([1, -1, 1]), slope * np.float32([1, -1])
        n = int(rng.integers(RAYS))  # turned
        b = 2 * math.pi * n / RAYS
        spin = np.array([[math.cos(b), -math.sin(b)], [math.sin(b), math.cos(b)]], np.float32)
        out, g, broken = np.roll(out, n, 0), np.roll(g, n), np.roll(broken, n)
        todo, slope = np.concatenate([spin @ todo[:2], todo[2:]]), spin @ slope
        out = lit(out, rng)
    known = np.array([chip != "hidden", bool(chip) and chip != "hidden", chip[0] if chip and chip != "hidden" else 0.0], np.float32)
    low, high = span(2 * radius)
    return (np.ascontiguousarray(out.transpose(2, 0, 1)), g.astype(np.float32), todo.astype(np.float32),
            np.array([CENTRE_SD * D, SIZE_SD * D / 2, (high - low) / 2], np.float32), broken, known,
            np.array([*slope, p.truth[1] is not None], np.float32))


def lit(x, rng):
    """Light, colour and sensor of another station."""
    x = np.clip(x / 255, 1e-4, 1)
    if rng.random() < 0.6:
        x = x ** math.exp(rng.normal(0, 0.3))
    if rng.random() < 0.7:
        x = x * np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
        m = x.mean()
        x = (x - m) * math.exp(rng.normal(0, 0.25)) + m + rng.normal(0, 0.07)
    if rng.random() < 0.3:
        x = cv2.GaussianBlur(x, (0, 0), sigmaX=rng.uniform(0.5, 1.6), sigmaY=0.4)
    if rng.random() < 0.5:
        x = x + rng.normal(0, rng.uniform(0.003, 0.027), x.shape[:2])[..., None]
    return np.clip(x * 255, 0, 255).astype(np.float32)


class GirdleNet(nn.Module):
    def __init__(self, a=12, b=20, c=28, d=48):
        super().__init__()
        conv = lambda i, o, kr, kc: nn.Sequential(nn.Conv2d(i, o, (kr, kc), (1, 2), (0, kc // 2), bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
        self.body = nn.Sequential(conv(3, a, 3, 5), conv(a, b, 3, 5), conv(b, c, 3, 3))
        self.cells = c * ((FACETS + RIM) // 8)
        self.mix = nn.Sequential(nn.Conv1d(self.cells, d, 1, bias=False), nn.BatchNorm1d(d), nn.ReLU(inplace=True))
        self.wide = nn.Sequential(nn.Conv1d(d, d, 7, bias=False), nn.BatchNorm1d(d), nn.ReLU(inplace=True))
        self.all = nn.Linear(2 * d, d)
        self.head = nn.Sequential(nn.Conv1d(3 * d, d, 1), nn.ReLU(inplace=True), nn.Conv1d(d, len(COLUMNS), 1))
        self.kappa, self.slope_kappa = nn.Parameter(torch.tensor(-1.5)), nn.Parameter(torch.tensor(-2.5))

    def forward(self, strip):
        x = (strip - 128) / 64
        x = torch.cat([x[:, :, -6:], x, x[:, :, :6]], 2)  # 3 rows of 3 and one of 7: six directions more at both ends
        x = self.body(x)
        x = self.mix(x.permute(0, 1, 3, 2).flatten(1, 2))
        w = self.wide(x)
        x = x[:, :, 3:-3]
        g = torch.relu(self.all(torch.cat([w.mean(2), w.amax(2)], 1)))[:, :, None].expand(-1, -1, w.shape[2])
        return self.head(torch.cat([x, w, g], 1)).transpose(1, 2)  # [N, RAYS, columns]


def rays(device):
    a = 2 * math.pi * torch.arange(RAYS, device=device) / RAYS
    return a.cos(), a.sin()


def put_together(v, log_precision, kappa, sd):
    """Along x, along y and common to all, from what lies along each direction, and the inverse of their covariance. sd [n, 3]: what is known of
    them before (round zero)."""
    c, s = rays(v.device)
    A = torch.stack([c, s, torch.ones_like(c)], 1)
    w = torch.exp(log_precision.clamp(-6, 9) + kappa)
    P = torch.einsum("nk,ki,kj->nij", w, A, A) + torch.diag_embed(sd**-2)
    return torch.linalg.solve(P, torch.einsum("nk,ki->ni", w * v, A)), P


def fit_girdle(y, prior, kappa):
    """Place and radius (pixels) and the inverse of their covariance, from the directions and the prior."""
    half = prior[:, 2:3]
    at, P = put_together(y[..., 0], y[..., 1], kappa, torch.cat([prior[:, :1], prior[:, :1], prior[:, 1:2]], 1) / half)
    return at * half, P / half[:, :, None] ** 2


def fit_slope(y, kappa):
    """Slope (SLOPE_UNIT) and its covariance [n, 2, 2]."""
    sd = torch.tensor([SLOPE_SD, SLOPE_SD, COMMON_SD], device=y.device).expand(len(y), 3)
    at, P = put_together(y[..., 3], y[..., 4], kappa, sd)
    return at[:, :2], torch.linalg.inv(P)[:, :2, :2]


def loss_of(model, y, g, todo, prior, broken, known, slope):
    at, P = fit_girdle(y, prior, model.kappa)
    e = todo - at
    place = 0.5 * (torch.einsum("ni,nij,nj->n", e, P, e).clamp(max=60) - torch.logdet(P))
    d = g / prior[:, 2:3] - y[..., 0]
    w = y[..., 1].clamp(-6, 9)
    each = (0.5 * (torch.exp(w) * d * d).clamp(max=60) - 0.5 * w).mean(1)
    bce = F.binary_cross_entropy_with_logits(y[..., 2], broken, reduction="none") * (1 + 2 * broken)
    at, cov = fit_slope(y, model.slope_kappa)
    e = slope[:, :2] - at
    tilt = 0.5 * (torch.einsum("ni,nij,nj->n", e, torch.linalg.inv(cov), e).clamp(max=60) + torch.logdet(cov))
    c, s = rays(y.device)
    d = slope[:, :1] * c + slope[:, 1:2] * s - y[..., 3]
    w = y[..., 4].clamp(-6, 9)
    tilt = tilt + (0.5 * (torch.exp(w) * d * d).clamp(max=60) - 0.5 * w).mean(1)
    return (place + each + 6 * known[:, 0] * bce.mean(1) + slope[:, 2] * tilt).mean()


def answers(run, frames, patches, looks=1):
    rng = np.random.default_rng(5)
    out = []
    for n in range(looks):
        for i in range(0, len(patches), 64):
            rows = [example(frames, p, rng, False) for p in patches[i:i + 64]]
            t = [np.stack(q) for q in zip(*rows)]
            out.append([run(t[0]), *t[1:]])
    return [np.concatenate(q) for q in zip(*out)]


def chip_score(y):
    """The largest mean log odds of two neighbouring directions."""
    c = y[..., 2]
    return (0.5 * (c + np.roll(c, 1, 1))).max(1)


def window_says(path, frames, patches):
    """What the model of stones says: its odds of a chip are added to those of the rim, here as in the program; its slope is compared."""
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    looked = [window(frames[p.frame][0], p.x, p.y, SIDE["stones"], p.window, p.turn) for p in patches]
    return np.concatenate([session.run(None, {"image": np.ascontiguousarray(np.stack(looked[i:i + 64])[..., ::-1].transpose(0, 3, 1, 2), np.float32)})[0]
                           for i in range(0, len(looked), 64)])


def figures(kappa, slope_kappa, out, patches, window):
    y, g, todo, prior, broken, known, slope = [torch.from_numpy(np.asarray(q, np.float32)) for q in out]
    at, P = fit_girdle(y, prior, kappa)
    cov = torch.linalg.inv(P)
    e = (todo - at).numpy()
    D = np.tile([p.unit for p in patches], len(e) // len(patches))
    sd = cov.diagonal(dim1=1, dim2=2).sqrt().numpy()
    z = e / sd
    # Twice the deviation is to hold nineteen errors in twenty, whatever their tails.
    scale = {name: float(np.quantile(np.abs(z[:, k]), 0.95) / 2) for name, k in (("place", [0, 1]), ("size", [2]))}
    before = todo.numpy()
    rms = lambda v: float(np.sqrt(np.mean(v**2)))
    print(f"  {len(e)} looks: centre, widths: before rms {rms(before[:, :2] / D[:, None]):.4f}, now rms {rms(e[:, :2] / D[:, None]):.4f} median {np.median(np.abs(e[:, :2]) / D[:, None]):.4f}; pixels rms {rms(e[:, :2]):.3f} median {np.median(np.abs(e[:, :2])):.3f}; stated {np.median(sd[:, :2]):.3f}")
    print(f"  width: before rms {100 * rms(2 * before[:, 2] / D):.2f} %, now rms {100 * rms(2 * e[:, 2] / D):.2f} % median {100 * np.median(np.abs(2 * e[:, 2] / D)):.2f} %, bias {100 * np.mean(2 * e[:, 2] / D):+.2f} %; pixels rms {rms(2 * e[:, 2]):.3f}, stated {np.median(2 * sd[:, 2]):.3f}")
    scale["slope"] = slopes(*fit_slope(y, slope_kappa), slope, patches, window)
    score, depth = chip_score(y.numpy()) + np.tile(window[:, 9], len(e) // len(patches)), known[:, 2].numpy()
    judged, chipped = known[:, 0].numpy() > 0, known[:, 1].numpy() > 0
    cuts = {name: float(np.quantile(score[judged & ~chipped], 1 - share)) for name, share in CHIP_SHARES.items()}
    for name, cut in cuts.items():
        print(f"  chips found with {100 * CHIP_SHARES[name]:.2f} % of {int((judged & ~chipped).sum())} looks at whole stones called chipped (log odds {cut:.2f}):")
        for unit, of, bins in (("widths", depth, (0, .03, .06, .1, 1)), ("pixels", depth * D, (0, 2, 3, 4, 6, 9, 200))):
            print(f"    of {unit} " + ", ".join(f"{lo} to {hi}: {int((score[q] > cut).sum())} of {int(q.sum())}" for lo, hi in zip(bins, bins[1:])
                                               for q in [judged & chipped & (of >= lo) & (of < hi)]))
    deep = [(d, score[judged & chipped & (depth >= d)]) for d in UNSEEN]
    least = lambda s: float(np.quantile(s, 0.025)) if len(s) else -99.0  # nothing is known to be less deep
    for d, s in deep:
        print(f"  of {len(s)} looks at chips of {d} widths and more one in forty has less than {least(s):.2f}, as {100 * np.mean(score[judged & ~chipped] < least(s)):.0f} % of the whole stones have")
    large = judged & (D >= LARGE_PX)
    fine = [(d, score[large & chipped & (depth * D >= d)]) for d in UNSEEN_PX]
    for d, s in fine:
        print(f"  stones of {LARGE_PX} pixels and more: of {len(s)} looks at chips of {d} pixels and more one in forty has less than {least(s):.2f}, as {100 * np.mean(score[large & ~chipped] < least(s)):.0f} % of the whole stones have")
    scale["chip"] = {**{k: round(v, 3) for k, v in cuts.items()}, "unseen": [[round(least(s), 3), d] for d, s in deep],
                     "large_px": LARGE_PX, "unseen_px": [[round(least(s), 3), d] for d, s in fine]}
    print("  scales", {k: round(v, 3) if isinstance(v, float) else v for k, v in scale.items()}, "kappa", round(float(kappa), 2))
    return scale


def slopes(at, cov, truth, patches, window):
    """Prints how well slopes are told, by rim and by window; the scale of the rim's deviations."""
    k = truth[:, 2].numpy() > 0
    deg = math.degrees(SLOPE_UNIT)
    n = len(truth) // len(patches)
    turn = np.tile([p.turn for p in patches], n)
    w = np.tile(window[:, 6:8], (n, 1))
    c, s = np.cos(turn), np.sin(turn)
    by_window = np.stack([c * w[:, 0] - s * w[:, 1], s * w[:, 0] + c * w[:, 1]], 1)
    t = truth[:, :2].numpy()
    sd = cov.diagonal(dim1=1, dim2=2).sqrt().numpy()
    size = np.hypot(*t.T) * deg
    e = [deg * (v - t) for v in (at.numpy(), by_window, 0.5 * (at.numpy() + by_window))]
    scale = float(np.quantile(np.abs(e[0][k] / (deg * sd[k])), 0.95) / 2)
    for lo, hi in ((0, 3), (3, 8), (8, 16), (16, 90)):
        q = k & (size >= lo) & (size < hi)
        if q.any():
            print(f"  slopes of {lo} to {hi} degrees, {int(q.sum())}: rms a coordinate of rim, window, their mean "
                  + ", ".join(f"{np.sqrt((v[q] ** 2).mean()):.2f}" for v in e) + "; medians " + ", ".join(f"{np.median(np.abs(v[q])):.2f}" for v in e)
                  + f"; rim says less true {np.mean(np.hypot(*at.numpy()[q].T) * deg - size[q]):+.2f}; stated {deg * scale * np.median(sd[q]):.2f}; correlation of the two {np.corrcoef(e[0][q].ravel(), e[1][q].ravel())[0, 1]:.2f}")
    return scale


def main():
    ap = parts.arguments(__doc__, 4000, 64, 3e-3, 3)
    ap.add_argument("--stones", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "stones.onnx"), help="the model of stones")
    ap.add_argument("--workers", type=int, default=0, help="processes that unroll stones ahead of the learning")
    ap.add_argument("--calibrate", metavar="ONNX", help="set anew what the odds of this model say of a chip's depth in pixels, and stop")
    a = parts.parsed(ap)
    frames, halves = load("stones", a.pieces)
    inside = lambda p: min(p.x, p.y, frames[p.frame][0].shape[1] - 1 - p.x, frames[p.frame][0].shape[0] - 1 - p.y) > 0.5 * p.unit
    train, held = ([p for p in part if p.cut == "round" and p.truth[0] and inside(p) and p.unit >= 30] for part in (([], sum(halves, [])) if a.calibrate else halves))
    print(f"{len(frames)} frames; {len(train)} stones to learn on, {len(held)} left out", flush=True)
    said = window_says(a.stones, frames, held)
    if a.measure or a.calibrate:
        file, meta, session = parts.opened(a.calibrate or a.measure)
        scale = figures(*(torch.tensor(float(meta[k])) for k in ("loupe.kappa", "loupe.slope_kappa")), answers(lambda x: session.run(None, {"strip": x})[0], frames, held, 2), held, said)
        if a.calibrate:  # the rest stays: these pieces may have little melee
            odds = {**scale["chip"], **{k: v for k, v in json.loads(meta["loupe.chip_odds"]).items() if k in ("sure", "maybe", "unseen")}}
            restamp(file, {**meta, "loupe.version": VERSION, "loupe.chip_odds": json.dumps(odds)}, a.calibrate)
        return
    model, ema = (GirdleNet().to(a.device) for _ in range(2))
    strips = Strips(frames, train, a.seed, a.batch)
    if a.start:
        meta = parts.begin(model, a.start, torch.cat([strips[k][0] for k in range(4)]).to(a.device))
        with torch.no_grad():
            model.kappa.fill_(float(meta["loupe.kappa"])), model.slope_kappa.fill_(float(meta["loupe.slope_kappa"]))
    course = parts.Course(a, model, ema, 0.02)
    batches = iter(torch.utils.data.DataLoader(strips, None, sampler=range(course.step, a.steps), num_workers=a.workers))

    def run(x):
        with torch.no_grad():
            return ema(torch.from_numpy(x).to(a.device)).cpu().numpy()

    def measure(looks):
        return figures(ema.kappa.detach().cpu(), ema.slope_kappa.detach().cpu(), answers(run, frames, held, looks), held, said)
    while course.past() < 1:
        x, *t = (q.to(a.device) for q in next(batches))
        if course.learn(lambda: loss_of(model, model(x), *t)):
            measure(1)
    scale = measure(2)
    ema = ema.cpu()
    ways = {"rays": RAYS, "facets": FACETS, "facets_from": FACETS_FROM, "facets_to": FACETS_TO, "rim": RIM, "inside": INSIDE, "outside": OUTSIDE, "more_px": MORE_PX}
    parts.export(a.out, ema, {"strip": (3, RAYS, FACETS + RIM)}, "girdles", VERSION, COLUMNS, "girdles.toml", a.seed, {
        "loupe.strip": json.dumps(ways), "loupe.kappa": str(round(float(ema.kappa.detach()), 5)), "loupe.slope_kappa": str(round(float(ema.slope_kappa.detach()), 5)),
        "loupe.slope_unit": str(SLOPE_UNIT), "loupe.prior": json.dumps({"centre": CENTRE_SD, "size": SIZE_SD, "slope": SLOPE_SD * SLOPE_UNIT, "common": COMMON_SD * SLOPE_UNIT}),
        "loupe.deviation_scale": json.dumps({k: round(scale[k], 5) for k in ("place", "size", "slope")}), "loupe.chip_odds": json.dumps(scale["chip"])})


if __name__ == "__main__":
    main()

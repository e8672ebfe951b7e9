#!/usr/bin/env python3
"""Train, measure and export the models of girdles: where exactly a stone's girdle runs, and where its rim is broken. models/girdles.onnx is the
one of round stones, models/fancies.onnx (--fancies) that of all other cuts.

    python models/train_girdles.py --pieces DIR [DIR ...] --out models/girdles.onnx
    python models/train_girdles.py --fancies --pieces DIR [DIR ...] --start models/girdles.onnx --out models/fancies.onnx
    python models/train_girdles.py --pieces DIR [DIR ...] --measure models/girdles.onnx
    python models/train_girdles.py --pieces DIR [DIR ...] --calibrate models/girdles.onnx
    python models/train_girdles.py --rim --paint 0.45 --pieces DIR [DIR ...] --start models/girdles.onnx --out target/train/rim.onnx

DIR holds rendered pieces (datasets/render; girdles.toml and cuts.toml are the mixes made for this). Every fifth piece of a kind is left out of training: on
those the deviations are scaled and the figures printed. --calibrate sets anew what a model's odds of a chip say of its depth in pixels, on all of the pieces
given: such as it has not learned on (chips.toml). Goes on from the last checkpoint (--fresh starts anew).

The model of stones has said about where the girdle lies. About that circle the picture is unrolled: RAYS directions, and along each
FACETS samples over table and crown and RIM samples across the girdle, from INSIDE of the width and 6 pixels within to OUTSIDE and 6 pixels
without. The model says for each direction how far out the girdle runs and how sure that is, and whether the rim is broken there; a circle
is fitted to all directions (weighted least squares, the model of stones being the prior). Where the metal hides the girdle only the facets
tell where it runs. About another cut the picture is unrolled along its outline: FANCY_RAYS points of it, equally far from one another, and each direction crosses
the outline there; shift, growth and turn of the outline are fitted. Of the table's slope against the line of sight each direction says how much lies along it; that is fitted likewise. The
network is the same for every direction, so it need not learn what a turn does.
"""
import copy, functools, json, math, os, sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import bites
import parts
from stamp import restamp
from train_stones import SIDE, SLOPE_UNIT, load, window

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "datasets", "render"))
from stones import LENGTH, cut_outline, meets, unrolled

RAYS, FACETS, RIM = 64, 32, 40
FANCY_RAYS = 96
FACETS_FROM, FACETS_TO = 0.1, 0.42  # of the width
INSIDE, OUTSIDE, MORE_PX = 0.08, 0.05, 6.0  # of the width, and pixels more on both sides
COLUMNS = ["girdle", "log_precision", "chip", "slope", "slope_log_precision"]
CHIP = COLUMNS.index("chip")
VERSION, FANCY_VERSION = "1.4.0", "1.0.0"
# The least that the log odds of the model of stones count as beside those of a round stone's rim, for it is blind to many bites. Where nine whole stones in ten lie below (1648 stones of four
# sets), 9.8 % of the rendered chips of 0.05 widths and more do with this and with the plain sum, and 53 instead of 60 % of the bites of 0.07 and more that bites.py painted (1.4.0).
WINDOW_LEAST = -1.0
# What the rim as a whole weighs beside its directions (six) where chips are learned.
WHOLE_RIM = 0.5
# How steep a stone that bites are painted on lies at most (tangent): they are painted as on a level one.
PAINT_SLOPE = 0.15
# Which share of the looks at whole stones may be called chipped for sure, and may be left to a person.
CHIP_SHARES = {"sure": 0.0005, "maybe": 0.03}
# Depths of chips (widths) of which the model tells from what log odds on they are there, but for one in forty.
UNSEEN = (0.02, 0.025, 0.03, 0.05, 0.07, 0.1)
# The same in pixels, on stones that are at least LARGE_PX wide: what they show of a chip depends on its pixels, and 0.02 widths are many there.
UNSEEN_PX, LARGE_PX = (3, 4, 5, 6, 8, 10), 100
# Fewest looks at chips of a depth that say what one in forty of them shows.
LEAST_CHIPS = 80
# How far the model of stones may be off (standard deviations): the centre, in lengths; the width, log. As measured in its card, a little more.
CENTRE_SD, SIZE_SD = 0.014, 0.02
# Of other cuts the width, and how far a stone may lie turned in its seat (radians).
FANCY_SIZE_SD, TURN_SD = 0.03, 0.02
# What is known of a slope before anything is seen, and of what all directions have in common (how far in the table lies); in SLOPE_UNIT.
SLOPE_SD, COMMON_SD = 2.5, 1.0


def span(width):
    """From where to where a direction is looked at, in pixels from the outline outwards."""
    return -(INSIDE * width + MORE_PX), OUTSIDE * width + MORE_PX


@functools.cache
def outline(cut):
    """What a cut of width 1 is unrolled about, its length along y: points, the directions that cross it there, which way it faces, [n, 2] each,
    right and up, counter-clockwise; and whether it runs on straight there."""
    if cut == "round":
        a = 2 * math.pi * np.arange(RAYS) / RAYS
        d = np.stack([np.cos(a), np.sin(a)], 1)
        return d / 2, d, d, np.ones(RAYS, bool)
    return unrolled(cut_outline(cut), FANCY_RAYS)


def spun(v, turn):
    c, s = math.cos(turn), math.sin(turn)
    return v @ np.array([[c, s], [-s, c]])


class Line:
    """An outline about (x, y) of a frame: points from there (pixels, right and up), directions, and how it faces."""

    def __init__(self, cut, x, y, width, turn):
        points, across, faces, self.straight = outline(cut)
        if cut != "round":  # a circle's first direction is the frame's x axis
            points, across, faces = (spun(v, turn) for v in (points, across, faces))
        self.round, self.x, self.y, self.width, self.points, self.across, self.faces = cut == "round", x, y, width, points * width, across, faces

    def rows(self):
        """By how much a shift right and up, a growth (share) and a turn (radians) move the outline along each direction, and which directions tell
        that: not those at a corner. [n, 4], [n]."""
        n = self.faces / np.maximum((self.across * self.faces).sum(1), 0.5)[:, None]
        turned = np.zeros(len(n)) if self.round else n[:, 1] * self.points[:, 0] - n[:, 0] * self.points[:, 1]
        return np.concatenate([n, (n * self.points).sum(1)[:, None], turned[:, None]], 1), self.straight

    def out(self):
        """Unit vectors from the centre to the points."""
        return self.points / np.hypot(*self.points.T)[:, None]

    def mirrored(self):
        for name in ("points", "across", "faces"):
            setattr(self, name, getattr(self, name)[::-1] * [1, -1])
        self.straight = self.straight[::-1]
        return self


def strip(image, looked, line):
    """n x (FACETS + RIM) pixels about an outline. looked: the window about the stone, how many pixels of the frame one of its own is, its
    centre, its turn: the facets come out of it, the rim out of the frame."""
    part, k, (wx, wy), turn = looked
    r = 2 * (FACETS_FROM + (FACETS_TO - FACETS_FROM) * (np.arange(FACETS) + 0.5) / FACETS)[None]
    px, py = line.x + r * line.points[:, :1] - wx, line.y - r * line.points[:, 1:] - wy  # in the frame, about the window's centre, y down
    ct, st = math.cos(turn), math.sin(turn)
    h = (part.shape[0] - 1) / 2
    facets = cv2.remap(part, (h + (ct * px - st * py) / k).astype(np.float32), (h + (st * px + ct * py) / k).astype(np.float32),
                       cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    low, high = span(line.width)
    r = low + (high - low) * (np.arange(RIM) + 0.5)[None] / RIM
    px, py = line.points[:, :1] + r * line.across[:, :1], line.points[:, 1:] + r * line.across[:, 1:]
    rim = cv2.remap(image, (line.x + px).astype(np.float32), (line.y - py).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.concatenate([facets, rim], 1)


def broken_at(mask, line, g):
    """Of each direction, whether the chip's mask lies at the girdle there, 0 to 1. g: how far outside the line the girdle runs, pixels. The mask
    has stray pixels of the girdle's own faces: the stretch with most of it is the chip."""
    rays = len(g)
    r = g[:, None] - np.linspace(0, 1, 12)[None] * (0.08 * line.width + 1)
    px, py = line.points[:, :1] + r * line.across[:, :1], line.points[:, 1:] + r * line.across[:, 1:]
    m = cv2.remap(mask, (line.x + px).astype(np.float32), (line.y - py).astype(np.float32), cv2.INTER_LINEAR) / 255.0
    on, area = m.max(1) > 0.3, m.mean(1)
    if not on.any():
        return np.zeros(rays, np.float32)
    if on.all():
        return on.astype(np.float32)
    start = int(np.argmin(on))
    runs, k = [], 0
    order = (start + np.arange(rays)) % rays
    while k < rays:
        n = k
        while n < rays and on[order[n]]:
            n += 1
        if n > k:
            runs.append((area[order[k:n]].sum(), order[k:n]))
        k = n + 1
    out = np.zeros(rays, np.float32)
    out[max(runs, key=lambda q: q[0])[1]] = 1
    return out


def flat(p):
    """What a stone out of level shows of a vector: less along its slope, [2, 2]."""
    sx, sy = p.truth[1] or (0.0, 0.0)
    g = math.hypot(sx, sy)
    u = np.array([sx / g, sy / g]) if g > 1e-6 else np.array([1.0, 0.0])
    return np.eye(2) - (1 - 1 / math.hypot(1, g)) * np.outer(u, u)


def girdle(p, line):
    """How far outside the line the true girdle runs along each direction, in pixels."""
    m = np.linalg.inv(flat(p))
    o = (line.points + [line.x - p.x, p.y - line.y]) @ m  # from the true centre, y up, as if level
    d = line.across @ m
    if line.round:
        A, B, C = (d * d).sum(1), (o * d).sum(1), (o * o).sum(1) - (p.unit / 2) ** 2
        return (-B + np.sqrt(np.maximum(B * B - A * C, 0))) / A
    low, high = span(line.width)
    return meets(o, d, spun(cut_outline(p.cut) * p.unit, p.lies)).clip(low, high)  # at a corner a direction may pass the stone by


class Strips:
    """Training strips of random stones, jittered as the model of stones errs, under another light: batch `step`."""

    def __init__(self, frames, patches, seed, batch, paint=0.0):
        self.frames, self.patches, self.seed, self.batch, self.paint = frames, patches, seed, batch, paint
        octave = np.array([round(2 * math.log2(p.unit)) for p in patches])
        count = {o: np.sum(octave == o) for o in set(octave)}
        w = np.array([min(3.0, math.sqrt(max(count.values()) / count[o])) for o in octave])
        w *= [1 + 1.0 * bool(p.truth[2]) + 1.5 * (p.truth[1] is not None and math.hypot(*p.truth[1]) > 0.06) + 1.5 * (p.off > 0.02) for p in patches]
        self.weights = w / w.sum()

    def __len__(self):
        return 1 << 30

    def __getitem__(self, step):
        rng = np.random.default_rng([self.seed, step])
        rows = [example(self.frames, self.patches[i], rng, True, self.paint) for i in rng.choice(len(self.patches), self.batch, p=self.weights)]
        return tuple(torch.from_numpy(np.stack(q)) for q in zip(*rows))


def example(frames, p, rng, learn, paint=0.0):
    """A strip, float [3, n, FACETS + RIM], and its truths: girdle per direction (pixels), shift right and up (pixels), growth and turn to be found,
    priors and half the span (pixels), chip per direction, [chip judged, chipped, depth in widths], [slope right and up, known], and what the line's
    directions tell: rows [n, 4] of what moves it, which directions tell that, and where the points lie from the centre [n, 2]. paint: which share of the whole
    round stones gets a painted bite (half as many get something that is none)."""
    image, chips = frames[p.frame]
    chip = p.truth[2]
    if paint and p.cut == "round" and not chip and math.hypot(*(p.truth[1] or (0, 0))) < PAINT_SLOPE:
        drawn = rng.random() / paint
        if drawn < 1.5:
            image, chips, chip = bites.bitten(image, p.x, p.y, p.unit, p.prongs, rng, drawn > 1)
    D, fancy = p.unit, p.cut != "round"
    sds = prior_of(p)
    wide = 0.8 * (math.exp(0.5 * rng.normal()) if learn else 1.0)
    x, y = p.x + rng.normal(0, wide * sds[0]), p.y + rng.normal(0, wide * sds[0])
    width = D * math.exp(rng.normal(0, wide * sds[1])) * (p.nominal / D) ** rng.uniform(0, 1)  # a stone too small for its seat is taken for larger than it is
    turn = p.turn + rng.normal(0, 0.01 if fancy else 0.05)
    k = p.nominal / D * p.window / SIDE["stones"] * math.exp(rng.normal(0, 0.02))
    wx, wy = p.x + rng.normal(0, 0.02 * D), p.y + rng.normal(0, 0.02 * D)
    looked = window(image, wx, wy, SIDE["stones"], k * SIDE["stones"], turn), k, (wx, wy), turn
    line = Line(p.cut, x, y, width, turn)
    out = strip(image, looked, line).astype(np.float32)[..., ::-1]
    g = girdle(p, line)
    broken = np.zeros(len(g), np.float32)
    if chip and chip != "hidden" and chips is not None:
        broken = broken_at(chips, line, g)
    turned = (p.lies - turn + math.pi) % (2 * math.pi) - math.pi if fancy else 0.0
    todo = np.array([p.x - x, y - p.y, D / width - 1, turned], np.float32)
    slope = np.array(p.truth[1] or (0.0, 0.0), np.float32) / SLOPE_UNIT
    if learn:
        if rng.random() < 0.5:  # mirrored
            line, out, g, broken, todo, slope = line.mirrored(), out[::-1], g[::-1], broken[::-1], todo * np.float32([1, -1, 1, -1]), slope * np.float32([1, -1])
        out = lit(out, rng)
    known = np.array([chip != "hidden", bool(chip) and chip != "hidden", chip[0] if chip and chip != "hidden" else 0.0], np.float32)
    low, high = span(width)
    rows, tells = line.rows()
    f = np.float32
    return (np.ascontiguousarray(out.transpose(2, 0, 1)), g.astype(f), todo.astype(f), np.array([*sds, (high - low) / 2], f), broken.copy(), known,
            np.array([*slope, p.truth[1] is not None], f), rows.astype(f), tells.astype(f), line.out().astype(f))


def known(frames, patches, fancies):
    """The stones that are there, wholly in their frame, large enough, and round or, for `fancies`, of the other cuts."""
    inside = lambda p: min(p.x, p.y, frames[p.frame][0].shape[1] - 1 - p.x, frames[p.frame][0].shape[0] - 1 - p.y) > 0.5 * p.unit * LENGTH.get(p.cut, 1.0)
    return [p for p in patches if p.cut in LENGTH and (p.cut == "round") != fancies and p.truth[0] and inside(p) and p.unit >= 30]


def prior_of(p):
    """Standard deviations before anything is seen: of each coordinate of the centre (pixels), of the growth, of the turn."""
    return CENTRE_SD * LENGTH[p.cut] * p.unit, *((SIZE_SD, 1.0) if p.cut == "round" else (FANCY_SIZE_SD, TURN_SD))


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
    """branches: 1, or 2 where what tells of broken rims is the second one's alone, on the same first convolutions: the first then stays as it is when the
    second learns."""

    def __init__(self, a=12, b=20, c=28, d=48, branches=1):
        super().__init__()
        conv = lambda i, o, kr, kc: nn.Sequential(nn.Conv2d(i, o, (kr, kc), (1, 2), (0, kc // 2), bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
        self.branches, n = branches, branches * d
        self.body = nn.Sequential(conv(3, a, 3, 5), conv(a, b, 3, 5), conv(b, c, 3, 3))
        self.cells = c * ((FACETS + RIM) // 8)
        self.mix = nn.Sequential(nn.Conv1d(self.cells, n, 1, bias=False), nn.BatchNorm1d(n), nn.ReLU(inplace=True))
        self.wide = nn.Sequential(nn.Conv1d(n, n, 7, bias=False, groups=branches), nn.BatchNorm1d(n), nn.ReLU(inplace=True))
        self.all = nn.Linear(2 * d, d) if branches == 1 else nn.Conv1d(2 * n, n, 1, groups=branches)
        self.head = nn.Sequential(nn.Conv1d(3 * n, n, 1, groups=branches), nn.ReLU(inplace=True), nn.Conv1d(n, branches * len(COLUMNS), 1, groups=branches))
        self.kappa, self.slope_kappa = nn.Parameter(torch.tensor(-1.5)), nn.Parameter(torch.tensor(-2.5))

    def beside(self, *parts):
        """What belongs to one branch beside one another: [n, branches * channels, ...] each."""
        if self.branches == 1:
            return torch.cat(parts, 1)
        return torch.cat([p.unflatten(1, (self.branches, -1)) for p in parts], 2).flatten(1, 2)

    def forward(self, strip):
        x = (strip - 128) / 64
        x = torch.cat([x[:, :, -6:], x, x[:, :, :6]], 2)  # 3 rows of 3 and one of 7: six directions more at both ends
        x = self.body(x)
        x = self.mix(x.permute(0, 1, 3, 2).flatten(1, 2))
        w = self.wide(x)
        x = x[:, :, 3:-3]
        g = self.beside(w.mean(2), w.amax(2))
        g = torch.relu(self.all(g) if self.branches == 1 else self.all(g[:, :, None])[:, :, 0])[:, :, None].expand(-1, -1, w.shape[2])
        y = self.head(self.beside(x, w, g))
        if self.branches == 2:
            y = torch.cat([y[:, :CHIP], y[:, len(COLUMNS) + CHIP:len(COLUMNS) + CHIP + 1], y[:, CHIP + 1:len(COLUMNS)]], 1)
        return y.transpose(1, 2)  # [N, RAYS, columns]

    def forked(self):
        """The same with a second branch that is as the first."""
        out = GirdleNet(branches=2)
        own = out.state_dict()
        for k, v in self.state_dict().items():
            if v.shape == own[k].shape:
                own[k].copy_(v)
            else:
                twice = torch.cat([v, v])
                own[k].copy_(twice.reshape(own[k].shape))
        return out

    def second(self):
        """Of every weight which part is the second branch's alone (1) and which is not (0)."""
        whose = {}
        for k, v in self.named_parameters():
            whose[k] = torch.zeros_like(v)
            if k.split(".")[0] in ("mix", "wide", "all", "head"):
                whose[k][len(v) // 2:] = 1
        return whose


def branches_of(path):
    """How many branches an exported model has; one where there is none."""
    return 1 if path is None or parts.exported(path)[1]["all.weight"].ndim == 2 else 2


def put_together(v, w, A, sd):
    """What the rows A [N, n, m] have as parameters, from what lies along each direction and its weight, and the inverse of their covariance. sd [N, m]:
    what is known of them before (round zero)."""
    P = torch.einsum("nk,nki,nkj->nij", w, A, A) + torch.diag_embed(sd**-2)
    return torch.linalg.solve(P, torch.einsum("nk,nki->ni", w * v, A)), P


def fit_girdle(y, prior, rows, tells, kappa):
    """Shift (pixels), growth and turn, and the inverse of their covariance, from the directions and the prior."""
    half = prior[:, 3:]
    w = tells * torch.exp(y[..., 1].clamp(-6, 9) + kappa) / half**2
    return put_together(y[..., 0] * half, w, rows, prior[:, :3][:, [0, 0, 1, 2]])


def fit_slope(y, out, kappa):
    """Slope (SLOPE_UNIT) and its covariance [n, 2, 2]."""
    sd = torch.tensor([SLOPE_SD, SLOPE_SD, COMMON_SD], device=y.device).expand(len(y), 3)
    at, P = put_together(y[..., 3], torch.exp(y[..., 4].clamp(-6, 9) + kappa), torch.cat([out, torch.ones_like(out[..., :1])], 2), sd)
    return at[:, :2], torch.linalg.inv(P)[:, :2, :2]


def pairs(y):
    """The mean log odds of a chip of each direction and the one before it."""
    return 0.5 * (y[..., CHIP] + torch.roll(y[..., CHIP], 1, 1))


def loss_of(model, y, g, todo, prior, broken, known, slope, rows, tells, out):
    at, P = fit_girdle(y, prior, rows, tells, model.kappa)
    e = todo - at
    place = 0.5 * (torch.einsum("ni,nij,nj->n", e, P, e).clamp(max=60) - torch.logdet(P))
    d = g / prior[:, 3:] - y[..., 0]
    w = y[..., 1].clamp(-6, 9)
    each = (0.5 * (torch.exp(w) * d * d).clamp(max=60) - 0.5 * w).mean(1)
    at, cov = fit_slope(y, out, model.slope_kappa)
    e = slope[:, :2] - at
    tilt = 0.5 * (torch.einsum("ni,nij,nj->n", e, torch.linalg.inv(cov), e).clamp(max=60) + torch.logdet(cov))
    d = (slope[:, None, :2] * out).sum(2) - y[..., 3]
    w = y[..., 4].clamp(-6, 9)
    tilt = tilt + (0.5 * (torch.exp(w) * d * d).clamp(max=60) - 0.5 * w).mean(1)
    return (place + each + slope[:, 2] * tilt).mean() + rim_loss(y, broken, known)


def rim_loss(y, broken, known):
    each = F.binary_cross_entropy_with_logits(y[..., CHIP], broken, reduction="none") * (1 + 2 * broken)
    whole = F.binary_cross_entropy_with_logits(pairs(y).amax(1), known[:, 1], reduction="none")
    return (known[:, 0] * (6 * each.mean(1) + WHOLE_RIM * whole)).mean()


def answers(run, frames, patches, looks=1, paint=0.0):
    rng = np.random.default_rng(5)
    out = []
    for n in range(looks):
        for i in range(0, len(patches), 64):
            rows = [example(frames, p, rng, False, paint) for p in patches[i:i + 64]]
            t = [np.stack(q) for q in zip(*rows)]
            out.append([run(t[0]), *t[1:]])
    return [np.concatenate(q) for q in zip(*out)]


def chip_score(y):
    """The largest mean log odds of two neighbouring directions."""
    return pairs(torch.from_numpy(y)).amax(1).numpy()


def window_says(path, frames, patches):
    """What the model of stones says: its odds of a chip are added to those of the rim, here as in the program; its slope is compared."""
    import onnxruntime
    session = onnxruntime.InferenceSession(path)
    looked = [window(frames[p.frame][0], p.x, p.y, SIDE["stones"], p.nominal / p.unit * p.window, p.turn) for p in patches]
    return np.concatenate([session.run(None, {"image": np.ascontiguousarray(np.stack(looked[i:i + 64])[..., ::-1].transpose(0, 3, 1, 2), np.float32)})[0]
                           for i in range(0, len(looked), 64)])


def figures(kappa, slope_kappa, said, patches, window):
    y, g, todo, prior, broken, known, slope, rows, tells, out = [torch.from_numpy(np.asarray(q, np.float32)) for q in said]
    at, P = fit_girdle(y, prior, rows, tells, kappa)
    cov = torch.linalg.inv(P)
    e = (todo - at).numpy()
    D = np.tile([p.unit for p in patches], len(e) // len(patches))
    sd = cov.diagonal(dim1=1, dim2=2).sqrt().numpy()
    z = e / sd
    # Twice the deviation is to hold nineteen errors in twenty, whatever their tails.
    scale = {name: float(np.quantile(np.abs(z[:, k]), 0.95) / 2) for name, k in (("place", [0, 1]), ("size", [2]))}
    before = todo.numpy()
    rms = lambda v: float(np.sqrt(np.mean(v**2)))
    cuts = np.tile([p.cut for p in patches], len(e) // len(patches))
    for cut in ["any", *sorted(set(cuts))] if len(set(cuts)) > 1 else ["any"]:
        q = np.ones(len(e), bool) if cut == "any" else cuts == cut
        print(f"  {q.sum()} looks, {cut} cut: centre, widths: before rms {rms(before[q, :2] / D[q, None]):.4f}, now rms {rms(e[q, :2] / D[q, None]):.4f} median {np.median(np.abs(e[q, :2]) / D[q, None]):.4f}; pixels rms {rms(e[q, :2]):.3f} median {np.median(np.abs(e[q, :2])):.3f}; stated {np.median(sd[q, :2]):.3f}")
        print(f"  width: before rms {100 * rms(before[q, 2]):.2f} %, now rms {100 * rms(e[q, 2]):.2f} % median {100 * np.median(np.abs(e[q, 2])):.2f} %, bias {100 * np.mean(e[q, 2]):+.2f} %; pixels rms {rms(D[q] * e[q, 2]):.3f}, stated {np.median(D[q] * sd[q, 2]):.3f}")
    scale["slope"] = slopes(*fit_slope(y, out, slope_kappa), slope, patches, window)
    rim, seen, depth = chip_score(y.numpy()), np.tile(window[:, 9], len(e) // len(patches)), known[:, 2].numpy()
    judged, chipped = known[:, 0].numpy() > 0, known[:, 1].numpy() > 0
    fancies = any(p.cut != "round" for p in patches)
    score = together(rim, seen, None if fancies else WINDOW_LEAST)
    for name, v in (("rim", rim), ("window", seen), ("both", score)):
        print(f"  chips of 0.05 widths and more against whole stones, AUROC by {name} " + ", ".join(f"{c} {auroc(v[q & chipped & (depth >= 0.05)], v[q & ~chipped]):.3f}" for c in ["any", *sorted(set(cuts))] for q in [judged & ((cuts == c) | (c == "any"))]))
    cuts = {name: float(np.quantile(score[judged & ~chipped], 1 - share)) for name, share in CHIP_SHARES.items()}
    for name, cut in cuts.items():
        print(f"  chips found with {100 * CHIP_SHARES[name]:.2f} % of {int((judged & ~chipped).sum())} looks at whole stones called chipped (log odds {cut:.2f}):")
        for unit, of, bins in (("widths", depth, (0, .03, .06, .1, 1)), ("pixels", depth * D, (0, 2, 3, 4, 6, 9, 200))):
            print(f"    of {unit} " + ", ".join(f"{lo} to {hi}: {int((score[q] > cut).sum())} of {int(q.sum())}" for lo, hi in zip(bins, bins[1:])
                                               for q in [judged & chipped & (of >= lo) & (of < hi)]))
    deep = [(d, score[judged & chipped & (depth >= d)]) for d in UNSEEN]
    least = lambda s: float(np.quantile(s, 0.025)) if len(s) >= LEAST_CHIPS else -99.0  # nothing is known to be less deep
    for d, s in deep:
        print(f"  of {len(s)} looks at chips of {d} widths and more one in forty has less than {least(s):.2f}, as {100 * np.mean(score[judged & ~chipped] < least(s)):.0f} % of the whole stones have")
    large = judged & (D >= LARGE_PX)
    fine = [(d, score[large & chipped & (depth * D >= d)]) for d in UNSEEN_PX]
    for d, s in fine:
        print(f"  stones of {LARGE_PX} pixels and more: of {len(s)} looks at chips of {d} pixels and more one in forty has less than {least(s):.2f}, as {100 * np.mean(score[large & ~chipped] < least(s)):.0f} % of the whole stones have")
    scale["chip"] = {**{k: round(v, 3) for k, v in cuts.items()}, "unseen": [[round(least(s), 3), d] for d, s in deep],
                     **({} if fancies else {"window_least": WINDOW_LEAST}), "large_px": LARGE_PX, "unseen_px": [[round(least(s), 3), d] for d, s in fine]}
    print("  scales", {k: round(v, 3) if isinstance(v, float) else v for k, v in scale.items()}, "kappa", round(float(kappa), 2))
    return scale


def held_back(model, begun, share):
    """Draws every weight back to what it was begun with, but for this share of the way."""
    with torch.no_grad():
        for k, v in model.named_parameters():
            v.copy_(begun[k] + share[k] * (v - begun[k]))


def painted(run, frames, patches):
    """Prints how bites painted on whole stones are told from whole stones, by the rim alone."""
    patches = [p for p in patches if p.cut == "round" and not p.truth[2]]
    if not patches:
        return
    y, *_, known, _, _, _, _ = answers(run, frames, patches, 4, 0.4)
    score, judged, bites_, depth = chip_score(y), known[:, 0] > 0, known[:, 1] > 0, known[:, 2]
    whole = score[judged & ~bites_]
    print(f"  painted bites, AUROC by rim against {len(whole)} looks at whole stones: " + ", ".join(
        f"of {lo} to {hi} widths {auroc(score[q], whole):.3f} ({int(q.sum())})" for lo, hi in ((0.02, 0.04), (0.04, 0.07), (0.07, 0.1), (0.1, 1)) for q in [judged & bites_ & (depth >= lo) & (depth < hi)]))


def together(rim, window, least):
    """Log odds of a chip of rim and window together: the window's count as no less than `least`."""
    return rim + (window if least is None else np.maximum(window, least))


def auroc(a, b):
    """How often one of a is larger than one of b."""
    b = np.sort(b)
    return float((np.searchsorted(b, a) + np.searchsorted(b, a, "right")).mean() / 2 / max(len(b), 1)) if len(a) else math.nan


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
    ap.add_argument("--fancies", action="store_true", help="the other cuts instead of the round one")
    ap.add_argument("--rim", action="store_true", help="learn only what tells of a broken rim, in a branch of its own: all else stays as it is in --start")
    ap.add_argument("--keep", type=float, default=0.3, help="with --rim, how much the mean has of the weights that were begun from, beside those learned")
    ap.add_argument("--paint", type=float, default=0.0, help="the share of the looks at whole round stones that get a painted bite (bites.py)")
    ap.add_argument("--calibrate", metavar="ONNX", help="set anew what the odds of this model say of a chip's depth in pixels, and stop")
    a = parts.parsed(ap)
    if a.rim and not a.start:
        ap.error("--rim goes on from a model: --start")
    frames, halves = load("stones", a.pieces)
    train, held = (known(frames, part, a.fancies) for part in (([], sum(halves, [])) if a.calibrate else halves))
    print(f"{len(frames)} frames; {len(train)} stones to learn on, {len(held)} left out", flush=True)
    said = window_says(a.stones, frames, held)
    if a.measure or a.calibrate:
        file, meta, session = parts.opened(a.calibrate or a.measure)
        scale = figures(*(torch.tensor(float(meta[k])) for k in ("loupe.kappa", "loupe.slope_kappa")), answers(lambda x: session.run(None, {"strip": x})[0], frames, held, 2), held, said)
        painted(lambda x: session.run(None, {"strip": x})[0], frames, held)
        if a.calibrate:  # the rest stays: these pieces may have little melee
            odds = {**scale["chip"], **{k: v for k, v in json.loads(meta["loupe.chip_odds"]).items() if k in ("sure", "maybe", "unseen")}}
            restamp(file, {**meta, "loupe.version": VERSION, "loupe.chip_odds": json.dumps(odds)}, a.calibrate)
        return
    model, ema = (GirdleNet(branches=branches_of(a.start)).to(a.device) for _ in range(2))
    strips = Strips(frames, train, a.seed, a.batch, a.paint)
    if a.start:
        meta = parts.begin(model, a.start, torch.cat([strips[k][0] for k in range(4)]).to(a.device))
        with torch.no_grad():
            model.kappa.fill_(float(meta["loupe.kappa"])), model.slope_kappa.fill_(float(meta["loupe.slope_kappa"]))
    if a.rim:
        model = model.forked().to(a.device) if model.branches == 1 else model
        ema, begun = copy.deepcopy(model), dict(copy.deepcopy(model).named_parameters())
        whose = model.second()
    course = parts.Course(a, model, ema, 0.02)
    batches = iter(torch.utils.data.DataLoader(strips, None, sampler=range(course.step, a.steps), num_workers=a.workers))

    def run(x):
        with torch.no_grad():
            return ema(torch.from_numpy(x).to(a.device)).cpu().numpy()

    def measure(looks):
        return figures(ema.kappa.detach().cpu(), ema.slope_kappa.detach().cpu(), answers(run, frames, held, looks), held, said)
    while course.past() < 1:
        x, *t = (q.to(a.device) for q in next(batches))
        # The norms' own figures stay as they are where only a branch learns.
        loss = (lambda: rim_loss(model.eval()(x), *t[3:5])) if a.rim else (lambda: loss_of(model, model(x), *t))
        again = course.learn(loss)
        if a.rim:
            held_back(model, begun, whose), held_back(ema, begun, whose)
        if again:
            measure(1)
    if a.rim:
        held_back(ema, begun, {k: (1 - a.keep) * v for k, v in whose.items()})
    scale = measure(2)
    ema = ema.cpu()
    ways = {"rays": FANCY_RAYS if a.fancies else RAYS, "facets": FACETS, "facets_from": FACETS_FROM, "facets_to": FACETS_TO, "rim": RIM, "inside": INSIDE, "outside": OUTSIDE, "more_px": MORE_PX}
    parts.export(a.out, ema, {"strip": (3, ways["rays"], FACETS + RIM)}, "fancies" if a.fancies else "girdles", FANCY_VERSION if a.fancies else VERSION, COLUMNS, "cuts.toml" if a.fancies else "girdles.toml", a.seed, {
        "loupe.strip": json.dumps(ways), "loupe.kappa": str(round(float(ema.kappa.detach()), 5)), "loupe.slope_kappa": str(round(float(ema.slope_kappa.detach()), 5)),
        "loupe.slope_unit": str(SLOPE_UNIT), "loupe.prior": json.dumps({
            "centre": CENTRE_SD, **({"size": FANCY_SIZE_SD, "turn": TURN_SD} if a.fancies else {"size": SIZE_SD}), "slope": SLOPE_SD * SLOPE_UNIT, "common": COMMON_SD * SLOPE_UNIT}),
        # What only a branch learned leaves the rest as sure as it was.
        "loupe.deviation_scale": meta["loupe.deviation_scale"] if a.rim else json.dumps({k: round(scale[k], 5) for k in ("place", "size", "slope")}),
        "loupe.chip_odds": json.dumps(scale["chip"])})


if __name__ == "__main__":
    main()

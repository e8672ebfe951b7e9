"""Training windows of stones and prongs, a whole batch at once on the device that trains (train_stones.py).

The frames lie there as one run of pixels, blue, green, red and the mask of chips, once as they are and once for each blur that a
window of many pixels to the cell asks for. A window is read from them bilinearly: the same affine and, to a sixth of an octave, the
same blur as `window` of train_stones.py, which is what the program does.
"""
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import torch
import torch.nn.functional as F

SHARP = 1.25  # pixels to a cell up to which nothing is blurred
ZOOM = {"stones": 0.12, "prongs": 0.15}  # how far a window's width is off, log
SHIFT = {"stones": 0.16, "prongs": 0.9}  # and its place, in units


def level_of(k):
    """Which blur k pixels to a cell take: 0 none, then three to an octave."""
    return 0 if k <= SHARP else 1 + round(3 * math.log2(k / SHARP))


def edges_of(polygon):
    """Outward normals and offsets of a convex polygon that runs counter-clockwise: inside, n.p - c < 0 for all."""
    step = np.roll(polygon, -1, 0) - polygon
    n = np.stack([step[:, 1], -step[:, 0]], 1) / np.linalg.norm(step, axis=1)[:, None]
    return np.concatenate([n, -(n * polygon).sum(1, keepdims=True)], 1)


def lit(x, uniform, normal):
    """Light, colour and sensor of another station. x: [n, 3, h, w], 0 to 255; uniform and normal draw random tensors, of n values where no shape
    is given."""
    n = len(x)
    col = lambda v: v[:, None, None, None]
    sometimes = lambda share, v, none: torch.where(uniform() < share, v, torch.full_like(v, none))
    x = (x / 255).clamp(1e-4, 1.0) ** col(sometimes(0.6, torch.exp(0.3 * normal()), 1.0))
    on = col((uniform() < 0.7).float())
    y = x * torch.exp(0.06 * normal(n, 3))[:, :, None, None]
    m = y.mean((1, 2, 3), keepdim=True)
    y = (y - m) * col(torch.exp(0.25 * normal())) + m + col(0.07 * normal())
    x = on * y + (1 - on) * x
    sigma = sometimes(0.3, 0.4 + 0.9 * uniform(), 0.05)
    tap = torch.arange(-4, 5, device=x.device)
    kernel = torch.exp(-0.5 * (tap / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)
    x = x.reshape(1, 3 * n, *x.shape[2:])
    x = F.conv2d(F.pad(x, (4, 4, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=3 * n)
    x = F.conv2d(F.pad(x, (0, 0, 4, 4), mode="replicate"), kernel[:, None, :, None], groups=3 * n)
    x = x.reshape(n, 3, *x.shape[2:])
    x = x + col(sometimes(0.5, 0.003 + 0.027 * uniform(), 0.0)) * normal(n, 1, *x.shape[2:])
    return (x * 255 + 0.5).clamp(0, 255).floor()


def bilinear(flat, first, width, fx, fy):
    """Pictures [n, 4, h, w] read between the pixels of a run `flat` of pixels of four bytes (as int32). first [n, h, w]: the upper left one of the four about
    each place, of a picture so many pixels wide; fx, fy: how far right of it and below."""
    out = 0.0
    for step, weight in ((0, (1 - fx) * (1 - fy)), (1, fx * (1 - fy)), (width, (1 - fx) * fy), (width + 1, fx * fy)):
        out = out + flat[first + step][..., None].view(torch.uint8).float() * weight[..., None]
    return out.permute(0, 3, 1, 2)


class Looks:
    """Windows to learn on. plans: cut -> (length, outline, outline of the table, its height), in widths; None for prongs."""

    def __init__(self, net, frames, patches, side, mask, plans, weights, units, device):
        self.net, self.side, self.mask, self.device, self.units = net, side, mask, device, units
        levels = {}
        for p in patches:
            k, z = p.window / side, math.exp(ZOOM[net])
            levels.setdefault(p.frame, set()).update(range(level_of(k / z), level_of(k * z) + 1))
        rows = [(f, l) for f, need in sorted(levels.items()) for l in sorted(need)]

        def blurred(row):
            image, chip = frames[row[0]]
            x = np.dstack([image, np.zeros(image.shape[:2], np.uint8) if chip is None else chip])
            if row[1]:
                x = cv2.GaussianBlur(x, (0, 0), 0.45 * SHARP * 2 ** ((row[1] - 1) / 3))
            return np.ascontiguousarray(x[:: self.coarse(row[1]), :: self.coarse(row[1])])
        with ThreadPoolExecutor() as pool:
            pictures = list(pool.map(blurred, rows))
        top = max(l for _, l in rows) + 1
        at = np.zeros((len(frames), top, 4), np.int64)  # offset, width, height, pixels to one of it
        offset = 0
        for (f, l), x in zip(rows, pictures):
            at[f, l] = offset, x.shape[1], x.shape[0], self.coarse(l)
            offset += x.shape[0] * x.shape[1]
        flat = torch.empty((offset, 4), dtype=torch.uint8, device=device)
        for (f, l), x in zip(rows, pictures):
            o, w, h, _ = at[f, l]
            flat[o:o + w * h] = torch.from_numpy(x.reshape(-1, 4)).to(device)
        self.flat, self.at = flat.view(torch.int32)[:, 0], torch.from_numpy(at).to(device)
        put = lambda v, kind=torch.float32: torch.tensor(v, dtype=kind, device=device)
        self.frame = put([p.frame for p in patches], torch.int64)
        self.x, self.y = put([p.x for p in patches]), put([p.y for p in patches])
        self.unit, self.width, self.turn = put([p.unit for p in patches]), put([p.window for p in patches]), put([p.turn for p in patches])
        self.there = put([float(p.truth[0]) for p in patches])
        self.weights = put(weights)
        if net == "prongs":
            self.ratio = put([math.log(p.truth[1]) for p in patches])
            return
        names = sorted({p.cut for p in patches})
        most = max(len(plans[c][1]) for c in names)
        edges = np.stack([[np.pad(e, ((0, most - len(e)), (0, 0)), mode="edge") for e in map(edges_of, plans[c][1:3])] for c in names])
        self.edges = put(edges)  # cut, girdle or table, edge, its normal and offset
        self.cut = put([names.index(p.cut) for p in patches], torch.int64)
        self.length, self.height = put([plans[c][0] for c in names]), put([plans[c][3] for c in names])
        self.free, self.halves = put([float(p.free) for p in patches]), put([float(p.cut != "pear") for p in patches])
        self.lies = put([p.lies for p in patches])
        self.sloped = put([float(p.truth[1] is not None and p.truth[0]) for p in patches])
        self.slope = put([p.truth[1] or (0.0, 0.0) for p in patches])
        chips = [p.truth[2] for p in patches]
        self.judged = put([float(bool(p.truth[0]) and c != "hidden") for p, c in zip(patches, chips)])
        self.chipped = put([float(bool(p.truth[0] and c and c != "hidden")) for p, c in zip(patches, chips)])
        self.chip = put([c if c and c != "hidden" else (0.0, 0.0, 0.0) for c in chips])

    @staticmethod
    def coarse(level):
        """Every how many pixels a blurred frame is kept: its blur stays over one of these."""
        return 1 << max(0, (level - 1) // 3 - 1)

    def batch(self, n, seed):
        """Pictures [n, 3, side, side] RGB 0 to 255, targets [n, 16] (columns as `targets` of train_stones.py) and, of stones, plans
        [n, 3, mask, mask] from 0 to 1: girdle, table (-1: unknown), chip."""
        g = torch.Generator(self.device)
        g.manual_seed(seed)
        i = torch.multinomial(self.weights, n, True, generator=g)
        uniform = lambda *shape: torch.rand(shape or (n,), generator=g, device=self.device)
        normal = lambda *shape: torch.randn(shape or (n,), generator=g, device=self.device)
        r, a = SHIFT[self.net] * uniform().sqrt(), 2 * math.pi * uniform()
        sx, sy = r * a.cos(), r * a.sin()  # along the frame's axes, y up
        zoom = torch.exp((2 * uniform() - 1) * ZOOM[self.net])
        flip = (uniform() < 0.5).float()
        turn = self.turn[i]
        if self.net == "stones":
            half = math.pi * (uniform() < 0.5) * self.halves[i]
            turn = turn + torch.where(self.free[i] > 0, 2 * math.pi * uniform(), 0.04 * normal() + half)
        else:
            turn = turn + 0.08 * normal() + math.pi * flip  # mirrored, but with its stone on the left all the same
        way = 1 - 2 * flip
        pixels = self.windows(i, sx, sy, zoom, turn, way)
        image = lit(pixels[:, [2, 1, 0]], uniform, normal)
        c, s = turn.cos(), turn.sin()
        into = lambda x, y: (way * (c * x + s * y), c * y - s * x)
        dx, dy = into(sx, sy)
        t = torch.zeros((n, 16), device=self.device)
        length = self.length[self.cut[i]] if self.net == "stones" else torch.ones_like(dx)
        t[:, 0] = t[:, 10] = self.there[i]
        t[:, 1], t[:, 2], t[:, 3] = dx / zoom / length, dy / zoom / length, -zoom.log()
        if self.net == "prongs":
            t[:, 3] += self.ratio[i]
            return image, t, None
        slope = torch.stack(into(self.slope[i, 0], self.slope[i, 1]), 1)
        t[:, 11] = self.sloped[i]
        t[:, 4:6] = slope / self.units["slope"] * t[:, 11:12]
        chip = torch.stack([self.chip[i, 0] / self.units["chip"], *(q / length for q in into(self.chip[i, 1], self.chip[i, 2]))], 1) / zoom[:, None]
        t[:, 12], t[:, 6], t[:, 13] = self.judged[i], self.chipped[i], self.chipped[i]
        t[:, 7:10] = chip * t[:, 6:7]
        return image, t, self.plans(i, turn, way, zoom, torch.stack([dx, dy], 1), slope, pixels[:, 3:])

    def windows(self, i, sx, sy, zoom, turn, way):
        """The windows as they lie in the frames, [n, 4, side, side]."""
        n, side = len(i), self.side
        k = self.width[i] * zoom / side
        level = torch.where(k <= SHARP, 0, 1 + torch.round(3 * torch.log2(k / SHARP))).long()
        at = self.at[self.frame[i], level]
        o, w, h, coarse = at[:, 0, None, None], at[:, 1, None, None], at[:, 2, None, None], at[:, 3, None, None]
        c, s = (k * turn.cos())[:, None, None], (k * turn.sin())[:, None, None]
        q = torch.arange(side, device=self.device) - (side - 1) / 2
        col, row, way = q[None, None, :], q[None, :, None], way[:, None, None]
        x = ((self.x[i] - sx * self.unit[i])[:, None, None] + way * c * col + s * row) / coarse
        y = ((self.y[i] + sy * self.unit[i])[:, None, None] - way * s * col + c * row) / coarse
        x, y = torch.minimum(x.clamp(min=0), w - 1.0), torch.minimum(y.clamp(min=0), h - 1.0)
        x0, y0 = torch.minimum(x.floor().long(), w - 2), torch.minimum(y.floor().long(), h - 2)
        fx, fy = x - x0, y - y0
        first = o + y0 * w + x0
        return bilinear(self.flat, first, w, fx, fy)

    def plans(self, i, turn, way, zoom, centre, slope, chip):
        """The whole girdle and the whole table, whatever hides them, and what is seen of a chip. centre and slope lie along the
        window's axes (y up)."""
        q = torch.arange(self.mask, device=self.device) - (self.mask - 1) / 2
        cells = (self.unit[i] / (self.width[i] * zoom) * self.mask)[:, None]  # to a width
        there, a = self.there[i], turn - self.lies[i]
        c, s = a.cos()[:, None], a.sin()[:, None]
        out = []
        for k in range(2):
            at = centre + (self.height[self.cut[i], None] * slope if k else 0.0)
            x = q.repeat(self.mask)[None] / cells - at[:, :1]
            y = -q.repeat_interleave(self.mask)[None] / cells - at[:, 1:]
            x = way[:, None] * x
            p = torch.stack([c * x - s * y, s * x + c * y, torch.ones_like(x)], 1)
            d = torch.bmm(self.edges[self.cut[i], k], p).amax(1)
            m = (0.5 - cells * d).clamp(0, 1) * there[:, None]
            if k:
                m = torch.where((self.sloped[i] > 0)[:, None] | (there == 0)[:, None], m, torch.full_like(m, -1.0))
            out.append(m.reshape(len(i), 1, self.mask, self.mask))
        seen = F.avg_pool2d(chip / 255, self.side // self.mask) * (out[0] > 0) * self.chipped[i][:, None, None, None]
        return torch.cat([*out, seen], 1)

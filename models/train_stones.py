#!/usr/bin/env python3
"""Train, measure and export the models of stones and prongs (models/stones.onnx, models/prongs.onnx).

    python models/train_stones.py --net stones --pieces DIR [DIR ...] --out models/stones.onnx
    python models/train_stones.py --net prongs --pieces DIR [DIR ...] --out models/prongs.onnx
    python models/train_stones.py --net stones --pieces DIR [DIR ...] --measure models/stones.onnx

DIR holds rendered pieces (datasets/render; stones.toml is the mix made for this). Every fifth piece of a kind is left out of
training: on those the uncertainties are scaled and the figures printed. Goes on from the last checkpoint (--fresh starts anew).

A stone is seen through a square window about its nominal place, WINDOW times its nominal length wide, turned so that the piece's
x axis (for a long stone: its width) runs right. The model says in units of the stone's nominal length where the girdle's centre
is, how its size differs (log), the slope of its table against the line of sight, how deep a chip is and where, and a standard
deviation of each. A prong is seen through a window PRONG_WINDOW of its radius wide, turned so that its stone lies to the left.
"""
import glob, json, math, os, sys, tomllib
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
from looks import Looks

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "datasets", "render"))
import stones as cuts  # plans of the cuts, as they are rendered

SIDE = {"stones": 128, "prongs": 64}
WINDOW, PRONG_WINDOW = 1.6, 7.0
LENGTH = cuts.LENGTH
# How far the table lies inside the girdle and how high above it, in widths (the middle of what is rendered). A slope moves the
# table against the girdle by that height: what tells it.
TABLE = {"round": (0.22, 0.166), "oval": (0.22, 0.166), "pear": (0.22, 0.166), "marquise": (0.22, 0.166), "princess": (0.14, 0.104),
         "emerald": (0.225, 0.185), "baguette": (0.15, 0.118)}
MASK = 64  # side of the masks of girdle and table that the model of stones draws within
VERSION = {"stones": "1.2.0", "prongs": "1.1.0"}
# What each column of the answer is. `s_` columns are logs of standard deviations.
COLUMNS = {
    "stones": ["present", "dx", "dy", "s_place", "log_size", "s_size", "slope_x", "slope_y", "s_slope", "chip", "chip_depth", "s_chip", "chip_x", "chip_y"],
    "prongs": ["present", "dx", "dy", "s_place", "log_size", "s_size"],
}
# Log odds between which the program leaves a chip (from, to) or a prong to a person: CHIP_ODDS and DOUBT of src/inspect.
CHIP_DOUBT, PRONG_DOUBT = (0.5, 2.0), (-4.0, 1.0)
FAR = 0.14  # a slope (tangent) from which a stone is far out of level
SLOPE_UNIT = 0.1  # the answer's slopes are in these
DEPTH_UNIT = 0.1  # and its chips' depths, of the width


class Patch:
    """A stone or prong on one frame. Lengths in pixels of the frame, angles in radians, y up."""
    __slots__ = ("frame", "x", "y", "unit", "nominal", "window", "turn", "free", "truth", "piece", "cut", "lies", "off", "prongs")


def long_turn(row, prongs):
    """Which way a long stone of a spec lies: the turn of its length from the y axis, in quarters."""
    if LENGTH.get(row.get("cut", "round"), 1.0) == 1.0 or not prongs:
        return 0.0
    ex = [max(q[k] for q in prongs) - min(q[k] for q in prongs) for k in ("x_mm", "y_mm")]
    turn = -math.pi / 2 if ex[0] > ex[1] else 0.0
    if row["cut"] == "pear":
        far = max(prongs, key=lambda q: math.hypot(q["x_mm"] - row["x_mm"], q["y_mm"] - row["y_mm"]))
        if (far["x_mm"] < row["x_mm"]) if turn else (far["y_mm"] < row["y_mm"]):
            turn += math.pi
    return turn


def load(net, folders):
    """Patches for training and those left out, and the frames they are on, each with its mask of chips (or None)."""
    jobs, out = [], ([], [])
    for root in folders:
        for path in sorted(glob.glob(os.path.join(root, "*", "truth.json"))):
            folder = os.path.dirname(path)
            t = json.load(open(path))
            if t["stones"] and not t.get("burst"):
                jobs += [(folder, t, fr["file"]) for fr in json.load(open(os.path.join(folder, "piece.json")))["frames"] if fr["light"] != "backlight"]

    def read(job):
        folder, t, file = job
        chipped = os.path.join(folder, "chipped_stone_mask.png")
        return cv2.imread(os.path.join(folder, file)), cv2.imread(chipped, 0) if net == "stones" and os.path.exists(chipped) else None
    with ThreadPoolExecutor() as pool:
        frames = list(pool.map(read, jobs))
    for k, (folder, t, _) in enumerate(jobs):
        name = os.path.basename(folder)
        held = rendered.held_out(name)
        spec = tomllib.load(open(os.path.join(folder, "spec.toml"), "rb"))
        rows = {s["id"]: s for s in spec["view"][0]["stone"]}
        mm = t["um_per_px"] / 1000
        rot = math.radians(t["pose"]["rotation_deg"])
        H, W = frames[k][0].shape[:2]
        tips = [(q["x_px"], q["y_px"], q["radius_mm"] / mm) for q in t["prongs"] if not q.get("missing")]
        chips = {d["stone"]: d for d in t["defects"] if d["type"] == "chipped_stone"}
        seen = {}
        for s in t["stones"] if net == "stones" else t["prongs"]:
            p = Patch()
            p.frame, p.piece, p.x, p.y = k, name, s["x_px"], s["y_px"]
            if not (0 <= p.x < W and 0 <= p.y < H):
                continue
            if net == "stones":
                row = rows[s["id"]]
                L = LENGTH.get(s["cut"], 1.0)
                p.unit, p.nominal, p.off = s["diameter_mm"] / mm, row["diameter_mm"] / mm, s["offset_mm"] / s["diameter_mm"]
                p.window = WINDOW * L * p.unit
                p.free = L == 1.0 and s["cut"] == "round"
                p.cut, p.lies = s["cut"], rot + math.radians(s["turn_deg"])
                p.turn = rot + long_turn(row, row.get("prongs", []))
                slope = None
                if "normal" in s:
                    n, h = s["normal"], t["camera"]["height_mm"]
                    slope = (n[0] / n[2] + s["x_mm"] / h, n[1] / n[2] + s["y_mm"] / h)
                chip = chips.get(s["id"])
                if "chip_mm" in s and not chip:
                    chip = "hidden"  # no pixel of it is seen: neither chipped nor whole
                elif chip:
                    depth = s.get("chip_mm", chip and chip.get("chip_mm"))
                    at = (chip["chip_x_px"] - p.x, p.y - chip["chip_y_px"])
                    chip = (depth / s["diameter_mm"], at[0] / p.unit, at[1] / p.unit)
                p.truth = (not s["missing"], slope, chip)
                p.prongs = [q for q in tips if math.hypot(q[0] - p.x, q[1] - p.y) < 0.6 * p.unit + 2 * q[2]]
            else:
                near = next((q for q in t["stones"] if q["id"] == s["stone"]), None)
                nominal = rows[s["stone"]]["prongs"][seen.setdefault(s["stone"], 0)]
                seen[s["stone"]] += 1
                p.unit = nominal["radius_mm"] / mm
                p.window = PRONG_WINDOW * p.unit
                p.free = False
                p.turn = math.atan2(near["y_px"] - s["y_px"], s["x_px"] - near["x_px"])
                p.truth = (not s.get("missing", False), s["radius_mm"] / nominal["radius_mm"])
            if min(p.x, p.y, W - 1 - p.x, H - 1 - p.y) < 0.3 * p.unit:
                continue
            out[held].append(p)
    return frames, out


def window(image, x, y, side, width, turn):
    """side x side pixels of a window `width` wide about (x, y), its x axis turned by `turn` (y up) in the frame."""
    k = width / side
    c, s = math.cos(turn) * k, math.sin(turn) * k
    A = np.array([[c, s, 0.0], [-s, c, 0.0]])  # window to frame; both with y down
    h = (side - 1) / 2
    reach = int(0.75 * width + 3 * k + 3)
    x0, y0 = max(0, int(x) - reach), max(0, int(y) - reach)
    part = image[y0:int(y) + reach, x0:int(x) + reach]
    if k > 1.25:
        part = cv2.GaussianBlur(part, (0, 0), 0.45 * k)
    A[:, 2] = np.array([x - x0, y - y0]) - A[:, :2] @ [h, h]
    return cv2.warpAffine(part, A, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def into(v, turn):
    """A vector of the frame (y up) along the window's axes (y up)."""
    c, s = math.cos(turn), math.sin(turn)
    return c * v[0] + s * v[1], -s * v[0] + c * v[1]


def targets(net, p, shift=(0.0, 0.0)):
    """What the answer should be for a window that lies `shift` (in units, along the frame's axes, y up) short of the true place: the
    columns of the answer that have a truth, then whether the part is there (10), and which of slope (11), chip or none (12) and the
    chip's measures (13) are known."""
    t = np.zeros(16, np.float32)
    length = LENGTH[p.cut] if net == "stones" else 1.0
    t[0] = t[10] = p.truth[0]
    t[1:3] = np.array(into(shift, p.turn)) / length
    if net == "prongs":
        t[3] = math.log(p.truth[1])
        return t
    _, slope, chip = p.truth
    if slope is not None and p.truth[0]:
        t[4:6] = np.array(into(slope, p.turn)) / SLOPE_UNIT
        t[11] = 1
    if p.truth[0] and chip != "hidden":
        t[12] = 1
        if chip:
            t[6], t[7], t[8:10], t[13] = 1, chip[0] / DEPTH_UNIT, np.array(into(chip[1:], p.turn)) / length, 1
    return t


def rarity(net, patches):
    """How often each is seen: rare kinds more often, what is missing, chipped, far out of level or of a long cut, and sizes that few
    have."""
    w = np.array([1.0 + 3.0 * (not p.truth[0]) + (1.5 * (not p.free) + 1.0 * bool(p.truth[2]) + 1.5 * (p.truth[1] is not None)
                  + 2.0 * (p.truth[1] is not None and math.hypot(*p.truth[1]) > FAR) if net == "stones" else 0.0) for p in patches])
    octave = np.array([round(2 * math.log2(p.unit)) for p in patches])
    count = {o: np.sum(octave == o) for o in set(octave)}
    w *= [min(4.0, math.sqrt(max(count.values()) / count[o])) for o in octave]
    return w / w.sum()


def plans():
    """Of every cut: its length, its girdle, its table in plan and the table's height, in widths."""
    out = {}
    for cut, (inset, height) in TABLE.items():
        q = cuts.cut_outline(cut)
        half = np.abs(q).max(0)
        out[cut] = (LENGTH[cut], q, q * (half - inset) / half, height)
    return out


def block(i, o, stride):
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.a, self.b = block(n, n, 1), nn.Sequential(nn.Conv2d(n, n, 3, 1, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x):
        return F.relu(x + self.b(self.a(x)))


class StoneNet(nn.Module):
    """Draws the girdle and the table, takes their centres and area, and adds what the picture as a whole says."""

    def __init__(self, wide=1.0):
        super().__init__()
        n = lambda channels: 4 * round(channels * wide / 4)
        w = tuple(n(c) for c in (16, 32, 64, 96))
        self.s2 = block(3, w[0], 2)
        self.s4 = nn.Sequential(block(w[0], w[1], 2), Residual(w[1]))
        self.s8 = nn.Sequential(block(w[1], w[2], 2), Residual(w[2]))
        self.s16 = nn.Sequential(block(w[2], w[3], 2), Residual(w[3]))
        self.u8, self.l8 = nn.Conv2d(w[3], n(48), 1), nn.Conv2d(w[2], n(48), 1)
        self.c8 = block(n(48), n(32), 1)
        self.l4, self.c4 = nn.Conv2d(w[1], n(32), 1), block(n(32), n(24), 1)
        # On cells of four pixels, each of which draws four of the plan's: cells of two cost as much as all the rest.
        self.l2, self.c2 = nn.Conv2d(w[0], n(24), 3, 2, 1), block(n(24), n(24), 1)
        self.plan = nn.Conv2d(n(24), 12, 1)
        self.body = block(w[3], 32, 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 8 * 8, 128), nn.ReLU(inplace=True), nn.Dropout(0.1))
        self.last = nn.Linear(128 + 9, len(COLUMNS["stones"]))
        for k in (1, 2, 4, 6, 7, 12, 13):
            nn.init.zeros_(self.last.weight[k])
        self.lean = nn.Linear(128, 1)  # log of how a table's shift tells the slope: by the cut's height
        nn.init.zeros_(self.lean.weight)
        nn.init.constant_(self.lean.bias, math.log(1 / 0.166 / SLOPE_UNIT))
        g = (torch.arange(MASK) - (MASK - 1) / 2) / MASK * WINDOW  # in lengths of the stone
        self.register_buffer("gx", g[None, None, None, :])
        self.register_buffer("gy", -g[None, None, :, None])

    def drawn(self, image):
        x2 = self.s2((image - 127.0) / 64.0)
        x4 = self.s4(x2)
        x8 = self.s8(x4)
        x16 = self.s16(x8)
        up = lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        y = self.c8(F.relu(up(self.u8(x16)) + self.l8(x8)))
        y = self.c4(F.relu(up(y) + self.l4(x4)))
        y = self.c2(F.relu(y + self.l2(x2)))
        return x16, F.pixel_shuffle(self.plan(y), 2)

    def full(self, image):
        x16, plan = self.drawn(image)
        m = torch.sigmoid(plan)
        area = m.sum((2, 3)) + 4.0
        cx, cy = (m * self.gx).sum((2, 3)) / area, (m * self.gy).sum((2, 3)) / area
        size = 0.5 * torch.log(area[:, :2] / (0.25 * math.pi * (MASK / WINDOW) ** 2))
        dx, dy = cx[:, 1:] - cx[:, :1], cy[:, 1:] - cy[:, :1]
        lost = area[:, 2:] - 3.5  # cells of a chip
        chip = torch.cat([torch.log(lost), torch.sqrt(lost) * 0.1, torch.amax(m[:, 2:], (2, 3))], 1)
        h = self.head(self.body(x16))
        y = self.last(torch.cat([h, cx[:, :1], cy[:, :1], size, dx[:, :1], dy[:, :1], chip], 1))
        lean = torch.exp(self.lean(h).clamp(1.0, 6.0))
        zero = torch.zeros_like(lost)
        n = y.shape[1]
        add = [zero] * n
        add[1], add[2], add[4], add[6], add[7] = cx[:, :1], cy[:, :1], size[:, :1], lean * dx[:, :1], lean * dy[:, :1]
        add[9] = 1.5 * chip[:, :1]
        add[12], add[13] = dx[:, 1:], dy[:, 1:]  # where the chip is, from the girdle's centre
        return y + torch.cat(add, 1), plan

    def forward(self, image):
        return self.full(image)[0]


class ProngNet(nn.Module):
    def __init__(self):
        super().__init__()
        w = (16, 32, 64)
        layers, i = [], 3
        for k, o in enumerate(w):
            layers.append(block(i, o, 2))
            if k:
                layers.append(Residual(o))
            i = o
        self.body = nn.Sequential(*layers, block(i, 32, 1))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32 * 8 * 8, 128), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Linear(128, len(COLUMNS["prongs"])))

    def forward(self, image):
        return self.head(self.body((image - 127.0) / 64.0))

    def full(self, image):
        return self.forward(image), None


def Net(net, wide=1.0):
    return StoneNet(wide) if net == "stones" else ProngNet()


def loss_of(net, y, t, plan=None, masks=None):
    """The means by a robust loss, the deviations by the likelihood of the means' errors, the plans cell by cell."""
    out = F.binary_cross_entropy_with_logits(y[:, 0], t[:, 0])
    if plan is not None:
        m = masks.clamp(min=0)
        known = (masks >= 0).float()
        each = F.binary_cross_entropy_with_logits(plan, m, reduction="none") * known
        rare = each[:, 2] * (1.0 + 4.0 * m[:, 2])
        out = out + 12.0 * each[:, 0].mean() + 15.0 * (rare.sum((1, 2)) * t[:, 12]).sum() / t[:, 12].sum().clamp(min=1) / MASK**2 + 4.0 * each[:, 1].sum() / known[:, 1].sum().clamp(min=1)

    def group(cols, targets, s, weight, scale):
        e = (y[:, cols] - t[:, targets]) / scale
        m = weight / weight.sum().clamp(min=1)
        a = (F.smooth_l1_loss(e, torch.zeros_like(e), reduction="none", beta=0.5).sum(1) * m).sum()
        ls = y[:, s].clamp(-7, 3)
        z = (y[:, cols] - t[:, targets]).detach()
        b = ((0.5 * (z * z).mean(1).clamp(max=25.0) * torch.exp(-2 * ls) + ls) * m).sum()
        return a + 0.4 * b
    out = out + group([1, 2], [1, 2], 3, t[:, 10], 0.03) + group([4], [3], 5, t[:, 10], 0.03)
    if net == "stones":
        out = out + 2.0 * group([6, 7], [4, 5], 8, t[:, 11], 0.4)
        out = out + (F.binary_cross_entropy_with_logits(y[:, 9], t[:, 6], reduction="none") * t[:, 12]).sum() / t[:, 12].sum().clamp(min=1)
        out = out + group([10], [7], 11, t[:, 13], 0.4) + 0.3 * group([12, 13], [8, 9], 11, t[:, 13], 0.2)
    return out


DRAWING = ("u8", "l8", "c8", "l4", "c4", "l2", "c2", "plan")


class Teacher:
    """An exported model of stones that another one learns to draw as: answers and plans."""

    def __init__(self, path, threads):
        import onnx
        import onnxruntime
        model = onnx.load(path)
        model.graph.output.append(onnx.helper.make_tensor_value_info(next(n.output[0] for n in model.graph.node if n.name == "/plan/Conv"), onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model.SerializeToString(), options)

    def __call__(self, image):
        answer, plan = (torch.from_numpy(v).to(image.device) for v in self.session.run(None, {"image": image.cpu().contiguous().numpy()}))
        return answer, F.pixel_shuffle(plan, 2) if plan.shape[1] > 3 else plan


def loss_beside(y, plan, answer, drawn):
    """How far answers and plans are from a teacher's: cell by cell, and in the teacher's own standard deviations."""
    m = torch.sigmoid(drawn)
    each = F.binary_cross_entropy_with_logits(plan, m, reduction="none") - F.binary_cross_entropy_with_logits(drawn, m, reduction="none")
    out = 12.0 * each[:, 0].mean() + 4.0 * each[:, 1].mean() + 30.0 * (each[:, 2] * (1.0 + 4.0 * m[:, 2])).mean()
    there = (answer[:, :1] > 0).float()
    for k, s in {1: 3, 2: 3, 4: 5, 6: 8, 7: 8, 10: 11, 12: 11, 13: 11}.items():
        e = (y[:, k] - answer[:, k]) * torch.exp(-answer[:, s].clamp(-7, 3))
        out = out + (F.smooth_l1_loss(e, torch.zeros_like(e), reduction="none") * there[:, 0]).mean()
    for k in (0, 9):
        out = out + 0.2 * F.smooth_l1_loss(y[:, k].clamp(-8, 8), answer[:, k].clamp(-8, 8))
    for k in (3, 5, 8, 11):
        out = out + 0.2 * F.smooth_l1_loss(y[:, k], answer[:, k])
    return out


def tensor(images):
    return torch.from_numpy(np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2))).float().contiguous(memory_format=torch.channels_last)


def answers(run, net, frames, patches, views=3):
    """The model's answers for patches left out, seen as the program sees them: a little off their place."""
    def row(at):
        p = patches[at[1]]
        off = np.clip(np.random.default_rng(at).normal(0, 0.03 if net == "stones" else 0.15, 2), -0.2, 0.2)
        return window(frames[p.frame][0], p.x - off[0] * p.unit, p.y + off[1] * p.unit, SIDE[net], p.window, p.turn), targets(net, p, off)
    every = [(k, i) for k in range(views) for i in range(len(patches))]
    ys, ts = [], []
    with ThreadPoolExecutor() as pool:
        for i in range(0, len(every), 256):
            images, t = zip(*pool.map(row, every[i:i + 256]))
            ys.append(run(np.stack(images)))
            ts.append(np.stack(t))
    return np.concatenate(ys), np.concatenate(ts)


def figures(net, y, t, patches, frames_mm=None):
    """Prints the figures of the pieces left out; gives the factors that make the deviations true."""
    there = t[:, 10] > 0
    p = 1 / (1 + np.exp(-y[:, 0]))
    print(f"  {len(y)} windows: there {int(there.sum())}, called missing {int((p[there] < 0.5).sum())}; missing {int((~there).sum())}, called there {int((p[~there] >= 0.5).sum())}")
    scale = {}

    def one(name, cols, targets, s, keep, unit):
        e = (y[keep][:, cols] - t[keep][:, targets]) * unit
        sd = np.exp(np.clip(y[keep][:, s], -7, 3)) * unit
        z = np.abs(e).max(1) / sd if len(cols) == 1 else np.sqrt((e * e).mean(1)) / sd
        # So that the mean square of nearly all is 1: the worst of a hundred are outliers, not noise.
        k = float(np.sqrt(np.mean(np.sort(z * z)[: max(1, int(0.99 * len(z)))])))
        scale[name] = round(k, 3)
        print(f"  {name}: rms {np.sqrt((e * e).mean()):.4f}, median |error| {np.median(np.abs(e)):.4f}, 99 % {np.quantile(np.abs(e), 0.99):.4f}; deviations times {k:.2f}")
    one("place", [1, 2], [1, 2], 3, there, 1.0)
    one("size", [4], [3], 5, there, 1.0)
    if net == "stones":
        one("slope", [6, 7], [4, 5], 8, t[:, 11] > 0, math.degrees(SLOPE_UNIT))
        chipped, whole = (t[:, 12] > 0) & (t[:, 6] > 0), (t[:, 12] > 0) & (t[:, 6] == 0)
        one("chip", [10], [7], 11, chipped, DEPTH_UNIT)
        c = 1 / (1 + np.exp(-y[:, 9]))
        for lo, hi in ((0, 0.03), (0.03, 0.06), (0.06, 0.1), (0.1, 1)):
            k = chipped & (t[:, 7] * DEPTH_UNIT >= lo) & (t[:, 7] * DEPTH_UNIT < hi)
            print(f"  chips {lo} to {hi} of the width: seen {int((c[k] >= 0.5).sum())} of {int(k.sum())}")
        print(f"  whole stones called chipped: {int((c[whole] >= 0.5).sum())} of {int(whole.sum())}")
        at = lambda k: "sure {}, doubtful {}, none {}".format(*(int(q.sum()) for q in (y[k, 9] >= CHIP_DOUBT[1], (y[k, 9] >= CHIP_DOUBT[0]) & (y[k, 9] < CHIP_DOUBT[1]), y[k, 9] < CHIP_DOUBT[0])))
        print(f"  at the program's odds: chipped from 0.1 of the width: {at(chipped & (t[:, 7] * DEPTH_UNIT >= 0.1))}; from 0.06 to 0.1: "
              f"{at(chipped & (t[:, 7] * DEPTH_UNIT >= 0.06) & (t[:, 7] * DEPTH_UNIT < 0.1))}; whole: {at(whole)}")
        k = t[:, 11] > 0
        deg = math.degrees(SLOPE_UNIT)
        e, true, said = (y[k][:, 6:8] - t[k][:, 4:6]) * deg, np.hypot(t[k, 4], t[k, 5]) * deg, np.hypot(y[k, 6], y[k, 7]) * deg
        sd = np.exp(np.clip(y[k, 8], -7, 3)) * deg * scale["slope"]
        for lo, hi in ((0, 3), (3, 8), (8, 16), (16, 90)):
            q = (true >= lo) & (true < hi)
            if q.any():
                print(f"  true slopes of {lo} to {hi} degrees: {int(q.sum())}, rms {np.sqrt((e[q] ** 2).mean()):.2f} a coordinate, median |error| {np.median(np.abs(e[q])):.2f}, said less true {np.mean(said[q] - true[q]):+.2f}, median deviation {np.median(sd[q]):.2f}")
    else:
        sure, maybe = y[:, 0] < PRONG_DOUBT[0], (y[:, 0] >= PRONG_DOUBT[0]) & (y[:, 0] < PRONG_DOUBT[1])
        for name, k in (("whole", there), ("not whole", ~there)):
            print(f"  {name}: {int(k.sum())}, fail {int((sure & k).sum())}, doubtful {int((maybe & k).sum())}, pass {int((k & ~sure & ~maybe).sum())}")
    return scale


def main():
    ap = parts.arguments(__doc__, 3000, 48, 2e-3, 11)
    ap.add_argument("--net", choices=list(SIDE), required=True)
    ap.add_argument("--wide", type=float, default=1.0, help="channels of the model of stones, times this")
    ap.add_argument("--teacher", metavar="ONNX", help="learn to draw stones as this exported model does; all that does not draw stays as --start has it")
    a = parts.parsed(ap)
    if a.measure:
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = a.threads
        session = onnxruntime.InferenceSession(a.measure, options)
        frames, (_, held) = load(a.net, a.pieces)
        run = lambda images: session.run(None, {"image": np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), np.float32)})[0]
        figures(a.net, *answers(run, a.net, frames, held), held)
        return
    frames, (train, held) = load(a.net, a.pieces)
    print(f"{len(frames)} frames; {len(train)} windows to learn on, {len(held)} left out", flush=True)
    looks = Looks(a.net, frames, train, SIDE[a.net], MASK, plans() if a.net == "stones" else None, rarity(a.net, train),
                  {"slope": SLOPE_UNIT, "chip": DEPTH_UNIT}, a.device)
    model, ema = (Net(a.net, a.wide).to(a.device, memory_format=torch.channels_last) for _ in range(2))
    if a.start:
        parts.begin(model, a.start, looks.batch(256, a.seed)[0].contiguous(memory_format=torch.channels_last))
    teacher = Teacher(a.teacher, a.threads) if a.teacher else None
    for k, p in model.named_parameters():
        p.requires_grad_(teacher is None or k.split(".")[0] in DRAWING)
    course = parts.Course(a, model, ema, 0.02)

    def run(images):
        with torch.no_grad():
            return ema(tensor(images).to(a.device)).cpu().numpy()
    while course.past() < 1:
        x, t, masks = looks.batch(a.batch, a.seed * 1_000_003 + course.step)

        def loss():
            for k, m in model.named_children():
                m.train(teacher is None or k in DRAWING)
            y, plan = model.full(x.contiguous(memory_format=torch.channels_last))
            return loss_beside(y, plan, *teacher(x)) if teacher else loss_of(a.net, y, t, plan, masks)
        if course.learn(loss) and held:
            figures(a.net, *answers(run, a.net, frames, held, 1), held)
    y, t = answers(run, a.net, frames, held)
    scale = figures(a.net, y, t, held)
    if teacher:  # it answers as that one does, whose deviations were set on more
        scale = json.loads(parts.opened(a.teacher)[1]["loupe.deviation_scale"])
    side = SIDE[a.net]
    parts.export(a.out, ema.cpu(), {"image": (3, side, side)}, a.net, VERSION[a.net], COLUMNS[a.net], "stones.toml", a.seed, {
        "loupe.side": str(side), "loupe.window": str(WINDOW if a.net == "stones" else PRONG_WINDOW),
        "loupe.units": json.dumps({"slope": SLOPE_UNIT, "chip": DEPTH_UNIT}), "loupe.deviation_scale": json.dumps(scale)})


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Train, measure and export the reader of marks (models/marks.onnx): what is stamped, engraved or lasered into metal.

    python models/train_marks.py --out models/marks.onnx [--pieces DIR ...] [--minutes 60] [--workers 1]
    python models/train_marks.py --measure models/marks.onnx [--pieces DIR ... [--all]]
    python models/train_marks.py --calibrate models/marks.onnx

The letters are drawn in the fonts of Debian's packages (FONTS; `apt-get install` them) and those of OpenCV, cut into or raised out of a
surface, and lit here: a mirror, more or less rough, that shows a surrounding made of the lights of a station. No picture is kept; every one is new.
--pieces adds rendered pieces (datasets/render, kind stamp) whose truth says where the mark is: every fifth is left out.
The fonts of HELD_OUT are never learned on; --measure reads words drawn in them, and the marks of the pieces left out, and --calibrate sets on them from
when on a text is believed.

The network is shown a window of HEIGHT pixels, as wide as the text, and says of every fourth column which letter stands there, or none (CTC,
Graves et al. 2006). O and 0, I and 1 are one letter each. Goes on from the last checkpoint (--fresh starts anew).
"""
import argparse, glob, json, math, os, time

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import cv2
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont

VERSION = "1.0.0"
CHARSET = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
HEIGHT = 32
CANVAS = 96  # height of what is drawn, before the camera sees it
WIDTHS = [64, 80, 96, 112, 128, 160, 192]
FONTS = """fonts-roboto-unhinted fonts-lato fonts-open-sans fonts-liberation fonts-dejavu-core fonts-dejavu-extra fonts-freefont-ttf fonts-cantarell
fonts-inter fonts-courier-prime fonts-crosextra-carlito fonts-texgyre fonts-b612 fonts-comfortaa fonts-play fonts-quicksand fonts-oxygen fonts-ebgaramond
fonts-league-spartan fonts-dosis fonts-hack fonts-inconsolata fonts-firacode fonts-cabin fonts-jura fonts-ocr-a fonts-karla fonts-gfs-neohellenic
fonts-linuxlibertine fonts-junction fonts-paratype fonts-urw-base35 fonts-osifont fonts-routed-gothic fonts-national-park""".split()
HELD_OUT = ["cabin", "b612", "play", "routed-gothic", "cantarell", "courier-prime", "gfsneohellenic"]
NUMBERS = "333 375 417 500 583 585 625 750 800 830 833 835 850 875 900 916 917 925 950 958 990 995 999".split()
SYMBOLS = ["AU", "PT", "PD", "AG", "S", "K", "CT", "KT", "GP", "GF", "STERLING", "PLAT", "ITALY", "IT", "MADE"]
KARAT = ["8K", "9K", "10K", "12K", "14K", "18K", "20K", "21K", "22K", "24K"]
BELIEVED = {"sure": 0.8, "margin": 20.0}  # before --calibrate
WRONG = 0.0003  # of orders that differ from the mark in one letter, how many may be taken for it
TURNABLE = set("0168HNSXZOI9")  # letters that are letters upside down too


def fonts(held_out):
    """Paths of the fonts' files, each with the family that its share goes by."""
    out = {}
    for f in sorted(glob.glob("/usr/share/fonts/**/*.[to]tf", recursive=True)):
        name = os.path.basename(f).lower()
        if any(k in name for k in ("symbol", "emoji", "mathjax", "dingbat", "music", "d050000l", "math", "keyboard", "initials", "mnemonics")):
            continue
        family = name.split("-")[0].split(".")[0][:8]
        if any(h.replace("-", "") in name.replace("-", "") for h in HELD_OUT) == held_out:
            out.setdefault(family, []).append(f)
    return [out[k] for k in sorted(out)]


def legible(font):
    """Whether a font draws digits and capitals, each another way."""
    try:
        seen = {bytes(font.getmask(c)) for c in CHARSET}
    except OSError:
        return False
    return len(seen) == len(CHARSET)


class Words:
    """What is written: marks of the trade, such with a letter wrong, and any letters at all, so that no text is expected."""

    def __init__(self, rng):
        self.rng = rng

    def one(self, most):
        r = self.rng
        kind = r.random()
        if kind < 0.3:
            t = str(r.choice(NUMBERS))
            if r.random() < 0.35:
                s = str(r.choice(SYMBOLS[:5]))
                t = s + t if r.random() < 0.7 else t + s
        elif kind < 0.42:
            t = str(r.choice(KARAT))
            if r.random() < 0.4:
                t += str(r.choice(["T", "GP", "GF", "P", "IT", "CT"]))
        elif kind < 0.5:
            t = str(r.choice(SYMBOLS))
        elif kind < 0.8:
            t = "".join(r.choice(list("0123456789"), int(r.integers(1, 7))))
        else:
            t = "".join(r.choice(list(CHARSET), int(r.integers(1, 7))))
        if r.random() < 0.3 and len(t) > 1:
            k = int(r.integers(len(t)))
            t = t[:k] + str(r.choice(list(CHARSET[:10] if t[k].isdigit() else CHARSET))) + t[k + 1:]
        return t[:most]


class Drawer:
    """Letters, cut into metal and lit."""

    def __init__(self, seed, held_out=False):
        self.rng = np.random.default_rng(seed)
        self.words = Words(self.rng)
        self.families = fonts(held_out)
        self.loaded = {}
        self.held_out = held_out
        if not self.families:
            raise SystemExit("no fonts: apt-get install " + " ".join(FONTS))

    def font(self):
        r = self.rng
        while True:
            family = self.families[int(r.integers(len(self.families)))]
            path = family[int(r.integers(len(family)))]
            if path not in self.loaded:
                try:
                    f = ImageFont.truetype(path, 64)
                    self.loaded[path] = f if legible(f) else None
                except OSError:
                    self.loaded[path] = None
            if self.loaded[path] is not None:
                return self.loaded[path]

    def glyphs(self, text):
        """The letters white on black, close about them, 64 pixels or so high."""
        r = self.rng
        kind = r.random()
        if not self.held_out and kind < 0.12:  # a plotter's letters
            face = int(r.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
            thick = int(r.integers(3, 10))
            (w, h), base = cv2.getTextSize(text, face, 2.5, thick)
            img = np.zeros((h + base + 40, w + 40), np.uint8)
            cv2.putText(img, text, (20, h + 20), face, 2.5, 255, thick, cv2.LINE_AA)
        else:
            font = ImageFont.load_default(64) if not self.held_out and kind < 0.2 else self.font()
            stroke = int(r.integers(0, 4))
            if r.random() < 0.25 and len(text) > 1:  # letter by letter, punched by hand
                tiles = []
                for c in text:
                    l, t, rr, b = font.getbbox(c)
                    tile = Image.new("L", (rr - l + 16, 110), 0)
                    ImageDraw.Draw(tile).text((8 - l, 20), c, 255, font=font, stroke_width=stroke)
                    tile = tile.rotate(float(r.normal(0, 3.0)), resample=Image.BILINEAR, translate=(0, float(r.normal(0, 2.5))))
                    tiles.append(np.asarray(tile))
                gap = int(r.integers(-6, 14))
                img = np.zeros((110, sum(t.shape[1] for t in tiles) + 40 + 14 * len(tiles)), np.uint8)
                x = 10
                for t in tiles:
                    np.maximum(img[:, x:x + t.shape[1]], t, out=img[:, x:x + t.shape[1]])
                    x += max(t.shape[1] + gap, 12)
            else:
                l, t, rr, b = font.getbbox(text)
                img = Image.new("L", (rr - l + 40, b - t + 40), 0)
                ImageDraw.Draw(img).text((20 - l, 20 - t), text, 255, font=font, stroke_width=stroke)
                img = np.asarray(img)
        ys, xs = np.nonzero(img > 60)
        if len(ys) == 0:
            return None
        img = img[ys.min():ys.max() + 1, xs.min():xs.max() + 1]
        stretch = math.exp(r.normal(0, 0.12))
        return cv2.resize(img, (max(4, round(img.shape[1] * stretch)), img.shape[0]), interpolation=cv2.INTER_AREA)

    def noise(self, shape, scale):
        r = self.rng
        n = r.standard_normal((max(2, round(shape[0] / scale) + 2), max(2, round(shape[1] / scale) + 2))).astype(np.float32)
        return cv2.resize(n, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)

    def surrounding(self):
        """What a mirror whose slope is (x, y) shows: radiance over slopes from -SPAN to SPAN."""
        r = self.rng
        n, span = 160, 1.0
        y, x = np.mgrid[0:n, 0:n].astype(np.float32) / (n - 1) * 2 * span - span
        # The camera's own place in the mirror is off the middle where the metal leans.
        a, b = r.normal(0, 0.06, 2)
        x, y = x - a, y - b
        d = np.hypot(x, y)
        env = np.full((n, n), r.uniform(0.0, 0.15), np.float32)
        kinds = ["dome", "ring", "bars", "coaxial", "dark_field", "diffuse"]
        for _ in range(1 if r.random() < 0.8 else 2):
            kind = kinds[int(r.choice(6, p=[0.27, 0.22, 0.16, 0.1, 0.1, 0.15]))]
            k = r.uniform(0.6, 1.2)
            if kind == "dome":
                env += k * (d > r.uniform(0.02, 0.12)) * (d < r.uniform(0.5, 1.0)) * (1 + r.uniform(-0.5, 0.5) * d)
            elif kind == "diffuse":
                env += k * np.clip(1 + r.uniform(-0.6, 0.6) * x + r.uniform(-0.6, 0.6) * y - (d < r.uniform(0, 0.1)) * r.uniform(0, 0.9), 0, 2)
            elif kind == "ring":
                mid, wide = r.uniform(0.12, 0.45), r.uniform(0.02, 0.09)
                ring = np.abs(d - mid) < wide
                if r.random() < 0.4:
                    ring = ring & (np.cos(np.arctan2(y, x) * int(r.integers(8, 25)) + r.uniform(0, 6)) > 0)
                env += 2 * k * ring
            elif kind == "bars":
                t = r.uniform(0, math.pi)
                u, v = x * math.cos(t) + y * math.sin(t), -x * math.sin(t) + y * math.cos(t)
                both = np.abs(u) if r.random() < 0.7 else u
                env += 2 * k * ((np.abs(both - r.uniform(0.12, 0.5)) < r.uniform(0.03, 0.12)) & (np.abs(v) < r.uniform(0.3, 0.8)))
            elif kind == "coaxial":
                env += 1.5 * k * (d < r.uniform(0.06, 0.3))
            else:
                env += 2 * k * (np.abs(d - r.uniform(0.55, 0.85)) < 0.08)
        if r.random() < 0.3:
            env += 0.3 * np.abs(self.noise((n, n), r.uniform(10, 40)))
        rough = math.exp(r.uniform(math.log(0.006), math.log(0.2)))
        return cv2.GaussianBlur(env, (0, 0), max(0.5, rough * (n - 1) / (2 * span))), span

    def sample(self, width, text=None):
        """A window of HEIGHT x `width` grey levels (uint8), what it says, and how high the letters are in the frame's pixels."""
        r = self.rng
        aspect = width / HEIGHT
        empty = text is None and r.random() < 0.07
        for _ in range(60):
            extent = 1.05 + r.gamma(2.0, 0.16)  # height of the window, of the letters'
            t = text or self.words.one(9)
            g = self.glyphs(t)
            if g is None:
                continue
            long = g.shape[1] / g.shape[0]  # of the letters' height
            spare = aspect * extent - long
            if -0.1 <= spare <= (1.3 if r.random() < 0.8 else 3.5):
                break
        else:
            extent, spare = max(1.05, (long + 0.3) / aspect), 0.3
        H, W = CANVAS, round(CANVAS * aspect)
        cap = H / extent  # height of the letters on the canvas
        shape = (H, W)
        # Where the letters stand.
        before = r.uniform(0.0, 1.0) if spare > 0.6 else 0.5 + 0.2 * r.uniform(-1, 1)
        x0 = (before * max(spare, 0.0) + min(spare, 0.0) / 2) * cap
        y0 = (H - cap) / 2 + r.normal(0, 0.04) * cap
        angle = math.radians(r.normal(0, 2.2))
        shear = r.normal(0, 0.06)
        bend = r.normal(0, 0.03) if r.random() < 0.3 else 0.0
        k = cap / g.shape[0]
        yy, xx = np.mgrid[0:H, 0:W].astype(np.float32)
        u, v = xx - W / 2, yy - H / 2
        ca, sa = math.cos(angle), math.sin(angle)
        u, v = ca * u + sa * v, -sa * u + ca * v
        v = v + bend * u * u / cap
        u = u + shear * v
        u, v = (u + W / 2 - x0) / k, (v + H / 2 - y0) / k
        soft = cv2.GaussianBlur(g.astype(np.float32) / 255, (0, 0), r.uniform(0.6, 3.4))
        letters = cv2.remap(soft, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
        label = t.upper().replace("O", "0").replace("I", "1")
        style = r.random()
        if empty:
            letters = np.zeros_like(letters)
            label = ""
        elif text is None and r.random() < 0.07 and not set(label) <= TURNABLE:
            letters = np.ascontiguousarray(letters[::-1, ::-1])
            label = ""
        # Depth is worn, and struck harder on one side.
        worn = np.clip(1 - r.uniform(0, 0.5) * np.abs(self.noise(shape, r.uniform(8, 40))), 0.1, 1)
        if r.random() < 0.3:
            lean = (xx / W - 0.5) * r.uniform(-1, 1) + (yy / H - 0.5) * r.uniform(-1, 1)
            worn = worn * np.clip(1 + lean, 0.25, 1.3)
        filled, t_soot = 0.0, letters
        if style < 0.5:  # cut in
            depth = -math.exp(r.uniform(math.log(0.03), math.log(0.17)))
            h = depth * cap * worn * letters
        elif style < 0.75:  # in relief, most in a frame
            depth = math.exp(r.uniform(math.log(0.03), math.log(0.15)))
            field = np.ones(shape, np.float32)
            if r.random() < 0.75:
                pad = r.uniform(0.02, 0.4) * cap
                wide = long * cap
                field = np.clip((np.minimum(wide / 2 + pad - np.abs(u * k - wide / 2), cap / 2 + pad - np.abs(v * k - cap / 2))) / (0.06 * cap) + 0.5, 0, 1)
            h = depth * cap * worn * (letters - 1) * field
            t_soot = (1 - letters) * field
        else:  # lasered: shallow, rough, dark
            h = -r.uniform(0.0, 0.03) * cap * worn * letters
            h = h + letters * r.uniform(0, 0.8) * self.noise(shape, 1.5)
            filled = r.uniform(0.25, 0.85)
        if filled == 0.0 and r.random() < 0.4:
            filled = r.uniform(0.1, 0.8)
        # The metal about it.
        finish = r.random()
        if finish < 0.35:
            h = h + r.uniform(0, 0.15) * self.noise(shape, r.uniform(10, 40))
        elif finish < 0.65:
            t = r.uniform(0, math.pi) if r.random() < 0.5 else float(r.choice([0, math.pi / 2])) + r.normal(0, 0.05)
            n = 2 * (H + W)
            line = cv2.GaussianBlur(r.standard_normal((1, n)).astype(np.float32), (0, 0), r.uniform(0.6, 2.5))[0]
            line /= line.std() + 1e-6
            at = np.clip(xx * math.cos(t) + yy * math.sin(t) + n / 2, 0, n - 1)
            h = h + r.uniform(0.03, 0.35) * np.interp(at.ravel(), np.arange(n), line).reshape(shape).astype(np.float32)
            h = h + r.uniform(0, 0.08) * self.noise(shape, 3)
        elif finish < 0.92:
            h = h + r.uniform(0.05, 0.4) * self.noise(shape, r.uniform(1.2, 4))
        else:
            for _ in range(2):
                t = r.uniform(0, math.pi)
                h = h + r.uniform(0.1, 0.6) * np.abs(np.sin((xx * math.cos(t) + yy * math.sin(t)) / r.uniform(2, 6))).astype(np.float32)
        for _ in range(int(r.poisson(0.5))):  # scratches and pits
            line = np.zeros(shape, np.float32)
            p = [(int(r.integers(W)), int(r.integers(H))) for _ in range(2)]
            if r.random() < 0.6:
                cv2.line(line, p[0], p[1], 1.0, int(r.integers(1, 4)), cv2.LINE_AA)
            else:
                cv2.circle(line, p[0], int(r.integers(2, 9)), 1.0, -1, cv2.LINE_AA)
            h = h - r.uniform(0.3, 2.0) * cv2.GaussianBlur(line, (0, 0), 1.0)
        gx = cv2.Sobel(h, cv2.CV_32F, 1, 0, scale=0.125)
        gy = cv2.Sobel(h, cv2.CV_32F, 0, 1, scale=0.125)
        curve = r.normal(0, 0.12, 2)
        gx = gx + r.normal(0, 0.05) + curve[0] * (xx / H - W / (2 * H))
        gy = gy + r.normal(0, 0.05) + curve[1] * (yy / H - 0.5)
        env, span = self.surrounding()
        n = env.shape[0] - 1
        to = lambda s: ((s / (2 * span) + 0.5) * n).astype(np.float32)
        light = cv2.remap(env, to(gx), to(gy), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # Metal that is not bare: a diffuse part, dark where it is deep.
        dull = r.uniform(0, 0.4)
        light = (1 - dull) * light + dull * env.mean() * (1 - 0.6 * gx * r.normal() - 0.6 * gy * r.normal())
        light = light * (1 - filled * np.clip(t_soot, 0, 1)) if r.random() < 0.93 else light * (1 - filled) + filled * t_soot
        if r.random() < 0.3:
            light = light * np.clip(1 + 0.3 * self.noise(shape, r.uniform(20, 80)), 0.1, 2)
        # The camera: its pixels, blur, noise, exposure.
        high = math.exp(r.uniform(math.log(7.0), math.log(60.0)))
        px = max(1.0, cap / high)  # canvas pixels of one of the frame's
        light = cv2.GaussianBlur(light, (0, 0), px * r.uniform(0.3, 0.9))
        fw, fh = max(6, round(W / px)), max(6, round(H / px))
        frame = cv2.resize(light, (fw, fh), interpolation=cv2.INTER_AREA)
        level = np.percentile(frame, r.uniform(50, 98)) + 1e-4
        frame = 255 * np.clip(frame / level * r.uniform(0.15, 1.0), 0, 1.0) ** r.uniform(0.45, 1.1)
        frame = frame + r.normal(0, 1, frame.shape) * math.exp(r.uniform(math.log(0.3), math.log(6)))
        frame = np.clip(np.rint(frame), 0, 255).astype(np.uint8)
        if r.random() < 0.15:
            frame = cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, int(r.integers(70, 96))])[1], 0)
        way = cv2.INTER_LINEAR if fh <= HEIGHT else cv2.INTER_AREA
        return cv2.resize(frame, (width, HEIGHT), interpolation=way), label, cap / px


class Pieces:
    """The marks of rendered pieces."""

    def __init__(self, folders, part):
        self.marks = []
        seen = {}
        for f in sorted(p for d in folders for p in glob.glob(os.path.join(d, "*", "truth.json"))):
            folder = os.path.dirname(f)
            kind = os.path.basename(folder).split("-")[0]
            k = seen[kind] = seen.get(kind, -1) + 1
            if part is not None and (k % 5 == 4) != (part == "left out"):
                continue
            truth = json.load(open(f))
            piece = json.load(open(os.path.join(folder, "piece.json")))
            for m in truth.get("hallmarks", []):
                for row in piece["frames"]:
                    image = cv2.imread(os.path.join(folder, row["file"]), cv2.IMREAD_GRAYSCALE)
                    um = row["um_per_px"]
                    m = dict(m, um=um, high=m["height_mm"] * 1000 / um, long=m["width_mm"] * 1000 / um, light=row.get("light"))
                    self.marks.append((image, m, f"{os.path.basename(folder)}/{row['file']}"))

    @staticmethod
    def window(image, m, rng, width=None, room=None):
        """A window about a mark as the detector may have found it."""
        j = (lambda s: rng.normal(0, s)) if rng is not None else (lambda s: 0.0)
        tall = m["high"] * (room or 1.05 + rng.gamma(2.0, 0.16))
        long = max(m["long"] + (tall - m["high"]) * (1.0 if rng is None else rng.uniform(0.3, 1.5)), tall)
        width = width or int(np.clip(round(long / tall * HEIGHT), 16, 320))
        kx, ky = long / width, tall / HEIGHT
        a = -math.radians(m["angle_deg"] + j(2.0))
        c, s = math.cos(a), math.sin(a)
        cx, cy = m["x_px"] + j(0.04) * m["high"], m["y_px"] + j(0.04) * m["high"]
        u, v = (width - 1) / 2, (HEIGHT - 1) / 2
        src = np.array([[c * kx, -s * ky, cx - c * kx * u + s * ky * v], [s * kx, c * ky, cy - s * kx * u - c * ky * v]])
        if ky > 1.3:
            image = cv2.GaussianBlur(image, (0, 0), 0.4 * ky)
        return cv2.warpAffine(image, src, (width, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)


def encode(text):
    return [CHARSET.index(c) for c in text.upper().replace("O", "0").replace("I", "1") if c not in " ."]


class Batches(torch.utils.data.IterableDataset):
    """Batches of windows of one width, for ever."""

    def __init__(self, seed, size, pieces):
        self.seed, self.size, self.pieces = seed, size, pieces

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        drawer = Drawer(self.seed * 1000 + (info.id if info else 0))
        cv2.setNumThreads(1)
        r = drawer.rng
        while True:
            width = int(r.choice(WIDTHS))
            own = [m for m in self.pieces.marks if 0.7 < (m[1]["long"] / m[1]["high"] + 0.3) / 1.3 * HEIGHT / width < 1.3] if self.pieces else []
            images, labels = [], []
            for _ in range(self.size):
                if own and r.random() < 0.15:
                    image, m, _ = own[int(r.integers(len(own)))]
                    w = Pieces.window(image, m, r, width)
                    w = np.clip(128 + (w.astype(np.float32) - 128) * r.uniform(0.6, 1.2) + r.normal(0, 15), 0, 255).astype(np.uint8)
                    images.append(w)
                    labels.append(encode(m["text"]))
                else:
                    w, t, _ = drawer.sample(width)
                    images.append(w)
                    labels.append(encode(t))
            yield (torch.from_numpy(np.stack(images))[:, None], torch.tensor([c for l in labels for c in l], dtype=torch.long),
                   torch.tensor([len(l) for l in labels], dtype=torch.long))


def block(i, o, kernel=3, pad=1):
    return nn.Sequential(nn.Conv2d(i, o, kernel, padding=pad, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))


class Reader(nn.Module):
    """Window [N, 1, 32, W] of grey levels to log probabilities [N, W / 4, letters, any other sign (never), none]."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            block(1, 24), nn.MaxPool2d(2), block(24, 48), nn.MaxPool2d(2), block(48, 96), block(96, 96), nn.MaxPool2d((2, 1)),
            block(96, 144), nn.MaxPool2d((2, 1)), block(144, 160, (2, 3), (0, 1)))
        self.along = nn.Sequential(nn.Conv1d(160, 160, 7, padding=3, bias=False), nn.BatchNorm1d(160), nn.ReLU(inplace=True), nn.Dropout(0.1))
        self.out = nn.Conv1d(160, len(CHARSET) + 1, 1)

    def forward(self, x):
        x = x.float()
        mean = x.mean((2, 3), keepdim=True)
        off = x - mean
        x = off / ((off * off).mean((2, 3), keepdim=True).sqrt() + 4.0)
        x = self.body(x).squeeze(2)
        x = x + self.along(x)
        return self.out(x).transpose(1, 2).log_softmax(2)


def greedy(rows):
    out, last = "", len(CHARSET)
    for k in rows.argmax(1):
        if k != last and k != len(CHARSET):
            out += CHARSET[k]
        last = k
    return out


def measure(read, pieces, seed=99, count=3000):
    """Prints how many windows are read right: drawn in fonts that were not learned on, by the letters' height, and of pieces left out."""
    drawer = Drawer(seed, held_out=True)
    bins = [(7, 10), (10, 14), (14, 20), (20, 30), (30, 61)]
    got = {b: [0, 0] for b in bins}
    for _ in range(count):
        w, t, high = drawer.sample(int(drawer.rng.choice(WIDTHS)), drawer.words.one(7))
        for b in bins:
            if b[0] <= high < b[1]:
                got[b][1] += 1
                got[b][0] += greedy(read(w)) == t.upper().replace("O", "0").replace("I", "1")
    print("drawn, fonts left out: " + "; ".join(f"{b[0]} to {b[1]} px {g[0]} of {g[1]}" for b, g in got.items()), flush=True)
    if pieces and pieces.marks:
        got = {b: [0, 0] for b in bins}
        for image, m, name in pieces.marks:
            if not m["text"]:
                continue
            for b in bins:
                if b[0] <= m["high"] < b[1]:
                    got[b][1] += 1
                    got[b][0] += greedy(read(Pieces.window(image, m, None, room=1.2))) == "".join(CHARSET[k] for k in encode(m["text"]))
        print("rendered: " + "; ".join(f"{b[0]} to {b[1]} px {g[0]} of {g[1]}" for b, g in got.items()), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out")
    a.add_argument("--measure")
    a.add_argument("--calibrate")
    a.add_argument("--pieces", nargs="*", default=[])
    a.add_argument("--all", action="store_true", help="measure on all of the pieces, none of which was learned on")
    a.add_argument("--minutes", type=float, default=60)
    a.add_argument("--workers", type=int, default=1)
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--batch", type=int, default=64)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--seed", type=int, default=5)
    a.add_argument("--fresh", action="store_true")
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    if a.measure or a.calibrate:
        import onnxruntime as ort
        o = ort.SessionOptions()
        o.intra_op_num_threads = a.threads
        s = ort.InferenceSession(a.measure or a.calibrate, o)
        read = lambda w: np.delete(s.run(None, {"image": w[None, None].astype(np.float32)})[0][0], len(CHARSET), axis=1)
        if a.calibrate:
            calibrate(a.calibrate, read, 10000)
            return
        measure(read, Pieces(a.pieces, None if a.all else "left out") if a.pieces else None)
        return
    torch.manual_seed(a.seed)
    pieces = Pieces(a.pieces, "learned") if a.pieces else None
    model = Reader()
    print(f"{sum(p.numel() for p in model.parameters())} weights, {len(pieces.marks) if pieces else 0} marks of pieces", flush=True)
    opt = torch.optim.AdamW(model.parameters(), a.lr, weight_decay=1e-3)
    mean = {k: v.clone() for k, v in model.state_dict().items()}
    step, spent = 0, 0.0
    keep = a.out + ".ckpt"
    if os.path.exists(keep) and not a.fresh:
        c = torch.load(keep, weights_only=False)
        model.load_state_dict(c["model"]); opt.load_state_dict(c["opt"])
        mean, step, spent = c["mean"], c["step"], c["spent"]
    loader = iter(torch.utils.data.DataLoader(Batches(a.seed + step, a.batch, pieces), batch_size=None, num_workers=a.workers, prefetch_factor=4 if a.workers else None))
    ctc = nn.CTCLoss(blank=len(CHARSET), zero_infinity=True)
    began, losses, saved = time.time() - spent, [], time.time()
    model.train()
    while True:
        done = (time.time() - began) / (60 * a.minutes)
        if done >= 1:
            break
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * min(done, 1.0)))
        x, y, n = next(loader)
        p = model(x).transpose(0, 1)
        loss = ctc(p, y, torch.full((len(n),), p.shape[0], dtype=torch.long), n)
        opt.zero_grad(); loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        opt.step()
        step += 1
        keep_share = min(0.998, 1 - 1 / (step + 1))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                mean[k].copy_(v) if not v.is_floating_point() else mean[k].mul_(keep_share).add_(v, alpha=1 - keep_share)
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step}, {done:.3f}, loss {np.mean(losses[-100:]):.3f}", flush=True)
        if time.time() - saved > 240:
            torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "mean": mean, "step": step, "spent": time.time() - began}, keep)
            saved = time.time()
    model.load_state_dict(mean)
    model.eval()
    export(model, a.out, step, a)


class Exported(nn.Module):
    """With a column for signs that are no letters, which this reader never sees."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        p = self.model(x)
        return torch.cat([p[:, :, :-1], torch.full_like(p[:, :, :1], -16.0), p[:, :, -1:]], 2)


def export(model, out, step, a):
    import onnx
    from stamp import stamp
    tmp = out + ".tmp"
    torch.onnx.export(Exported(model).eval(), (torch.zeros(1, 1, HEIGHT, 96),), tmp, input_names=["image"], output_names=["letters"], opset_version=17,
                      dynamic_axes={"image": {3: "width"}, "letters": {1: "steps"}}, dynamo=False)
    g = onnx.load(tmp)
    stamp(g, {"loupe.schema": "loupe.model/1", "loupe.name": "marks", "loupe.version": VERSION, "loupe.columns": json.dumps(list(CHARSET)),
              "loupe.height": str(HEIGHT), "loupe.width_min": "16", "loupe.width_max": "320", "loupe.thresholds": json.dumps(BELIEVED),
              "loupe.trained_on": "letters drawn and lit by train_marks.py", "loupe.steps": str(step), "loupe.seed": str(a.seed), "loupe.licence": "Apache-2.0"})
    g.producer_name, g.producer_version, g.doc_string = "loupe", VERSION, ""
    onnx.checker.check_model(g)
    onnx.save(g, tmp)
    os.replace(tmp, out)
    print(f"{out}: {os.path.getsize(out)} bytes, {step} steps", flush=True)


# ---------------------------------------------------------------- when it is believed

def log_likelihood(rows, text):
    """Natural log of the probability of a text over all its alignments (Graves et al. 2006)."""
    blank = len(CHARSET)
    symbols = np.full(2 * len(text) + 1, blank)
    symbols[1::2] = text
    may_skip = np.zeros(len(symbols), bool)
    may_skip[3::2] = symbols[3::2] != symbols[1:-2:2]
    alpha = np.full(len(symbols), -np.inf)
    alpha[:2] = rows[0, symbols[:2]]
    for row in rows[1:]:
        more = np.concatenate([[-np.inf], alpha[:-1]])
        skip = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], alpha[:-2]]), -np.inf)
        alpha = np.logaddexp(np.logaddexp(alpha, more), skip) + row[symbols]
    return np.logaddexp(alpha[-1], alpha[-2]) if len(symbols) > 1 else alpha[0]


def believed(read, seed, count):
    """Of words in fonts that were not learned on: how high the letters are, the probability of what they say, and that of the likeliest text that
    differs from it in a letter and takes its place in the order (half of these by letters that look like it)."""
    like = {"0": "8Q6D", "1": "7L", "2": "Z7", "3": "8", "4": "A", "5": "S6", "6": "G85", "7": "1T", "8": "B036", "9": "0", "K": "X", "P": "R", "T": "1", "A": "4", "G": "6", "S": "5"}
    drawer = Drawer(seed, held_out=True)
    r = drawer.rng
    out = []
    for _ in range(count):
        t = drawer.words.one(7)
        w, _, high = drawer.sample(int(r.choice(WIDTHS)), t)
        rows = read(w)
        true = encode(t)
        k = int(r.integers(len(true)))
        c = CHARSET[true[k]]
        choice = [q for q in (like.get(c, "") if r.random() < 0.5 else CHARSET) or CHARSET if q != c]
        wrong = true[:k] + [CHARSET.index(str(r.choice(choice)))] + true[k + 1:]
        out.append((high, log_likelihood(rows, true), log_likelihood(rows, wrong)))
    return np.array(out)


def calibrate(path, read, count):
    """Sets from when on a text is believed, so that of orders that differ from the mark in a letter no more than WRONG are taken for it."""
    import onnx
    from stamp import restamp
    got = believed(read, 4242, count)
    for sure in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98):
        print(f"believed from {sure} on: right orders {np.mean(got[:, 1] >= math.log(sure)):.4f}, wrong ones {np.mean(got[:, 2] >= math.log(sure)):.5f} of {count}", flush=True)
    sure = float(np.exp(np.quantile(got[:, 2], 1 - WRONG)))
    g = onnx.load(path)
    meta = {p.key: p.value for p in g.metadata_props}
    restamp(g, {**meta, "loupe.thresholds": json.dumps({**BELIEVED, "sure": round(min(max(sure, 0.5), 0.999), 3)})}, path)
    print(f"sure from {sure:.3f} on", flush=True)


if __name__ == "__main__":
    main()

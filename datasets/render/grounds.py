"""What jewellery is photographed on: cloth, felt, paper, skin, wood, stone, leather, a cutting mat, made by procedure, and parts of given pictures."""
import math
from pathlib import Path

import cv2
import numpy as np

KINDS = ("cloth", "print", "felt", "paper", "sheet", "skin", "wood", "stone", "leather", "mat", "plain", "picture")
SKINS = np.array([[0.90, 0.72, 0.60], [0.80, 0.58, 0.45], [0.66, 0.45, 0.33], [0.48, 0.31, 0.22], [0.33, 0.21, 0.15]], np.float32)


def pictures(folders):
    """The pictures of some folders, 640 pixels long at most, RGB, 8 bits."""
    out = []
    for path in sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")):
        im = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if im is not None and min(im.shape[:2]) >= 96:
            k = min(1.0, 640 / max(im.shape[:2]))
            out.append(cv2.resize(im, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)[:, :, ::-1].copy())
    return out


def low(rng, n, cells):
    """Noise of n x n pixels whose spots are n / cells wide; deviation about 1."""
    g = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
    return cv2.resize(g, (n, n), interpolation=cv2.INTER_CUBIC)


def pink(rng, n, first=2):
    """Noise with spots of all sizes."""
    out, c, a = np.zeros((n, n), np.float32), first, 1.0
    while c < n:
        out += a * low(rng, n, c)
        c, a = c * 2, a * 0.6
    return out / (out.std() + 1e-6)


def colour(rng, dull=0.5):
    """Any colour; the larger `dull`, the greyer."""
    h, s, v = rng.uniform(0, 360), rng.uniform(0, 1) ** (0.5 + 2 * dull), rng.uniform(0.05, 0.95)
    return cv2.cvtColor(np.array([[[h, s, v]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def ramp(rng, t, tone, spread):
    """Colours about `tone` along a field of deviation 1."""
    other = np.clip(tone * (1 + rng.normal(0, spread)) + rng.normal(0, 0.3 * spread, 3), 0, 1)
    k = np.clip(0.5 + 0.3 * t, 0, 1)[..., None]
    return tone * (1 - k) + other * k


def turned(rng, n):
    a = rng.uniform(0, math.pi)
    y, x = np.mgrid[0:n, 0:n].astype(np.float32)
    wx, wy = 2 * low(rng, n, 4) * n / 256, 2 * low(rng, n, 4) * n / 256
    return (x + wx) * math.cos(a) + (y + wy) * math.sin(a), -(x + wx) * math.sin(a) + (y + wy) * math.cos(a)


def cloth(rng, n):
    u, v = turned(rng, n)
    p = math.exp(rng.uniform(math.log(2.2), math.log(14))) * n / 512
    q = p * rng.uniform(0.7, 1.4)
    over = np.sin(math.pi * u / p) * np.sin(math.pi * v / q) if rng.random() < 0.6 else np.sin(math.pi * (u / p + v / q))
    thread = np.where(over > 0, np.abs(np.sin(math.pi * u / p)), np.abs(np.sin(math.pi * v / q)))
    a = colour(rng)
    b = a * rng.uniform(0.5, 1.0) if rng.random() < 0.6 else colour(rng)
    k = (0.5 + 0.5 * np.tanh(3 * over))[..., None]
    out = (a * k + b * (1 - k)) * (1 - rng.uniform(0.1, 0.6) * (1 - thread))[..., None]
    if rng.random() < 0.4:  # stripes or checks
        w = rng.uniform(15, 90) * n / 512
        c = colour(rng)
        s = (np.sin(2 * math.pi * u / w) > rng.uniform(-0.3, 0.9)).astype(np.float32)
        if rng.random() < 0.5:
            s = np.maximum(s, np.sin(2 * math.pi * v / w) > rng.uniform(0, 0.9))
        out = out * (1 - 0.8 * s[..., None]) + 0.8 * s[..., None] * c * (0.6 + 0.4 * thread[..., None])
    return out * (1 + rng.uniform(0, 0.15) * low(rng, n, 40))[..., None]


def print_(rng, n):
    """A printed cloth or paper: repeated flowers, dots and leaves."""
    out = ramp(rng, pink(rng, n), colour(rng), 0.1)
    u, v = turned(rng, n)
    for _ in range(int(rng.integers(1, 4))):
        p = rng.uniform(18, 140) * n / 512
        x, y = (u / p + rng.random()) % 1 - 0.5, (v / p + rng.random() + 0.5 * (np.floor(u / p) % 2)) % 1 - 0.5
        r, a = np.hypot(x, y), np.arctan2(y, x)
        k = int(rng.integers(0, 8))
        edge = rng.uniform(0.12, 0.4) * (1 + rng.uniform(0, 0.5) * np.cos(k * a + rng.uniform(0, 6)))
        m = 1 / (1 + np.exp(np.clip((r - edge) * p / 1.2, -30, 30)))
        if rng.random() < 0.4:
            m = m * (r > edge - rng.uniform(0.03, 0.1))
        out = out * (1 - m[..., None]) + colour(rng, 0.2) * m[..., None]
    return out * (1 + 0.04 * low(rng, n, n // 3))[..., None]


def felt(rng, n):
    t = colour(rng, 0.3)
    g = cv2.GaussianBlur(rng.standard_normal((n, n)).astype(np.float32), (0, 0), rng.uniform(0.5, 1.6))
    out = t * (1 + rng.uniform(0.03, 0.22) * g / g.std() + rng.uniform(0, 0.2) * pink(rng, n, 3))[..., None]
    layer = np.zeros((n, n), np.float32)
    for _ in range(int(rng.choice([0, 60, 300]))):
        p, a = rng.uniform(0, n, 2), rng.uniform(0, 6.28) + np.cumsum(rng.normal(0, 0.15, 8))
        q = p + np.cumsum(np.stack([np.cos(a), np.sin(a)], 1) * rng.uniform(1, 4), 0)
        cv2.polylines(layer, [np.round(q * 8).astype(np.int32)], False, float(rng.uniform(0.3, 1)), 1, cv2.LINE_AA, 3)
    return out * (1 + rng.choice([-0.4, 0.5]) * layer)[..., None]


def writing(rng, n, size, ink, out):
    layer = np.zeros((n, n), np.uint8)
    y = 0.0
    gap = size * rng.uniform(24, 40)
    while y < n:
        y += gap
        x = rng.uniform(-n * 0.3, n * 0.3)
        words = "".join(rng.choice(list("abcdefghiklmnoprstuvw    ABCEHKMNRT0123456789./%"), 60))
        cv2.putText(layer, words, (int(x), int(y)), int(rng.choice([0, 2, 3, 4, 6])), size, 255, max(1, int(size * 1.6)), cv2.LINE_AA)
    R = cv2.getRotationMatrix2D((n / 2, n / 2), rng.uniform(0, 360), 1.4)
    k = cv2.warpAffine(layer, R, (n, n)).astype(np.float32)[..., None] / 255 * rng.uniform(0.4, 1)
    return out * (1 - k) + ink * k


def paper(rng, n):
    t = np.clip(np.array([0.93, 0.92, 0.89]) * rng.uniform(0.6, 1.05) * (1 + rng.normal(0, 0.03, 3)), 0, 1)
    out = t * (1 + rng.uniform(0, 0.03) * pink(rng, n, 8))[..., None]
    u, v = turned(rng, n)
    q = rng.random()
    ink = colour(rng, 0.6) * 0.5
    if q < 0.3:  # ruled or squared
        p = rng.uniform(12, 60) * n / 512
        k = (np.abs(u / p % 1 - 0.5) > 0.5 - rng.uniform(0.02, 0.06)).astype(np.float32)
        if rng.random() < 0.5:
            k = np.maximum(k, np.abs(v / p % 1 - 0.5) > 0.47)
        k = 0.7 * cv2.GaussianBlur(k, (0, 0), 0.7)[..., None]
        out = out * (1 - k) + ink * k
    if q > 0.2 and q < 0.7:
        out = writing(rng, n, rng.uniform(0.3, 2.2) * n / 512, ink, out)
    if rng.random() < 0.3:  # creased
        out = out * (1 + rng.uniform(0.02, 0.08) * np.sign(np.sin(u / n * rng.uniform(2, 20))) * np.abs(low(rng, n, 3)))[..., None]
    return out


def sheet(rng, n):
    """A blank sheet, a tray or a table top: pale, unevenly lit, hardly any texture; the plainest ground, and the likest to brushed metal."""
    u, v = turned(rng, n)
    t = np.clip(rng.uniform(0.35, 0.98) * (1 + rng.normal(0, 0.04, 3)), 0, 1)
    fall = 1 + rng.uniform(0, 0.8) * (u - u.mean()) / n - rng.uniform(0, 0.5) * ((u - u.mean()) ** 2 + (v - v.mean()) ** 2) / n**2
    out = t * (fall * (1 + rng.uniform(0, 0.05) * low(rng, n, 3) + rng.uniform(0, 0.012) * pink(rng, n, 16)))[..., None]
    if rng.random() < 0.3:  # the edge of a second one
        a = rng.uniform(0, 2 * math.pi)
        d = (u - u.mean()) * math.cos(a) + (v - v.mean()) * math.sin(a) - rng.uniform(-0.4, 0.4) * n
        out = np.where(d[..., None] > 0, out * rng.uniform(0.6, 1.2), out) * (1 - 0.3 * np.exp(-(d / (2.5 * n / 512)) ** 2))[..., None]
    if rng.random() < 0.3:  # what shows through or was crossed out
        out = 0.85 * out + 0.15 * writing(rng, n, rng.uniform(0.4, 1.4) * n / 512, t * 0.5, out)
    return out


def skin(rng, n):
    i = rng.uniform(0, len(SKINS) - 1.001)
    t = SKINS[int(i)] * (1 - i % 1) + SKINS[int(i) + 1] * (i % 1)
    out = t * (1 + rng.normal(0, 0.03, 3)) * (1 + 0.08 * low(rng, n, 3) + 0.03 * pink(rng, n, 4))[..., None]
    out[..., 0] *= 1 + 0.05 * low(rng, n, 5)
    u, v = turned(rng, n)
    for _ in range(int(rng.integers(1, 4))):  # fine creases that cross
        p = rng.uniform(4, 22) * n / 512
        a = rng.uniform(0, math.pi)
        w = np.abs((u * math.cos(a) + v * math.sin(a)) / p % 1 - 0.5) < rng.uniform(0.04, 0.15)
        k = cv2.GaussianBlur(w.astype(np.float32), (0, 0), 0.8) * np.clip(0.5 + 0.5 * low(rng, n, 24), 0, 1)
        out = out * (1 - rng.uniform(0.05, 0.3) * k)[..., None]
    for _ in range(int(rng.choice([0, 2, 5]))):  # deep ones of a joint
        a, c = rng.uniform(0, math.pi), rng.uniform(-0.4, 0.4) * n
        d = np.abs((u - n / 2) * math.cos(a) + (v - n / 2) * math.sin(a) - c + 4 * low(rng, n, 8))
        out = out * (1 - rng.uniform(0.2, 0.5) * np.exp(-(d / (rng.uniform(1, 4) * n / 512)) ** 2))[..., None]
    return out


def wood(rng, n):
    u, v = turned(rng, n)
    p = rng.uniform(8, 60) * n / 512
    f = np.sin(2 * math.pi * (u / p + 1.5 * low(rng, n, 3)) + 0.05 * v / p)
    g = cv2.blur(rng.standard_normal((n, n)).astype(np.float32), (1, int(rng.integers(9, 41))))
    t = np.array([0.55, 0.36, 0.22]) * rng.uniform(0.4, 1.6) * (1 + rng.normal(0, 0.1, 3))
    return t * (1 + rng.uniform(0.05, 0.3) * f + 0.5 * g)[..., None]


def stone(rng, n):
    f = pink(rng, n, 3)
    out = ramp(rng, f, colour(rng, 1.5), 0.5)
    if rng.random() < 0.6:  # veins
        g = np.abs(pink(rng, n, 2))
        k = np.exp(-(g / rng.uniform(0.03, 0.15)) ** 2)[..., None] * rng.uniform(0.2, 0.8)
        out = out * (1 - k) + colour(rng, 1.5) * k
    if rng.random() < 0.4:  # granite
        s = np.digitize(pink(rng, n, 30), [-0.8, 0.4, 1.2])
        out = out * np.array([0.35, 0.9, 1.2, 1.6])[s][..., None]
    return out


def leather(rng, n):
    u, v = turned(rng, n)
    p = rng.uniform(4, 24) * n / 512
    h = np.abs(low(rng, n, int(n / p))) + 0.5 * np.abs(low(rng, n, int(2 * n / p)))
    lit = cv2.Sobel(h, cv2.CV_32F, 1, 0) + cv2.Sobel(h, cv2.CV_32F, 0, 1)
    return colour(rng, 1.0) * (0.7 + 0.25 * h + rng.uniform(0.1, 0.4) * lit)[..., None]


def mat(rng, n):
    """A cutting mat, a tray of foam or a plate with holes."""
    u, v = turned(rng, n)
    t = colour(rng, 0.4)
    out = np.repeat((t * np.ones(3))[None, None], n, 0).repeat(n, 1) * (1 + 0.03 * low(rng, n, n // 2))[..., None]
    p = rng.uniform(10, 90) * n / 512
    if rng.random() < 0.5:
        k = np.maximum(np.abs(u / p % 1 - 0.5) > 0.47, np.abs(v / p % 1 - 0.5) > 0.47).astype(np.float32)
        k = cv2.GaussianBlur(k, (0, 0), 0.6)[..., None]
        return out * (1 - k) + colour(rng) * k
    r = np.hypot(u / p % 1 - 0.5, v / p % 1 - 0.5)
    return out * (1 - rng.uniform(0.3, 0.9) / (1 + np.exp(np.clip((r - rng.uniform(0.15, 0.4)) * p / 1.5, -30, 30))))[..., None]


def plain(rng, n):
    u, v = turned(rng, n)
    a, b = colour(rng, 0.6), colour(rng, 0.6)
    if rng.random() < 0.7:
        b = a * rng.uniform(0.6, 1.2)
    k = np.clip(0.5 + (u - u.mean()) / n * rng.uniform(0.3, 1.5), 0, 1)[..., None]
    return a * k + b * (1 - k)


def picture(rng, n, photos):
    im = photos[rng.integers(len(photos))]
    m = int(rng.uniform(0.25, 1.0) * min(im.shape[:2]))
    y, x = int(rng.integers(0, im.shape[0] - m + 1)), int(rng.integers(0, im.shape[1] - m + 1))
    part = cv2.resize(im[y:y + m, x:x + m], (n, n), interpolation=cv2.INTER_AREA if m >= n else cv2.INTER_CUBIC)
    part = np.rot90(part.astype(np.float32) / 255, int(rng.integers(4)))
    return part[:, ::-1] if rng.random() < 0.5 else part


MAKERS = {"cloth": cloth, "print": print_, "felt": felt, "paper": paper, "sheet": sheet, "skin": skin, "wood": wood, "stone": stone,
          "leather": leather, "mat": mat, "plain": plain}


def ground(rng, n, photos=(), kind=None):
    """One ground: n x n x 3 floats 0..1 (sRGB). Without a kind, any."""
    if kind is None:
        kinds = [k for k in KINDS if k != "picture" or len(photos)]
        w = np.array([2.0, 1.2, 1.2, 1.8, 3.0, 2.0, 1, 1, 1, 0.8, 1.2, 2.5][:len(kinds)])
        kind = str(rng.choice(kinds, p=w / w.sum()))
    out = picture(rng, n, photos) if kind == "picture" else MAKERS[kind](rng, n)
    return np.clip(out, 0.0, 1.0).astype(np.float32)


if __name__ == "__main__":
    import sys
    photos = pictures(sys.argv[2:])
    rng = np.random.default_rng(1)
    rows = [np.hstack([ground(rng, 192, photos, k) for _ in range(5)]) for k in KINDS if k != "picture" or photos]
    cv2.imwrite(sys.argv[1], np.round(np.vstack(rows)[:, :, ::-1] * 255))

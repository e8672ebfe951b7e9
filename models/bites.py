"""Painted chips: bites out of a stone's girdle in every look that a renderer's break has not, and things that are none, for `train_girdles.py --paint`."""
import math

import cv2
import numpy as np

# A bite's depth in widths (log-uniform), and half its width in depths.
DEPTH, WIDE = (0.02, 0.16), (0.8, 4.0)
LEAST_PX = 1.5  # depth of the least bite, in pixels
SHOWN = 7.0  # grey levels by which what is painted differs from what was there, on average: less shows nothing
SOFT_PX = (0.4, 1.0)  # blur of what is painted (standard deviation)
CLEAR = 1.1  # a bite keeps off prongs by this share of their radii


def soft_noise(rng, shape, grain):
    n = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), grain)
    return n / max(float(n.std()), 1e-6)


def tone(rng, part, u, v, R, middle):
    """What the broken place looks like: a picture like `part`. u, v: where its pixels lie from the stone's centre, which is at `middle`; R: its radius."""
    kind = rng.integers(5)
    over = np.hypot(u, v)
    own = np.median(part[over < R], 0)
    if kind == 0:  # what lies beyond the girdle there, mirrored inwards
        k = np.where(over > 1e-3, (2.02 * R - over) / np.maximum(over, 1e-3), 1.0)
        (mx, my), (h, w) = middle, part.shape[:2]
        at = [np.float32(mx + (np.arange(w)[None] - mx) * k), np.float32(my + (np.arange(h)[:, None] - my) * k)]
        out = cv2.remap(part, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) * rng.uniform(0.6, 1.1)
    elif kind == 1:  # dark, as a hole is
        out = own * rng.uniform(0.05, 0.5)
    elif kind == 2:  # a rough break that throws light about
        out = own * rng.uniform(0.6, 1.8) + (rng.uniform(5, 45) * soft_noise(rng, part.shape[:2], rng.uniform(0.7, 2.5)))[..., None]
    elif kind == 3:  # a smooth one: no facets
        out = cv2.GaussianBlur(part, (0, 0), max(2.0, 0.1 * R)) * rng.uniform(0.7, 1.3)
    else:  # the metal's tone
        beyond = (over > 1.05 * R) & (over < 1.05 * R + 8)
        out = (np.median(part[beyond], 0) if beyond.any() else own) * rng.uniform(0.4, 1.1)
    slope = rng.normal(0, 0.15) * u / R + rng.normal(0, 0.25) * v / R
    return out * (1 + slope)[..., None] + rng.normal(0, 1.5, part.shape)


def bitten(image, x, y, width, prongs, rng, decoy):
    """A copy of the frame in which the round stone at (x, y), so many pixels wide, has a bite; its mask; and (depth in widths, where it lies from
    the centre in widths, right and up), or "hidden" where nothing of it shows. prongs: x, y and radius of those near. decoy: something that is no bite instead
    (a shade beyond the girdle, a facet within it): the mask is empty and the last None."""
    R = width / 2
    depth = max(LEAST_PX, width * math.exp(rng.uniform(*np.log(DEPTH))))
    W = min(depth * rng.uniform(*WIDE), 0.8 * R)
    for _ in range(30):
        a = rng.uniform(0, 2 * math.pi)
        px, py = x + R * math.cos(a), y - R * math.sin(a)
        if all(math.hypot(px - q[0], py - q[1]) > CLEAR * q[2] + 0.6 * W for q in prongs):
            break
    else:
        return image, None, "hidden"
    m = int(R + depth + 12)
    x0, y0 = max(0, int(x) - m), max(0, int(y) - m)
    part = image[y0:int(y) + m, x0:int(x) + m].astype(np.float32)
    yy, xx = np.mgrid[:part.shape[0], :part.shape[1]].astype(np.float32)
    dx, dy = xx + x0 - x, y - yy - y0
    u, v = dx * math.cos(a) + dy * math.sin(a), dy * math.cos(a) - dx * math.sin(a)
    rim = np.sqrt(np.maximum(R * R - v * v, 0))
    jag = sum(rng.normal(0, 0.08) * np.sin(v / W * rng.uniform(2, 9) + rng.uniform(0, 6)) for _ in range(3))
    sunk = depth * np.maximum(1 - (v / W) ** 2, 0) ** rng.uniform(0.5, 1.5) * (1 + jag)
    low, high = (rim - sunk, rim + 0.5) if not decoy else (rim + 0.5, rim + sunk + 1) if rng.random() < 0.5 else (rim - 2.5 * depth - sunk, rim - 2.5 * depth)
    soft = rng.uniform(*SOFT_PX)
    edge = lambda d: np.clip(0.5 + d / (2 * soft), 0, 1)
    on = (edge(u - low) * edge(high - u) * (np.abs(v) < W) * (u > 0)).astype(np.float32)
    for qx, qy, r in prongs:
        on *= np.hypot(xx + x0 - qx, yy + y0 - qy) > r
    new = tone(rng, part, u, v, R, (x - x0, y - y0))
    if rng.random() < 0.4:  # its edge catches the light, or throws a shade
        line = np.exp(-0.5 * ((u - low) / rng.uniform(0.6, 1.4)) ** 2)[..., None]
        new = new + line * rng.uniform(-60, 90)
    new = np.clip(part + on[..., None] * (new - part), 0, 255)
    share = on > 0.5
    if share.sum() < 4 or np.abs(new - part)[share].mean() < SHOWN:
        return image, None, None if decoy else "hidden"
    out = image.copy()
    out[y0:y0 + part.shape[0], x0:x0 + part.shape[1]] = np.round(new)
    if decoy:
        return out, None, None
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[y0:y0 + part.shape[0], x0:x0 + part.shape[1]] = np.where(share, 255, 0)
    return out, mask, (depth / width, R * math.cos(a) / width, R * math.sin(a) / width)

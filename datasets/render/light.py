"""The station's lights as radiance on a sphere about the piece, and the ground it lies on."""
import math

import numpy as np
from scipy.ndimage import gaussian_filter

from metal import smoothstep
import trace

LIGHTS = ("dome", "ring", "bars", "coaxial", "dark_field", "backlight", "diffuse")
H, W = 384, 768


def grounds(rng):
    """What the piece lies on, the same under every light: tone and grain of the cloth or plate."""
    dark = rng.random() < 0.8
    tone = float(math.exp(rng.uniform(math.log(0.008), math.log(0.05)))) if dark else float(rng.uniform(0.06, 0.5))
    n = rng.standard_normal((256, 256))
    fine, coarse = gaussian_filter(n, 0.7, mode="wrap"), gaussian_filter(rng.standard_normal((256, 256)), 6, mode="wrap")
    amp = float(rng.uniform(0.0, 0.12))
    tex = np.clip(1 + amp * (fine / fine.std() * 0.6 + coarse / coarse.std() * 0.5), 0.2, 2)
    return dict(tone=tone, tint=(1 + rng.normal(0, 0.03, 3)).tolist(), texture=tex, z=float(rng.uniform(-4, -1.5)))


def make(kind, rng, ground):
    """A light of the sphere and a note of its settings."""
    th = (np.arange(H) + 0.5)[:, None] / H * math.pi
    ph = (np.arange(W) + 0.5)[None, :] / W * 2 * math.pi
    z = np.cos(th) + 0 * ph
    dx, dy = np.sin(th) * np.cos(ph), np.sin(th) * np.sin(ph)
    deg = np.degrees(th) + 0 * ph
    up = smoothstep(-0.03, 0.03, z)
    radius = float(rng.uniform(45, 110))
    hole, width, lens = 0.0, float(rng.uniform(2.0, 5.5)), 0.0
    sample, under = True, None
    if kind in ("dome", "diffuse"):
        L = 0.74 * (1 - rng.uniform(0.0, 0.3) * (1 - np.maximum(z, 0)) ** 2)
        hole = rng.uniform(0.05, 0.6) if kind == "dome" else 0.0
        az = ph + rng.uniform(0, 6.28)
        L = L * (1 + rng.uniform(0, 0.08) * dx + rng.uniform(-0.08, 0.08) * dy + rng.uniform(0, 0.04) * np.cos(3 * az) * np.sin(th))
        sample = False
    elif kind == "ring":
        t, w = rng.uniform(24, 56), rng.uniform(3, 9)
        L = rng.uniform(0.08, 0.30) + rng.uniform(2.5, 4.5) * (1 - smoothstep(w - 1.5, w + 1.5, np.abs(deg - t)))
        n = int(rng.choice([0, 24, 36, 48], p=[0.6, 0.15, 0.15, 0.1]))  # single diodes of a bare ring
        if n:
            L = np.where(np.abs(deg - t) < w + 2, L * (0.5 + np.cos(n * ph / 2) ** 2), L)
        hole = rng.uniform(0, 0.5)
    elif kind == "bars":
        a = rng.uniform(0, math.pi) if rng.random() < 0.5 else rng.choice([0.0, math.pi / 2, math.pi / 4])
        sx, sy = dx / np.maximum(z, 0.02), dy / np.maximum(z, 0.02)
        o, hw, hl = rng.uniform(0.5, 1.1), rng.uniform(0.1, 0.25), rng.uniform(0.7, 1.5)
        L = np.full(z.shape, rng.uniform(0.15, 0.42))
        for k in range(int(rng.choice([2, 4]))):
            q = a + math.pi * k if k < 2 else a + math.pi * (k - 2) + math.pi / 2
            u, v = sx * math.cos(q) + sy * math.sin(q), -sx * math.sin(q) + sy * math.cos(q)
            box = np.maximum(np.abs(u - o) - hw, np.abs(v) - hl)
            L = L + rng.uniform(2.5, 4.5) * (1 - smoothstep(-0.02, 0.04, box)) * (z > 0.05)
        hole = rng.uniform(0, 0.5)
    elif kind == "coaxial":
        w = rng.uniform(6, 16)
        L = rng.uniform(0.03, 0.12) + rng.uniform(0.9, 1.6) * (1 - smoothstep(w * 0.7, w * 1.2, deg))
        L = L * (1 + rng.uniform(-0.1, 0.1) * dx * 5)
    elif kind == "dark_field":
        lo, hi = rng.uniform(76, 82), rng.uniform(85, 89)
        L = rng.uniform(0.005, 0.03) + rng.uniform(3.0, 5.0) * smoothstep(lo - 2, lo, deg) * (1 - smoothstep(hi - 1, hi + 1, deg))
    else:  # backlight: a panel below, hardly any light from above
        L = np.full(z.shape, rng.uniform(0.004, 0.03))
        under = rng.uniform(0.75, 1.1)
        sample = False
    if hole:
        L = L * (1 - hole * (1 - smoothstep(width * 0.85, width * 1.15, deg)))
        lens = hole
    tint = 1 + rng.normal(0, 0.012, 3)
    img = (L * np.maximum(up, 1e-3))[..., None] * tint
    e = float((L * up * np.maximum(z, 0) * np.sin(th)).sum() * (math.pi / H) * (2 * math.pi / W) / math.pi)
    tone = ground["tone"] * max(e, 0.02) / 0.5 if under is None else under
    tex = ground["texture"] if under is None else np.ones((8, 8))
    light = trace.Light(img, radius, np.asarray(ground["tint"]) * tone if under is None else tint * tone, ground["z"], texture=tex, sample=sample)
    return light, dict(kind=kind, radius_mm=radius, camera_hole_deg=float(width) if lens > 0.08 else 0.0, ground=tone)

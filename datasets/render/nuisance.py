"""What lies on a piece or shows in it and is no defect: dust, fibres, fingerprints, hairlines of polishing."""
import math

import numpy as np

import stones as S
from defects import along, boxed, curve, groove
from metal import Noise, smoothstep

TYPES = ("dust", "fibre", "fingerprint", "hairline")


def add(p):
    rng = p.rng("nuisance")
    mix = p.mix["nuisance"]
    if rng.random() < mix["dust"]:
        for _ in range(int(min(60, rng.geometric(1 / mix["dust_specks"])))):
            dust(p, rng)
    if rng.random() < mix["fibre"]:
        for _ in range(int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))):
            fibre(p, rng)
    if rng.random() < mix["fingerprint"]:
        fingerprint(p, rng)
    if p.finish == "polished" and rng.random() < mix["hairline"]:
        for _ in range(int(rng.integers(1, 6))):
            hairline(p, rng)


def spot(p, rng, margin=0.0):
    """Anywhere on the piece in the frame, stones too."""
    for _ in range(200):
        X, Y = rng.uniform(-p.fx, p.fx) * 0.95, rng.uniform(-p.fy, p.fy) * 0.95
        x, y = p.cr * (X - p.dx) + p.sr * (Y - p.dy), -p.sr * (X - p.dx) + p.cr * (Y - p.dy)
        if float(p.metal_sdf(np.array(x), np.array(y))) > margin and (not p.band or abs(x) < p.hx - 0.2):
            return float(x), float(y)
    return None


def height(p, x, y):
    """About where the top surface is: a stone's table or the metal."""
    z = float(p.base_z(np.array(x), np.array(y)))
    for s in p.stones:
        if not s["missing"]:
            g = float(S.stone_gauge(s, np.array(x), np.array(y)))
            if g < 1.0:
                z += s["d"] * (p.seat["lift"] + min(0.16, 0.015 + (1 - g) * 0.34))
    return z


LINT = [(0.75, 0.74, 0.72), (0.55, 0.55, 0.56), (0.25, 0.25, 0.27), (0.12, 0.12, 0.13), (0.55, 0.30, 0.28), (0.25, 0.35, 0.6), (0.6, 0.52, 0.42)]


def own(p, i):
    return lambda x, y, h: h["part"] == i


def dust(p, rng):
    c = spot(p, rng)
    if c is None:
        return
    r = float(math.exp(rng.uniform(math.log(0.006), math.log(0.04))))
    th, ph = np.meshgrid(np.linspace(0.02, math.pi - 0.02, 9), np.linspace(0, 2 * math.pi, 12, endpoint=False), indexing="ij")
    q = 1 + 0.45 * rng.standard_normal(th.shape)
    q = np.clip((q + np.roll(q, 1, 1) + np.roll(q, -1, 1)) / 3, 0.4, 1.6)
    n = np.stack([np.sin(th) * np.cos(ph), np.sin(th) * np.sin(ph), np.cos(th)], -1)
    v = n * q[..., None] * r * np.array([rng.uniform(0.6, 1.3), rng.uniform(0.6, 1.3), rng.uniform(0.3, 0.8)])
    f = S.grid_faces(9, 12, False, True)
    tone = np.array(LINT[int(rng.integers(len(LINT)))]) * rng.uniform(0.7, 1.2)
    p.add_part("dust", -1, v.reshape(-1, 3) + [*c, height(p, *c) + 0.4 * r], f, n.reshape(-1, 3), np.clip(tone, 0.02, 0.9), 0.5, True)
    p.record("dust", *c, 1.3 * r, own(p, len(p.parts) - 1), into=p.not_defects)


def fibre(p, rng):
    c = spot(p, rng)
    if c is None:
        return
    L, r = float(rng.uniform(0.4, 3.0)), float(rng.uniform(0.005, 0.013))
    n = 40
    a = rng.uniform(0, 2 * math.pi) + np.cumsum(rng.normal(0, 0.03, n) + rng.normal(0, 0.06))
    x, y = np.cumsum(np.cos(a)) * L / n, np.cumsum(np.sin(a)) * L / n
    path = np.stack([x - x.mean() + c[0], y - y.mean() + c[1]], 1)
    z = np.array([height(p, *q) for q in path])
    k = np.hanning(9) / np.hanning(9).sum()
    pad = np.concatenate([[z[0]] * 4, z, [z[-1]] * 4])
    z = np.maximum(np.convolve(pad, k, "valid"), z) + r * rng.uniform(1, 4) + 0.03 * np.abs(np.sin(np.linspace(0, rng.uniform(1, 6), n)))
    t = np.gradient(path, axis=0)
    t /= np.maximum(np.hypot(*t.T), 1e-9)[:, None]
    side = np.stack([-t[:, 1], t[:, 0]], 1)
    b = np.linspace(0, 2 * math.pi, 8, endpoint=False)
    nn = np.zeros((n, 8, 3))
    nn[..., :2] = side[:, None] * np.cos(b)[None, :, None]
    nn[..., 2] = np.sin(b)
    v = nn * r
    v[..., :2] += path[:, None]
    v[..., 2] += z[:, None]
    f = S.grid_faces(n, 8, False, True)
    tone = np.array(LINT[int(rng.integers(len(LINT)))]) * rng.uniform(0.8, 1.2)
    p.add_part("fibre", -1, v.reshape(-1, 3), f, nn.reshape(-1, 3), np.clip(tone, 0.02, 0.9), 0.5, True)
    p.record("fibre", float(path[n // 2, 0]), float(path[n // 2, 1]), L / 2, own(p, len(p.parts) - 1), into=p.not_defects, length_mm=L)


def fingerprint(p, rng):
    """Grease in ridges: the metal is hazier there."""
    c = spot(p, rng)
    if c is None:
        return
    pitch, R = float(rng.uniform(0.38, 0.55)), float(rng.uniform(2.0, 5.0))
    warp1, warp2, dabs = Noise(rng, p.half, 2.5), Noise(rng, p.half, 0.5), Noise(rng, p.half, 0.16)
    ox, oy, el = c[0] + rng.normal(0, 0.5 * R), c[1] + rng.normal(0, 0.5 * R), rng.uniform(0.6, 1.0)
    force = float(rng.uniform(0.3, 1.0))

    def ridge(x, y):
        q = np.hypot(x - ox, (y - oy) * el) + 0.35 * warp1(x, y) + 0.05 * warp2(x, y)
        w = 0.5 + 0.5 * np.sin(2 * math.pi * q / pitch)
        inside = 1 - smoothstep(0.75, 1.05, np.hypot(x - c[0], (y - c[1]) / 1.3) / R + 0.1 * warp1(x, y))
        return force * inside * smoothstep(0.35, 0.75, w) * np.clip(0.75 + 0.35 * dabs(x, y), 0, 1)
    box = (c[0] - 1.5 * R, c[0] + 1.5 * R, c[1] - 1.9 * R, c[1] + 1.9 * R)
    tint = p.f0 * np.array([0.90, 0.885, 0.86])
    p.skins.append((box, ridge, tint, float(rng.uniform(0.03, 0.10)), None))
    p.record("fingerprint", *c, R, lambda x, y, h: boxed(box, x, y, lambda a, b: ridge(a, b) > 0.25 * force) & (h["kind"] == 1), into=p.not_defects)


def hairline(p, rng):
    """A polishing line: long, shallow, a few micrometres wide."""
    L, w = float(rng.uniform(0.6, 3.5)), float(rng.uniform(0.006, 0.012))
    line = curve(p, rng, L, 0.02)
    if line is None:
        return
    px, py = line
    seg = np.stack([px, py], 1)[::4]
    box = (px.min() - 0.02, px.max() + 0.02, py.min() - 0.02, py.max() + 0.02)
    k = float(rng.uniform(0.02, 0.05))
    # too fine for the relief: the skin is a little rougher along it
    s = max(w, 0.9 * p.um / 1000)
    p.skins.append((box, lambda gx, gy: smoothstep(s, 0.3 * s, along(seg, gx, gy)[0]), p.f0 * 0.97, k * w / s, None))
    p.record("hairline", float(px[20]), float(py[20]), L / 2,
             lambda x, y, h: boxed(box, x, y, lambda a, b: along(seg, a, b)[0] < s / 2) & (h["kind"] == 1), into=p.not_defects, length_mm=L, width_mm=w)

"""The metal: smooth noise, finishes, the height field and its skin (colour and roughness)."""
import math

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates


class Retry(Exception):
    """A drawn layout does not fit; draw anew."""


def smoothstep(a, b, x):
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


def axis_lines(lo, hi, base, fine):
    """Grid lines from lo to hi: spacing base, finer near the (centre, half extent, spacing) rows."""
    xs, x = [lo], lo
    while x < hi:
        s = base
        for c, r, h in fine:
            s = min(s, h + 0.25 * max(0.0, abs(x - c) - r))
        x += s
        xs.append(x)
    return np.array(xs)


class Noise:
    """Smooth unit-variance noise in the plane, correlation lengths lx, ly in mm, direction az."""

    def __init__(self, rng, half, lx, ly=None, az=0.0):
        ly = ly or lx
        self.hx = self.hy = half * 1.5
        self.step_x, self.step_y = max(lx / 2.5, half / 1200, 0.006), max(ly / 2.5, half / 1200, 0.006)
        nx, ny = int(2 * self.hx / self.step_x) + 8, int(2 * self.hy / self.step_y) + 8
        n = rng.standard_normal((ny, nx)).astype(np.float32)
        n = gaussian_filter(n, (ly / self.step_y / 2, lx / self.step_x / 2))
        self.n = n / n.std()
        self.c, self.s = math.cos(az), math.sin(az)

    def __call__(self, x, y):
        u, v = self.c * x + self.s * y, -self.s * x + self.c * y
        return map_coordinates(self.n, [(v + self.hy) / self.step_y, (u + self.hx) / self.step_x],
                               order=1, mode="reflect")


def make_finish(finish, rng, half, az):
    """Roughness along and across az, and slopes (x, y, rms) of the fine relief."""
    if finish == "polished":
        a = float(np.exp(rng.uniform(math.log(0.02), math.log(0.085))))
        grain = max(0.02, half / 400)
        slopes = [(Noise(rng, half, grain), Noise(rng, half, grain), float(rng.uniform(0.0005, 0.005)))]
        # hairlines that polishing leaves: long, fine, in a few directions
        for _ in range(int(rng.choice([0, 1, 2], p=[0.3, 0.45, 0.25]))):
            b = az + rng.normal(0, 0.5)
            n = Noise(rng, half, float(rng.uniform(1.0, 4.0)), 0.014, b)
            slopes.append((lambda x, y, n=n, b=b: -math.sin(b) * n(x, y), lambda x, y, n=n, b=b: math.cos(b) * n(x, y),
                           float(rng.uniform(0.001, 0.008))))
        return (a, a), slopes
    if finish == "matte":
        a = float(rng.uniform(0.2, 0.38))
        g = float(rng.uniform(0.018, 0.05))
        return (a, a), [(Noise(rng, half, g), Noise(rng, half, g), float(rng.uniform(0.02, 0.12)))]
    if finish == "florentine":  # two sets of engraved lines that cross
        pitch = float(rng.uniform(0.075, 0.2))
        open_ = float(rng.uniform(math.radians(55), math.radians(90)))
        amp = float(rng.uniform(0.14, 0.32))
        slopes = []
        for k in (-1, 1):
            b = az + k * open_ / 2
            phase, force = Noise(rng, half, 2.0, 0.12, b), Noise(rng, half, 0.8, 0.1, b)

            def wave(x, y, b=b, phase=phase, force=force):
                t = (-math.sin(b) * x + math.cos(b) * y) / pitch * 2 * math.pi
                w = np.sin(t + 0.7 * phase(x, y))
                return np.tanh(2.2 * w) * np.clip(1 + 0.3 * force(x, y), 0.2, 1.8)
            slopes.append((lambda x, y, w=wave, b=b: -math.sin(b) * w(x, y), lambda x, y, w=wave, b=b: math.cos(b) * w(x, y), amp))
        a = float(rng.uniform(0.07, 0.16))
        return (a, a), slopes
    alpha = (float(rng.uniform(0.05, 0.1)), float(rng.uniform(0.16, 0.3)))
    a = Noise(rng, half, rng.uniform(0.5, 1.5), 0.018, az)
    b = Noise(rng, half, rng.uniform(1.5, 4.0), 0.05, az)
    c, s = -math.sin(az), math.cos(az)
    across = lambda x, y: 0.8 * a(x, y) + 0.6 * b(x, y)
    return alpha, [(lambda x, y: c * across(x, y), lambda x, y: s * across(x, y), float(rng.uniform(0.015, 0.08)))]


def window(xs, ys, box):
    return (slice(int(np.searchsorted(xs, box[0])), int(np.searchsorted(xs, box[1]))),
            slice(int(np.searchsorted(ys, box[2])), int(np.searchsorted(ys, box[3]))))


def metal_mesh(p):
    """Vertices, normals, triangles and skin of a piece's height field, in piece mm."""
    base = p.um / 1000 * (0.6 if p.seat["bevel"] > 0 else 1.05)
    mx = p.hx + (0.0 if p.open_x else 0.05)
    my = p.hy + (0.0 if p.open_y else 0.05)
    xs = axis_lines(-mx, mx, base, [(f[0], f[2], f[4]) for f in p.fine])
    ys = axis_lines(-my, my, base, [(f[1], f[3], f[4]) for f in p.fine])
    if len(xs) * len(ys) > 9e6:
        raise Retry("the relief asks for too fine a grid")
    x, y = np.meshgrid(xs, ys)
    d = p.metal_sdf(x, y)
    z = p.base_z(x, y)
    extra = np.zeros_like(z)
    for s in p.stones:
        r = 1.5 * p.reach(s)
        nx, ny = s["nominal"]
        i, j = window(xs, ys, (nx - r, nx + r, ny - r, ny + r))
        if x[j, i].size == 0:
            continue
        D, edge, bevel = s["d"], p.seat["edge"], p.seat["bevel"]
        q = p.gauge(s, x[j, i], y[j, i], s["nominal"])
        cone = -p.seat["sunk"] * D - (edge - q) * 0.505 * D
        hole = -(1.0 if p.seat["deep"] else 0.5) * D
        zz = np.where(q < 2 * p.seat["hole"], np.minimum(cone, hole), cone)
        extra[j, i] = np.where(q < edge, np.minimum(zz, extra[j, i]), np.minimum(extra[j, i], 0.5 * D * np.minimum(q - edge - bevel, 0)))
    ed = np.clip(p.edge - d, 0, p.edge)
    extra -= p.edge - np.sqrt(np.maximum(p.edge**2 - ed**2, 0))
    for box, h in p.heights:
        i, j = window(xs, ys, box)
        if x[j, i].size:
            extra[j, i] += h(x[j, i], y[j, i])
    z = z + extra
    gy, gx = np.gradient(z, ys, xs)
    w = None
    for a, b, amp in p.waves:
        gx += amp * a(x, y)
        gy += amp * b(x, y)
    for slopes, weight in p.reliefs:
        w = weight(x, y) if weight else 1.0
        for a, b, amp in slopes:
            gx += w * amp * a(x, y)
            gy += w * amp * b(x, y)
    nrm = np.stack([-gx, -gy, np.ones_like(z)], -1)
    nrm /= np.linalg.norm(nrm, axis=-1, keepdims=True)
    # vertices just about the outline move onto it
    dyg, dxg = np.gradient(d, ys, xs)
    gn = np.maximum(np.hypot(dxg, dyg), 1e-6)
    near = (d > -0.75 * base) & (d < 0.3 * base)
    x = np.where(near, x - d * dxg / gn, x)
    y = np.where(near, y - d * dyg / gn, y)
    k = d > -0.75 * base
    ny, nx = z.shape
    idx = np.arange(ny * nx).reshape(ny, nx)
    a, b, c, e = idx[:-1, :-1], idx[:-1, 1:], idx[1:, 1:], idx[1:, :-1]
    t1 = k[:-1, :-1] & k[:-1, 1:] & k[1:, 1:]
    t2 = k[:-1, :-1] & k[1:, 1:] & k[1:, :-1]
    faces = np.concatenate([np.stack([a[t1], b[t1], c[t1]], 1), np.stack([a[t2], c[t2], e[t2]], 1)])
    used = np.zeros(ny * nx, bool)
    used[faces] = True
    remap = np.cumsum(used) - 1
    v = np.stack([x.ravel()[used], y.ravel()[used], z.ravel()[used]], 1)
    return dict(v=v, f=remap[faces], n=nrm.reshape(-1, 3)[used], lo=(-mx, -my), hi=(mx, my), skin=skin(p, mx, my))


def skin(p, mx, my):
    """Colour and roughness on a grid of a pixel."""
    s = p.um / 1000 * 0.9
    nx, ny = max(8, int(2 * mx / s)), max(8, int(2 * my / s))
    xs, ys = (np.arange(nx) + 0.5) / nx * 2 * mx - mx, (np.arange(ny) + 0.5) / ny * 2 * my - my
    x, y = np.meshgrid(xs, ys)
    out = np.zeros((ny, nx, 5), np.float32)
    out[..., :3] = p.f0 * (1 + p.tone_amp * p.tone_noise(x, y))[..., None]
    out[..., 3], out[..., 4] = p.alpha
    if p.other_alpha:
        al, weight = p.other_alpha
        w = weight(x, y)
        for c in (0, 1):
            out[..., 3 + c] = out[..., 3 + c] * (1 - w) + al[c] * w
    for box, m, colour, rough, to in p.skins:
        i, j = window(xs, ys, box)
        if x[j, i].size == 0:
            continue
        k = m(x[j, i], y[j, i])[..., None]
        if colour is not None:
            out[j, i, :3] = out[j, i, :3] * (1 - k) + colour * k
        if to is not None:  # towards this roughness, from above only where it burnishes
            out[j, i, 3:] = out[j, i, 3:] * (1 - k) + np.minimum(to, out[j, i, 3:]) * k
        else:
            out[j, i, 3:] += rough * k
    return out

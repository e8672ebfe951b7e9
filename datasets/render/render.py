#!/usr/bin/env python3
"""Physically based renderer of jewellery pieces with known defects.

Writes one folder a piece: top.png, piece.json, spec.toml, truth.json, and the masks
metal_mask.png, stone_mask.png, defect_mask.png.

  render.py SPEC... --count N --out DIR --seed S        pieces after given spec.toml files
  render.py --kind signet --count N --out DIR --seed S  random specs of one kind

Metal is a height field on a tensor grid that is refined at small defects, stones are brilliants
built as the intersection of facet half-spaces (a dielectric), the light is an environment map.
"""
import argparse
import json
import math
import os
import shutil
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

W_PX, H_PX = 960, 720
KINDS = ("signet", "band", "pave", "halo")
METALS = {  # specular reflectance at normal incidence, linear RGB
    "yellow_gold": (0.90, 0.745, 0.315),
    "rose_gold": (0.90, 0.585, 0.475),
    "white_gold": (0.80, 0.745, 0.645),
    "rhodium": (0.80, 0.745, 0.715),
    "silver": (0.945, 0.915, 0.865),
    "platinum": (0.72, 0.685, 0.635),
}
BASE_METALS = {  # what shows where the plating has gone
    "yellow_gold": [(0.93, 0.90, 0.85), (0.90, 0.60, 0.45)],
    "rose_gold": [(0.93, 0.90, 0.85), (0.88, 0.78, 0.42)],
    "white_gold": [(0.86, 0.74, 0.46), (0.88, 0.66, 0.50)],
    "rhodium": [(0.86, 0.76, 0.50), (0.88, 0.66, 0.50)],
    "silver": [(0.90, 0.60, 0.45), (0.88, 0.78, 0.42)],
}
SURFACE_DEFECTS = ["pit", "porosity", "scratch", "stain", "worn_plating", "incomplete_fill"]
VISIBLE = ["pit", "porosity", "scratch", "stain", "worn_plating"]  # must show in the picture
DARK = 0.0225  # radiance of the ground
STONE_DEFECTS = ["missing_stone", "missing_prong", "offset_stone", "tilted_stone", "chipped_stone"]


# ---------------------------------------------------------------- specs

def limits_for(has_stones):
    rows = [("pit.diameter_mm", "upper", 0.05), ("porosity.pore_count", "upper", 3),
            ("scratch.length_mm", "upper", 0.3), ("stain.area_mm2", "upper", 0.04),
            ("worn_plating.area_mm2", "upper", 0.04), ("outline.deviation_mm", "upper", 0.1)]
    if has_stones:
        rows += [("stone.present", "lower", 1), ("stone.offset_mm", "upper", 0.08),
                 ("stone.tilt_deg", "upper", 5.0), ("stone.chip_mm", "upper", 0.05),
                 ("prong.present", "lower", 1)]
    return rows


def stone_row(sid, x, y, d, prong_az, prong_r):
    return {"id": sid, "x_mm": x, "y_mm": y, "diameter_mm": d, "cut": "round",
            "prongs": [{"x_mm": x + 0.51 * d * math.cos(a), "y_mm": y + 0.51 * d * math.sin(a),
                        "radius_mm": prong_r} for a in prong_az]}


DIAG4 = [math.pi / 4 + k * math.pi / 2 for k in range(4)]


def random_spec(kind, name, rng):
    metal = str(rng.choice(list(METALS), p=[0.25, 0.2, 0.15, 0.15, 0.13, 0.12]))
    finish = str(rng.choice(["polished", "brushed", "matte"], p=[0.5, 0.25, 0.25]))
    stones = []
    if kind == "signet":
        shape = rng.choice(["ellipse", "disc", "rounded_rect", "polygon"], p=[0.45, 0.2, 0.25, 0.1])
        rx = round(float(rng.uniform(3.3, 6.8)), 1)
        ry = round(float(min(rx, rx * rng.uniform(0.65, 0.85))), 1)
        if shape == "ellipse":
            outline = {"shape": "ellipse", "rx_mm": rx, "ry_mm": ry}
        elif shape == "disc":
            outline = {"shape": "disc", "radius_mm": round(float(rng.uniform(3.0, 5.5)), 2)}
        elif shape == "rounded_rect":
            outline = {"shape": "rounded_rect", "width_mm": 2 * rx, "height_mm": 2 * ry,
                       "corner_mm": round(float(rng.uniform(0.5, 0.45 * ry)), 2)}
        else:
            n = int(rng.choice([6, 8]))
            off = math.pi / n if n == 8 else 0.0
            outline = {"shape": "polygon", "points_mm": [
                [round(rx * math.cos(off + 2 * math.pi * k / n), 3),
                 round(ry * math.sin(off + 2 * math.pi * k / n), 3)] for k in range(n)]}
    elif kind == "band":
        hw = round(float(rng.uniform(1.1, 2.0)), 2)
        outline = {"shape": "band", "half_width_mm": hw, "radius_mm": round(float(rng.uniform(8.5, 10.5)), 2)}
        n = int(rng.choice([0, 1, 2, 3, 4, 5, 6], p=[0.2, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1]))
        d = round(float(rng.uniform(0.9, min(2.0, 1.25 * hw))), 2)
        pitch = d + float(rng.uniform(0.12, 0.3))
        n = min(n, int(7.0 / pitch))
        for k in range(n):
            stones.append(stone_row(f"S{k + 1}", (k - (n - 1) / 2) * pitch, 0.0, d, DIAG4, 0.13 * d))
    elif kind == "pave":
        d = round(float(rng.uniform(0.9, 1.8)), 2)
        pitch = d + float(rng.uniform(0.18, 0.3))
        if rng.random() < 0.65:
            w, h = round(float(rng.uniform(7.0, 10.5)), 1), round(float(rng.uniform(5.0, 7.2)), 1)
            outline = {"shape": "rounded_rect", "width_mm": w, "height_mm": h, "corner_mm": round(float(rng.uniform(0.5, 1.2)), 2)}
            hx, hy = w / 2, h / 2
        else:
            r = round(float(rng.uniform(3.2, 4.3)), 2)
            outline = {"shape": "disc", "radius_mm": r}
            hx = hy = r
        sdf = outline_sdf(outline)
        rows = int((2 * hy - 2 * (d / 2 + 0.2)) / (0.87 * pitch)) + 1
        k = 0
        for j in range(rows):
            y = (j - (rows - 1) / 2) * 0.87 * pitch
            n = int(2 * hx / pitch) + 3
            for i in range(-n, n + 1):
                x = (i + (0.5 if j % 2 else 0.0)) * pitch
                if float(sdf(np.array(x), np.array(y))) > d / 2 + 0.24:
                    k += 1
                    stones.append(stone_row(f"S{k}", x, y, d, DIAG4, 0.13 * d))
    elif kind == "halo":
        dc = round(float(rng.uniform(3.0, 5.2)), 1)
        d = round(float(rng.uniform(0.9, 1.3)), 2)
        rh = dc / 2 + d / 2 + float(rng.uniform(0.17, 0.28))
        outline = {"shape": "disc", "radius_mm": round(rh + d / 2 + float(rng.uniform(0.26, 0.4)), 2)}
        az = DIAG4 if rng.random() < 0.6 else [math.pi / 4 + k * math.pi / 3 for k in range(6)]
        stones.append(stone_row("C", 0.0, 0.0, dc, az, 0.22))
        n = int(2 * math.pi * rh / (d + 0.16))
        for k in range(n):
            a = 2 * math.pi * k / n
            stones.append(stone_row(f"H{k + 1}", rh * math.cos(a), rh * math.sin(a), d, [a, a + math.pi], 0.13 * d))
    else:
        raise SystemExit(f"unknown kind {kind}")
    if kind in ("pave", "halo"):
        finish = str(rng.choice(["polished", "brushed", "matte"], p=[0.8, 0.1, 0.1]))
    return {"schema": "loupe.spec/1", "sku": f"{kind}-{name}", "metal": metal, "finish": finish,
            "view": [{"name": "top", "outline": outline, "stone": stones}],
            "limit": [{"characteristic": c, k: v} for c, k, v in limits_for(bool(stones))]}


def toml_value(v):
    if isinstance(v, bool):
        return "true" if v else "false"
    if isinstance(v, str):
        return json.dumps(v)
    if isinstance(v, (list, tuple)):
        return "[" + ", ".join(toml_value(x) for x in v) + "]"
    if isinstance(v, dict):
        return "{ " + ", ".join(f"{k} = {toml_value(x)}" for k, x in v.items()) + " }"
    if isinstance(v, float):
        return repr(round(v, 4))
    return str(v)


def spec_toml(spec):
    out = [f"{k} = {toml_value(spec[k])}" for k in ("schema", "sku", "metal", "finish")]
    for view in spec["view"]:
        out += ["", "[[view]]", f'name = "{view["name"]}"']
        if view.get("outline"):
            out.append(f"outline = {toml_value(view['outline'])}")
        for s in view.get("stone", []):
            out += ["", "[[view.stone]]"] + [f"{k} = {toml_value(v)}" for k, v in s.items()]
    for row in spec.get("limit", []):
        out += ["", "[[limit]]"] + [f"{k} = {toml_value(v)}" for k, v in row.items()]
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- geometry of the metal

def outline_sdf(o):
    """Signed distance to the outline in piece mm, positive inside (exact near the outline)."""
    shape = o["shape"]
    if shape == "disc":
        return lambda x, y: o["radius_mm"] - np.hypot(x, y)
    if shape == "ellipse":
        a, b = o["rx_mm"], o["ry_mm"]

        def ell(x, y):
            q = np.sqrt((x / a) ** 2 + (y / b) ** 2)
            g = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2) / np.maximum(q, 1e-9)
            return np.minimum((1 - q) / np.maximum(g, 1e-9), b)
        return ell
    if shape == "rounded_rect":
        hx, hy, c = o["width_mm"] / 2, o["height_mm"] / 2, o.get("corner_mm", 0.0)

        def rr(x, y):
            qx, qy = np.abs(x) - hx + c, np.abs(y) - hy + c
            return c - np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) - np.minimum(np.maximum(qx, qy), 0)
        return rr
    if shape == "band":
        return lambda x, y: o["half_width_mm"] - np.abs(y) + 0 * x
    if shape == "polygon":
        p = np.array(o["points_mm"], float)

        def poly(x, y):
            d = np.full(np.broadcast(x, y).shape, 1e9)
            inside = np.zeros(d.shape, bool)
            for (x0, y0), (x1, y1) in zip(p, np.roll(p, -1, 0)):
                ex, ey = x1 - x0, y1 - y0
                t = np.clip(((x - x0) * ex + (y - y0) * ey) / (ex * ex + ey * ey), 0, 1)
                d = np.minimum(d, np.hypot(x - x0 - t * ex, y - y0 - t * ey))
                if y0 != y1:
                    cross = ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
                    inside ^= cross
            return np.where(inside, d, -d)
        return poly
    raise SystemExit(f"unknown outline {shape}")


def extent(o):
    shape = o["shape"]
    if shape == "disc":
        return o["radius_mm"], o["radius_mm"]
    if shape == "ellipse":
        return o["rx_mm"], o["ry_mm"]
    if shape == "rounded_rect":
        return o["width_mm"] / 2, o["height_mm"] / 2
    if shape == "band":
        return None, o["half_width_mm"]
    p = np.abs(np.array(o["points_mm"], float))
    return p[:, 0].max(), p[:, 1].max()


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
        self.step_x, self.step_y = max(lx / 2.5, 0.006), max(ly / 2.5, 0.006)
        nx, ny = int(2 * self.hx / self.step_x) + 8, int(2 * self.hy / self.step_y) + 8
        n = rng.standard_normal((ny, nx)).astype(np.float32)
        n = gaussian_filter(n, (ly / self.step_y / 2, lx / self.step_x / 2))
        self.n = n / n.std()
        self.c, self.s = math.cos(az), math.sin(az)

    def __call__(self, x, y):
        u, v = self.c * x + self.s * y, -self.s * x + self.c * y
        return map_coordinates(self.n, [(v + self.hy) / self.step_y, (u + self.hx) / self.step_x],
                               order=1, mode="reflect")


def smoothstep(a, b, x):
    t = np.clip((x - a) / (b - a), 0, 1)
    return t * t * (3 - 2 * t)


# ---------------------------------------------------------------- brilliants

def brilliant_planes(table=0.56, crown=34.5, pavilion=40.8, girdle=0.03, star=0.5, lower=0.77, culet=0.01):
    """Half-spaces n.p <= d of a round brilliant of diameter 1, girdle mid plane at z = 0."""
    R, rt, g = 0.5, table / 2, girdle / 2
    tc, tp = math.tan(math.radians(crown)), math.tan(math.radians(pavilion))
    hc = g + (R - rt) * tc
    planes = [((0, 0, 1), hc), ((0, 0, -1), g + (R - culet) * tp)]

    def at(r, deg, z):
        a = math.radians(deg)
        return np.array([r * math.cos(a), r * math.sin(a), z])

    def through(a, b, c, inside):
        n = np.cross(b - a, c - a)
        n /= np.linalg.norm(n)
        d = n @ a
        return (n, d) if n @ inside <= d else (-n, -d)
    mid = np.zeros(3)
    c22 = math.cos(math.radians(22.5))
    for k in range(8):
        A = 45.0 * k
        for s, t in ((1, tc), (-1, tp)):
            n = np.array([t * math.cos(math.radians(A)), t * math.sin(math.radians(A)), s]) / math.hypot(1, t)
            planes.append((n, n @ at(R, A, s * g)))
        rk = rt + star * (R - rt)
        kite = at(rk, A + 22.5, g + (R - rk * c22) * tc)
        planes.append(through(at(rt, A, hc), at(rt, A + 45, hc), kite, mid))
        rl = R * (1 - lower)
        low = at(rl, A + 22.5, -g - (R - rl * c22) * tp)
        for A0 in (A, A + 45):
            planes.append(through(at(R, A0, g), at(R, A + 22.5, g), kite, mid))
            planes.append(through(at(R, A0, -g), at(R, A + 22.5, -g), low, mid))
    for k in range(48):
        planes.append((at(1, 7.5 * k, 0), R))
    return planes


def polyhedron(planes):
    """Triangles (vertices, faces) of an intersection of half-spaces holding the origin."""
    from scipy.spatial import ConvexHull
    n = np.array([p[0] for p in planes], float)
    d = np.array([p[1] for p in planes], float)
    dual = n / d[:, None]
    hull = ConvexHull(dual)
    eq = hull.equations
    pts = -eq[:, :3] / eq[:, 3:4]
    uniq = []
    for p in pts:
        if not any(np.abs(p - q).max() < 1e-6 for q in uniq):
            uniq.append(p)
    pts = np.array(uniq)
    verts, faces = [], []
    for ni, di in zip(n, d):
        on = pts[np.abs(pts @ ni - di) < 2e-6]
        if len(on) < 3:
            continue
        c = on.mean(0)
        u = on[0] - c
        u /= np.linalg.norm(u)
        v = np.cross(ni, u)
        on = on[np.argsort(np.arctan2((on - c) @ v, (on - c) @ u))]
        b = len(verts)
        verts += list(on)
        faces += [(b, b + i, b + i + 1) for i in range(1, len(on) - 1)]
    return np.array(verts), np.array(faces)


_cut_cache = {}


def stone_mesh(rng, chip=None):
    key = int(rng.integers(4))
    if key not in _cut_cache:
        r = np.random.default_rng(900 + key)
        _cut_cache[key] = brilliant_planes(table=r.uniform(0.54, 0.59), crown=r.uniform(33.5, 35.5),
                                           pavilion=r.uniform(40.4, 41.2), lower=r.uniform(0.73, 0.8))
    planes = list(_cut_cache[key])
    if chip:
        depth, az = chip
        for da, tilt, extra in ((0.0, 0.35, 0.0), (0.22, 0.15, 0.015), (-0.25, -0.1, 0.02)):
            n = np.array([math.cos(az + da), math.sin(az + da), tilt])
            n /= np.linalg.norm(n)
            p = np.array([(0.5 - depth + extra) * math.cos(az), (0.5 - depth + extra) * math.sin(az), 0.0])
            planes.append((n, n @ p))
    return polyhedron(planes)


def rotation_to(axis_xy, deg):
    """Rotation by deg about a horizontal axis."""
    a = math.radians(deg)
    k = np.array([axis_xy[0], axis_xy[1], 0.0])
    K = np.array([[0, -k[2], k[1]], [k[2], 0, -k[0]], [-k[1], k[0], 0]])
    return np.eye(3) + math.sin(a) * K + (1 - math.cos(a)) * K @ K


# ---------------------------------------------------------------- a piece

class Piece:
    def __init__(self, spec, rng, want, light=None):
        self.spec, self.rng, self.want = spec, rng, want
        view = spec["view"][0]
        self.outline = view.get("outline")
        self.metal, self.finish = spec["metal"], spec["finish"]
        self.design = view.get("stone", [])
        self.light = light or str(rng.choice(["dome", "ring", "bars"], p=[0.46, 0.27, 0.27]))
        self.band = self.outline["shape"] == "band"
        self.defects, self.bites = [], []
        self.heights, self.tints = [], []
        self.fine = []
        self.burnish = None
        self._frame()
        self._surface()
        self._stones()
        if want:
            self._defect(want)

    def _frame(self):
        rng = self.rng
        hx, hy = extent(self.outline)
        big = rng.random() < 0.15
        self.rot = float(rng.uniform(-4, 4) if not big else rng.choice([-1, 1]) * rng.uniform(4, 12))
        s = 0.2 if rng.random() < 0.85 else 0.8
        fit = rng.uniform(0.80, 0.9)
        if self.band:
            reach = max([abs(q["x_mm"]) + q["diameter_mm"] for q in self.design], default=2.0)
            um = max(rng.uniform(8.5, 12.5), reach * 2 / (W_PX * 0.9) * 1000, 2 * hy / (H_PX * 0.6) * 1000)
        else:
            c, sn = abs(math.cos(math.radians(self.rot))), abs(math.sin(math.radians(self.rot)))
            bx, by = hx * c + hy * sn, hx * sn + hy * c
            if self.outline["shape"] in ("disc", "ellipse"):
                bx, by = math.hypot(hx * c, hy * sn), math.hypot(hx * sn, hy * c)
            um = max(2 * bx / (W_PX * fit), 2 * by / (H_PX * fit)) * 1000
        self.um = float(min(20.0, max(8.0, round(um * 2) / 2)))
        fx, fy = W_PX * self.um / 2000, H_PX * self.um / 2000
        if self.band:
            lx, ly = min(s, 0.8), max(0.05, min(s, fy - hy - 0.6))
        else:
            lx, ly = max(0.02, min(s, fx - bx - 0.1)), max(0.02, min(s, fy - by - 0.1))
        self.dx, self.dy = float(rng.uniform(-lx, lx)), float(rng.uniform(-ly, ly))
        self.fx, self.fy = fx, fy
        self.cr, self.sr = math.cos(math.radians(self.rot)), math.sin(math.radians(self.rot))
        diag = math.hypot(fx, fy) + 0.3
        if self.band:
            self.hx = min(fx / self.cr + fy * abs(self.sr) + abs(self.dx) + 0.3, 0.985 * self.outline["radius_mm"])
            self.hy = hy
        else:
            self.hx, self.hy = hx, hy
        self.half = max(diag, self.hx)

    # piece mm -> frame mm, px
    def to_frame(self, x, y):
        return self.cr * x - self.sr * y + self.dx, self.sr * x + self.cr * y + self.dy

    def to_piece(self, X, Y):
        X, Y = X - self.dx, Y - self.dy
        return self.cr * X + self.sr * Y, -self.sr * X + self.cr * Y

    def px(self, X, Y):
        return (W_PX - 1) / 2 + X * 1000 / self.um, (H_PX - 1) / 2 - Y * 1000 / self.um

    def _surface(self):
        rng = self.rng
        self.edge = float(rng.uniform(0.03, 0.10))
        if self.design and not self.band:
            self.curv = (0.0, 0.0) if rng.random() < 0.6 else (1 / rng.uniform(60, 200),) * 2
        elif self.band:
            self.curv = (None, 0.0 if rng.random() < 0.6 else 1 / rng.uniform(12, 40))
        else:
            r = rng.uniform(25, 120)
            self.curv = (1 / r, 1 / (r * rng.uniform(0.6, 1.1))) if rng.random() < 0.85 else (0.0, 0.0)
        az = float(rng.choice([0.0, math.pi / 2, rng.uniform(0, math.pi)]))
        self.brush_az = az
        n = self.rng
        self.slopes = []  # (noise x, noise y, rms slope)
        long = Noise(n, self.half, 0.9)
        long2 = Noise(n, self.half, 0.9)
        self.slopes.append((long, long2, rng.uniform(0.001, 0.006)))
        if self.finish == "polished":
            self.alpha = (float(rng.uniform(0.03, 0.09)),) * 2
            fine = Noise(n, self.half, 0.02)
            self.slopes.append((fine, Noise(n, self.half, 0.02), rng.uniform(0.001, 0.006)))
        elif self.finish == "matte":
            self.alpha = (float(rng.uniform(0.22, 0.36)),) * 2
            self.slopes.append((Noise(n, self.half, 0.022), Noise(n, self.half, 0.022), rng.uniform(0.02, 0.07)))
        else:
            self.alpha = (float(rng.uniform(0.05, 0.1)), float(rng.uniform(0.18, 0.3)))
            amp = rng.uniform(0.015, 0.06)
            a = Noise(n, self.half, rng.uniform(0.5, 1.5), 0.018, az)
            b = Noise(n, self.half, rng.uniform(1.5, 4.0), 0.05, az)
            c, s = -math.sin(az), math.cos(az)
            across = lambda x, y: 0.8 * a(x, y) + 0.6 * b(x, y)
            self.slopes.append((lambda x, y: c * across(x, y), lambda x, y: s * across(x, y), amp))
        tone = np.array(METALS.get(self.metal, (0.8, 0.75, 0.7)))
        self.f0 = np.clip(tone * (1 + rng.normal(0, 0.012, 3)) * (1 + rng.normal(0, 0.02)), 0, 0.97)
        self.tone_noise = Noise(n, self.half, 1.2)
        self.tone_amp = float(rng.uniform(0.0, 0.008))

    def base_z(self, x, y):
        cx, cy = self.curv
        z = -0.5 * cy * y * y
        if self.band:
            R = self.outline["radius_mm"]
            return z + np.sqrt(np.maximum(R * R - x * x, 1e-4)) - R
        return z - 0.5 * cx * x * x

    def base_normal(self, x, y):
        e = 1e-3
        gx = (self.base_z(x + e, y) - self.base_z(x - e, y)) / (2 * e)
        gy = (self.base_z(x, y + e) - self.base_z(x, y - e)) / (2 * e)
        n = np.array([-gx, -gy, 1.0])
        return n / np.linalg.norm(n)

    def _stones(self):
        rng = self.rng
        self.stones, self.prongs = [], []
        seat = dict(hole=float(rng.uniform(0.19, 0.30)), deep=bool(rng.random() < 0.4), lift=float(rng.uniform(0.0, 0.04)))
        self.seat = seat
        self.prong_tall = float(rng.uniform(0.8, 1.1))
        for s in self.design:
            ang = rng.uniform(0, 2 * math.pi)
            off = min(abs(rng.normal(0, 0.012)), 0.03)
            self.stones.append({"id": s["id"], "x": s["x_mm"] + off * math.cos(ang), "y": s["y_mm"] + off * math.sin(ang),
                                "d": s["diameter_mm"], "nominal": (s["x_mm"], s["y_mm"]), "missing": False,
                                "seat": (s["x_mm"], s["y_mm"]), "spin": float(rng.uniform(0, 2 * math.pi)),
                                "tilt": float(min(abs(rng.normal(0, 0.7)), 1.8)), "tilt_az": float(rng.uniform(0, 2 * math.pi)),
                                "chip": None})
            for k, p in enumerate(s.get("prongs", [])):
                self.prongs.append({"stone": s["id"], "k": k, "x": p["x_mm"] + float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
                                    "y": p["y_mm"] + float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
                                    "r": p["radius_mm"] * float(rng.uniform(0.94, 1.06)), "missing": False})

    # ------------------------------------------------------------ defects

    def free(self, x, y, prongs=True):
        """Distance to the next edge of open metal in piece mm (outline, stone, prong, frame)."""
        d = outline_sdf(self.outline)(x, y)
        for s in self.stones:
            d = np.minimum(d, np.hypot(x - s["nominal"][0], y - s["nominal"][1]) - s["d"] / 2)
        if prongs:
            for p in self.prongs:
                d = np.minimum(d, np.hypot(x - p["x"], y - p["y"]) - p["r"])
        X, Y = self.to_frame(x, y)
        return np.minimum(d, np.minimum(self.fx - np.abs(X), self.fy - np.abs(Y)))

    def place(self, margin, tries=20000, gap=()):
        rng = self.rng
        for m in (margin, margin * 0.8, margin * 0.65):
            x = rng.uniform(-self.hx, self.hx, tries)
            y = rng.uniform(-self.hy, self.hy, tries)
            ok = self.free(x, y) > m
            for gx, gy, gr in gap:
                ok &= np.hypot(x - gx, y - gy) > gr
            i = np.flatnonzero(ok)
            if len(i):
                return float(x[i[0]]), float(y[i[0]])
        return None

    def _record(self, kind, x, y, r, **more):
        X, Y = self.to_frame(x, y)
        u, v = self.px(X, Y)
        row = {"type": kind, "x_mm": float(X), "y_mm": float(Y), "radius_mm": float(r)}
        row.update(more)
        row.update({"x_px": float(u), "y_px": float(v), "radius_px": float(r * 1000 / self.um)})
        self.defects.append(row)
        return row

    def _pit_shape(self, x, y, r, depth, irregular):
        rng = self.rng
        ph = rng.uniform(0, 2 * math.pi, 3)
        am = irregular * rng.uniform(0.3, 1, 3) * np.array([1, 0.6, 0.4])
        am_n = 1 / math.sqrt(1 + 0.5 * float((am**2).sum()))  # keeps the area of the circle of radius r

        def h(gx, gy):
            dx, dy = gx - x, gy - y
            a = np.arctan2(dy, dx)
            rr = r * am_n * (1 + am[0] * np.cos(2 * a + ph[0]) + am[1] * np.cos(3 * a + ph[1]) + am[2] * np.cos(5 * a + ph[2]))
            q = np.hypot(dx, dy) / rr
            return -depth * np.maximum(0, 1 - q * q) ** 0.8
        self.heights.append(((x - 1.5 * r, x + 1.5 * r, y - 1.5 * r, y + 1.5 * r), h))
        self.fine.append((x, y, 1.25 * r, 1.25 * r, max(0.003, r / 9)))

    def _defect(self, kind):
        rng = self.rng
        if kind in STONE_DEFECTS and not self.stones or kind == "missing_prong" and not self.prongs:
            raise Retry(f"{kind}: the piece has no such part")
        if kind == "pit":
            n = int(rng.choice([1, 1, 2, 3]))
            done = []
            for _ in range(n):
                r = float(rng.uniform(0.031, 0.09))
                p = self.place(r + 0.06, gap=[(a, b, 0.5) for a, b in done])
                if p is None:
                    continue
                done.append(p)
                self._pit_shape(*p, r, r * rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.18))
                self._record("pit", *p, r)
        elif kind == "porosity":
            n = int(rng.integers(5, 15))
            spread = float(rng.uniform(0.12, 0.28))
            p = self.place(min(spread + 0.1, 0.25))
            pores = []
            for _ in range(4000):
                if len(pores) == n or p is None:
                    break
                x, y = p[0] + rng.normal(0, spread), p[1] + rng.normal(0, spread * rng.uniform(0.3, 1.0))
                r = float(rng.uniform(0.018, 0.055))
                if float(self.free(np.array(x), np.array(y))) < r + 0.02:
                    continue
                if any(math.hypot(x - a, y - b) < 0.85 * (r + c) for a, b, c in pores):
                    continue
                pores.append((float(x), float(y), r))
            if len(pores) < 4:
                raise Retry("no room for porosity")
            for x, y, r in pores:
                self._pit_shape(x, y, r, r * rng.uniform(0.6, 1.1), rng.uniform(0.05, 0.3))
            cx, cy = np.mean([q[0] for q in pores]), np.mean([q[1] for q in pores])
            rad = max(math.hypot(x - cx, y - cy) + r for x, y, r in pores)
            fr = [(*map(float, self.to_frame(x, y)), r) for x, y, r in pores]
            self._record("porosity", cx, cy, rad, pores=[list(q) for q in fr],
                         pores_px=[[*map(float, self.px(q[0], q[1])), q[2] * 1000 / self.um] for q in fr])
        elif kind == "scratch":
            self._scratch()
        elif kind in ("stain", "worn_plating"):
            self._patch(kind)
        elif kind == "incomplete_fill":
            self._bite()
        elif kind == "missing_prong":
            p = self.prongs[int(rng.integers(len(self.prongs)))]
            p["missing"] = True
            self._record(kind, p["x"], p["y"], p["r"], stone=p["stone"], prong=p["k"])
        else:
            s = self.stones[int(rng.integers(len(self.stones)))]
            more = {"stone": s["id"]}
            if kind == "missing_stone":
                s["missing"] = True
            elif kind == "offset_stone":
                for _ in range(200):  # not into a neighbour
                    a, o = rng.uniform(0, 2 * math.pi), float(rng.uniform(0.13, 0.13 + 0.1 * s["d"]))
                    s["x"], s["y"] = s["nominal"][0] + o * math.cos(a), s["nominal"][1] + o * math.sin(a)
                    if all(q is s or math.hypot(q["x"] - s["x"], q["y"] - s["y"]) > (q["d"] + s["d"]) / 2 + 0.01
                           for q in self.stones):
                        break
                else:
                    raise Retry("no room to shift a stone")
                more["offset_mm"] = o
            elif kind == "tilted_stone":
                s["tilt"] = float(rng.uniform(8, 16))
                more["tilt_deg"] = s["tilt"]
            elif kind == "chipped_stone":
                depth = float(rng.uniform(0.08, 0.08 + 0.12 * s["d"]))
                s["chip"] = (depth / s["d"], float(rng.uniform(0, 2 * math.pi)))
                more["chip_mm"] = depth
            self._record(kind, s["x"], s["y"], s["d"] / 2, **more)

    def _scratch(self):
        rng = self.rng
        for _ in range(600):
            L = float(rng.uniform(0.4, 2.0))
            w = float(rng.uniform(0.02, 0.06))
            c = self.place(0.06)
            if c is None:
                break
            a = rng.uniform(0, math.pi)
            bend = rng.normal(0, 0.08) * L if rng.random() < 0.6 else 0.0
            t = np.linspace(-0.5, 0.5, 41)
            px = c[0] + t * L * math.cos(a) - bend * (4 * t * t - 0.5) * math.sin(a)
            py = c[1] + t * L * math.sin(a) + bend * (4 * t * t - 0.5) * math.cos(a)
            if self.free(px, py).min() > w / 2 + 0.04:
                break
        else:
            raise Retry("no room for a scratch")
        if c is None:
            raise Retry("no room for a scratch")
        L = float(np.hypot(np.diff(px), np.diff(py)).sum())
        depth = w * (rng.uniform(0.14, 0.35) if self.finish == "polished" else rng.uniform(0.25, 0.5))
        burr = rng.uniform(0, 0.35)
        rough = rng.uniform(0.15, 0.5)
        wob = Noise(rng, self.half, 0.08)
        seg = np.stack([px, py], 1)

        def field(gx, gy):
            best = np.full(gx.shape, 1e9)
            along = np.zeros(gx.shape)
            for i in range(len(seg) - 1):
                e = seg[i + 1] - seg[i]
                tt = np.clip(((gx - seg[i, 0]) * e[0] + (gy - seg[i, 1]) * e[1]) / (e @ e), 0, 1)
                d = np.hypot(gx - seg[i, 0] - tt * e[0], gy - seg[i, 1] - tt * e[1])
                b = d < best
                best[b] = d[b]
                along[b] = ((i + tt) / (len(seg) - 1))[b]
            return best, along

        def h(gx, gy):
            d, u = field(gx, gy)
            taper = smoothstep(0, 0.12, u) * smoothstep(0, 0.12, 1 - u)
            taper = taper * (1 - rough * 0.5 + rough * 0.5 * np.clip(wob(gx, gy), -1, 1))
            q = d / (w / 2)
            return taper * depth * (-np.maximum(0, 1 - q * q) + burr * np.exp(-((q - 1.3) / 0.3) ** 2))
        m = 1.2 * w
        box = (px.min() - m, px.max() + m, py.min() - m, py.max() + m)
        self.heights.append((box, h))
        if self.finish != "polished":  # a scratch through a matte or brushed skin is burnished
            self.burnish = (box, lambda gx, gy: smoothstep(w / 2, w / 3, field(gx, gy)[0]), float(rng.uniform(0.06, 0.15)))
        self.fine.append((box[0] / 2 + box[1] / 2, box[2] / 2 + box[3] / 2, (box[1] - box[0]) / 2,
                          (box[3] - box[2]) / 2, max(0.0035, w / 7)))
        fx, fy = self.to_frame(px[::3], py[::3])
        ux, uy = self.px(fx, fy)
        self._record("scratch", float(px[20]), float(py[20]), L / 2, length_mm=L, width_mm=w,
                     path=[[float(a), float(b)] for a, b in zip(fx, fy)],
                     path_px=[[float(a), float(b)] for a, b in zip(ux, uy)])

    def _patch(self, kind):
        rng = self.rng
        if kind == "worn_plating" and self.metal not in BASE_METALS:
            kind = "stain"
        for _ in range(60):
            area = float(math.exp(rng.uniform(math.log(0.07), math.log(0.5))))
            r = math.sqrt(area / math.pi)
            c = self.place(min(r * 0.7, 0.25))
            if c is None:
                continue
            ph = rng.uniform(0, 2 * math.pi, 4)
            am = rng.uniform(0.05, 0.22, 4) * np.array([1.3, 0.9, 0.6, 0.4])
            el, ea = rng.uniform(0.65, 1.0), rng.uniform(0, math.pi)
            wob = Noise(rng, self.half, 0.06)
            soft = float(rng.uniform(0.06, 0.3) if kind == "stain" else rng.uniform(0.08, 0.35))

            def mask(gx, gy):
                dx, dy = gx - c[0], gy - c[1]
                u = (dx * math.cos(ea) + dy * math.sin(ea)) * math.sqrt(el)
                v = (-dx * math.sin(ea) + dy * math.cos(ea)) / math.sqrt(el)
                a = np.arctan2(v, u)
                rr = r * (1 + sum(am[k] * np.cos((k + 2) * a + ph[k]) for k in range(4)))
                q = np.hypot(u, v) / rr + 0.06 * wob(gx, gy)
                return 1 - smoothstep(1 - soft, 1 + soft, q)
            g = np.arange(-2.2 * r, 2.2 * r, 0.008)
            gx, gy = np.meshgrid(c[0] + g, c[1] + g)
            seen = (mask(gx, gy) > 0.5) & (self.free(gx, gy) > 0)
            a_true = float(seen.sum() * 0.008**2)
            if a_true > 0.058:
                break
        else:
            raise Retry("no room for a patch")
        strength = float(rng.uniform(0.45, 1.0))
        if kind == "stain":
            tint = np.array([(0.62, 0.50, 0.36), (0.55, 0.56, 0.62), (0.70, 0.62, 0.45), (0.50, 0.46, 0.44),
                             (0.72, 0.60, 0.66)][int(rng.integers(5))])
            full = self.f0 * tint
            da = float(rng.uniform(0, 0.12))
        else:
            opts = BASE_METALS[self.metal]
            full = np.array(opts[int(rng.integers(len(opts)))])
            da = float(rng.uniform(0, 0.06))
        mottle = Noise(rng, self.half, 0.1)
        ma = float(rng.uniform(0.05, 0.25))

        def blend(gx, gy):
            m = mask(gx, gy)
            return np.clip(m * strength * (1 + ma * mottle(gx, gy) * m), 0, 1)
        self.tints.append(((c[0] - 2.2 * r, c[0] + 2.2 * r, c[1] - 2.2 * r, c[1] + 2.2 * r), blend, full, da))
        self.patch_mask = mask
        xs, ys = gx[seen], gy[seen]
        cx, cy = float(xs.mean()), float(ys.mean())
        self._record(kind, cx, cy, float(np.hypot(xs - cx, ys - cy).max()), area_mm2=a_true, strength=strength)

    def _bite(self):
        rng = self.rng
        sdf = outline_sdf(self.outline)
        for _ in range(400):
            dev = float(rng.uniform(0.13, 0.4))
            rb = float(rng.uniform(0.3, 1.0)) + dev
            if self.band:
                x = rng.uniform(-0.8, 0.8) * self.fx
                y = float(rng.choice([-1, 1])) * self.outline["half_width_mm"]
                n = np.array([0.0, np.sign(y)])
            else:
                a = rng.uniform(0, 2 * math.pi)
                t = np.linspace(0, 1.5 * max(self.hx, self.hy), 3000)
                d = sdf(t * math.cos(a), t * math.sin(a))
                r = t[np.argmax(d < 0)]
                x, y = r * math.cos(a), r * math.sin(a)
                e = 1e-3
                n = -np.array([float(sdf(np.array(x + e), np.array(y)) - sdf(np.array(x - e), np.array(y))),
                               float(sdf(np.array(x), np.array(y + e)) - sdf(np.array(x), np.array(y - e)))])
                n /= np.linalg.norm(n)
            tip = (x - n[0] * dev, y - n[1] * dev)
            X, Y = self.to_frame(x, y)
            if abs(X) > self.fx - 0.6 or abs(Y) > self.fy - 0.1:
                continue
            room = min([math.hypot(tip[0] - s["nominal"][0], tip[1] - s["nominal"][1]) - s["d"] / 2 for s in self.stones], default=9)
            if room > -0.02:
                break
        else:
            raise Retry("no room for a bite")
        cx, cy = x + n[0] * (rb - dev), y + n[1] * (rb - dev)
        ph, am = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0, 0.03, 2)

        def d_bite(gx, gy):
            a = np.arctan2(gy - cy, gx - cx)
            return np.hypot(gx - cx, gy - cy) - rb * (1 + am[0] * np.cos(5 * a + ph[0]) + am[1] * np.cos(9 * a + ph[1]))
        self.bites.append(d_bite)
        g = np.arange(-rb, rb, 0.004)
        gx, gy = np.meshgrid(x + g, y + g)
        d0, d1 = sdf(gx, gy), self.metal_sdf(gx, gy)
        gone = (d0 > 0) & (d1 < 0)
        dev = float(d0[gone].max())
        i = np.argmax(np.where(gone, d0, -1))
        half = float(np.hypot(gx[gone] - gx.flat[i], gy[gone] - gy.flat[i]).max())
        self._record("incomplete_fill", float(gx[gone].mean()), float(gy[gone].mean()), half, deviation_mm=dev)

    def metal_sdf(self, x, y):
        d = outline_sdf(self.outline)(x, y)
        for b in self.bites:
            e = b(x, y)
            h = np.clip(0.5 + 0.5 * (d - e) / 0.06, 0, 1)
            d = d * (1 - h) + e * h - 0.06 * h * (1 - h)
        return d

    # ------------------------------------------------------------ meshes

    def metal_mesh(self):
        base = self.um / 1000 * 1.05
        mx, my = self.hx + (0 if self.band else 0.05), self.hy + 0.05
        xs = axis_lines(-mx, mx, base, [(f[0], f[2], f[4]) for f in self.fine])
        ys = axis_lines(-my, my, base, [(f[1], f[3], f[4]) for f in self.fine])
        x, y = np.meshgrid(xs, ys)
        d = self.metal_sdf(x, y)
        z = self.base_z(x, y)
        extra = np.zeros_like(z)
        for s in self.design:
            i, j = self._window(xs, ys, (s["x_mm"] - 0.7 * s["diameter_mm"], s["x_mm"] + 0.7 * s["diameter_mm"],
                                         s["y_mm"] - 0.7 * s["diameter_mm"], s["y_mm"] + 0.7 * s["diameter_mm"]))
            D = s["diameter_mm"]
            r = np.hypot(x[j, i] - s["x_mm"], y[j, i] - s["y_mm"])
            rim = 0.505 * D
            cone = -0.10 * D - (rim - r) * 1.0
            hole = -(1.0 if self.seat["deep"] else 0.5) * D
            zz = np.where(r < self.seat["hole"] * D, np.minimum(cone, hole), cone)
            extra[j, i] = np.where(r < rim, zz, extra[j, i])
        ed = np.clip(self.edge - d, 0, self.edge)
        extra -= self.edge - np.sqrt(np.maximum(self.edge**2 - ed**2, 0))
        alpha_u = np.full(z.shape, self.alpha[0], np.float32)
        alpha_v = np.full(z.shape, self.alpha[1], np.float32)
        color = np.broadcast_to(self.f0, z.shape + (3,)).copy()
        color *= (1 + self.tone_amp * self.tone_noise(x, y))[..., None]
        for box, h in self.heights:
            i, j = self._window(xs, ys, box)
            extra[j, i] += h(x[j, i], y[j, i])
        for box, m, full, da in self.tints:
            i, j = self._window(xs, ys, box)
            k = m(x[j, i], y[j, i])[..., None]
            color[j, i] = color[j, i] * (1 - k) + full * k
            alpha_u[j, i] += da * k[..., 0]
            alpha_v[j, i] += da * k[..., 0]
        if self.burnish:
            box, m, to = self.burnish
            i, j = self._window(xs, ys, box)
            k = m(x[j, i], y[j, i])
            alpha_u[j, i] = alpha_u[j, i] * (1 - k) + np.minimum(to, alpha_u[j, i]) * k
            alpha_v[j, i] = alpha_v[j, i] * (1 - k) + np.minimum(to, alpha_v[j, i]) * k
        z = z + extra
        gy_, gx_ = np.gradient(z, ys, xs)
        for a, b, amp in self.slopes:
            gx_ += amp * a(x, y)
            gy_ += amp * b(x, y)
        nrm = np.stack([-gx_, -gy_, np.ones_like(z)], -1)
        nrm /= np.linalg.norm(nrm, axis=-1, keepdims=True)
        # vertices just about the outline move onto it
        cell = base
        dyg, dxg = np.gradient(d, ys, xs)
        gn = np.maximum(np.hypot(dxg, dyg), 1e-6)
        near = (d > -0.75 * cell) & (d < 0.3 * cell)
        x = np.where(near, x - d * dxg / gn, x)
        y = np.where(near, y - d * dyg / gn, y)
        k = d > -0.75 * cell
        ny, nx = z.shape
        idx = np.arange(ny * nx).reshape(ny, nx)
        a, b, c, e = idx[:-1, :-1], idx[:-1, 1:], idx[1:, 1:], idx[1:, :-1]
        t1 = k[:-1, :-1] & k[:-1, 1:] & k[1:, 1:]
        t2 = k[:-1, :-1] & k[1:, 1:] & k[1:, :-1]
        faces = np.concatenate([np.stack([a[t1], b[t1], c[t1]], 1), np.stack([a[t2], c[t2], e[t2]], 1)])
        used = np.zeros(ny * nx, bool)
        used[faces] = True
        remap = np.cumsum(used) - 1
        faces = remap[faces]
        X, Y = self.to_frame(x.ravel()[used], y.ravel()[used])
        n = nrm.reshape(-1, 3)[used]
        n = np.stack([self.cr * n[:, 0] - self.sr * n[:, 1], self.sr * n[:, 0] + self.cr * n[:, 1], n[:, 2]], 1)
        u, v = x.ravel()[used], y.ravel()[used]
        c_, s_ = math.cos(self.brush_az), math.sin(self.brush_az)
        uv = np.stack([(c_ * u + s_ * v) / 20 + 0.5, (-s_ * u + c_ * v) / 20 + 0.5], 1)
        return dict(v=np.stack([X, Y, z.ravel()[used]], 1), f=faces, n=n, uv=uv,
                    color=color.reshape(-1, 3)[used], au=alpha_u.ravel()[used], av=alpha_v.ravel()[used])

    @staticmethod
    def _window(xs, ys, box):
        return (slice(int(np.searchsorted(xs, box[0])), int(np.searchsorted(xs, box[1]))),
                slice(int(np.searchsorted(ys, box[2])), int(np.searchsorted(ys, box[3]))))

    def stone_meshes(self):
        V, F, b = [], [], 0
        for s in self.stones:
            r = np.random.default_rng(int(self.rng.integers(1 << 30)))
            if s["missing"]:
                continue
            chip = s["chip"]
            v, f = stone_mesh(r, chip)
            c, sn = math.cos(s["spin"]), math.sin(s["spin"])
            if chip:
                c, sn = 1.0, 0.0
            v = v * s["d"]
            v = v @ np.array([[c, -sn, 0], [sn, c, 0], [0, 0, 1]]).T
            v = v @ rotation_to((math.cos(s["tilt_az"]), math.sin(s["tilt_az"])), s["tilt"]).T
            n = self.base_normal(*s["nominal"])
            if n[2] < 0.99999:
                ax = np.array([-n[1], n[0]]) / math.hypot(n[0], n[1])
                v = v @ rotation_to(ax, math.degrees(math.acos(n[2]))).T
            lift = self.seat["lift"] * s["d"]
            v = v + np.array([s["x"], s["y"], float(self.base_z(np.array(s["x"]), np.array(s["y"]))) + lift])
            X, Y = self.to_frame(v[:, 0], v[:, 1])
            V.append(np.stack([X, Y, v[:, 2]], 1))
            F.append(f + b)
            b += len(v)
        return (np.concatenate(V), np.concatenate(F)) if V else None

    def prong_meshes(self):
        """A lathe profile: a dome on a post."""
        V, F, N, b = [], [], [], 0
        th = np.linspace(0, math.pi / 2, 12)
        seg = 36
        az = np.linspace(0, 2 * math.pi, seg, endpoint=False)
        for p in self.prongs:
            if p["missing"]:
                continue
            r, tall = p["r"], self.prong_tall * p["r"]
            rr = np.concatenate([[1e-4 * r], r * np.sin(th[1:]), [r]])
            zz = np.concatenate([tall * np.cos(th), [-0.5 - r]])
            nr = np.concatenate([np.sin(th), [1.0]])
            nz = np.concatenate([np.cos(th) * r / tall, [0.0]])
            ln = np.hypot(nr, nz)
            z0 = float(self.base_z(np.array(p["x"]), np.array(p["y"]))) + 0.35 * r
            m = len(rr)
            v = np.stack([np.outer(rr, np.cos(az)), np.outer(rr, np.sin(az)), np.repeat(zz[:, None], seg, 1)], -1).reshape(-1, 3)
            n = np.stack([np.outer(nr / ln, np.cos(az)), np.outer(nr / ln, np.sin(az)), np.repeat((nz / ln)[:, None], seg, 1)], -1).reshape(-1, 3)
            bn = self.base_normal(p["x"], p["y"])
            if bn[2] < 0.99999:
                ax = np.array([-bn[1], bn[0]]) / math.hypot(bn[0], bn[1])
                R = rotation_to(ax, math.degrees(math.acos(bn[2])))
                v, n = v @ R.T, n @ R.T
            i = np.arange(m - 1)[:, None] * seg
            j = np.arange(seg)[None, :]
            q0, q1 = (i + j).ravel(), (i + (j + 1) % seg).ravel()
            f = np.concatenate([np.stack([q0, q0 + seg, q1 + seg], 1), np.stack([q0, q1 + seg, q1], 1)])
            X, Y = self.to_frame(p["x"], p["y"])
            rot = np.array([[self.cr, -self.sr, 0], [self.sr, self.cr, 0], [0, 0, 1]])
            v = v @ rot.T + np.array([X, Y, z0])
            V.append(v)
            N.append(n @ rot.T)
            F.append(f + b)
            b += len(v)
        return (np.concatenate(V), np.concatenate(F), np.concatenate(N)) if V else None

    # ------------------------------------------------------------ truth, masks

    def truth(self):
        stones = []
        for s in self.stones:
            X, Y = self.to_frame(s["x"], s["y"])
            u, v = self.px(X, Y)
            stones.append({"id": s["id"], "x_mm": float(X), "y_mm": float(Y), "diameter_mm": s["d"],
                           "nominal_xy": [float(q) for q in s["nominal"]], "missing": s["missing"],
                           "x_px": float(u), "y_px": float(v), "tilt_deg": s["tilt"]})
        prongs = []
        for p in self.prongs:
            u, v = self.px(*self.to_frame(p["x"], p["y"]))
            row = {"x_px": float(u), "y_px": float(v), "radius_mm": p["r"]}
            if p["missing"]:
                row["missing"] = True
            prongs.append(row)
        return {"um_per_px": self.um, "pose": {"rotation_deg": self.rot, "dx_mm": self.dx, "dy_mm": self.dy},
                "light": self.light, "metal": self.metal, "finish": self.finish, "defects": self.defects,
                "stones": stones, "prongs": prongs, "verdict": self.verdict()}

    def verdict(self):
        lim = {r["characteristic"]: r for r in self.spec.get("limit", [])}

        def over(name, value):
            r = lim.get(name)
            return r is not None and (value > r.get("upper", math.inf) or value < r.get("lower", -math.inf))
        for d in self.defects:
            t = d["type"]
            if ((t == "pit" and over("pit.diameter_mm", 2 * d["radius_mm"]))
                    or (t == "porosity" and over("porosity.pore_count", len(d["pores"])))
                    or (t == "scratch" and over("scratch.length_mm", d["length_mm"]))
                    or (t in ("stain", "worn_plating") and over(f"{t}.area_mm2", d["area_mm2"]))
                    or (t == "incomplete_fill" and over("outline.deviation_mm", d["deviation_mm"]))
                    or (t == "missing_stone" and over("stone.present", 0))
                    or (t == "offset_stone" and over("stone.offset_mm", d["offset_mm"]))
                    or (t == "tilted_stone" and over("stone.tilt_deg", d["tilt_deg"]))
                    or (t == "chipped_stone" and over("stone.chip_mm", d["chip_mm"]))
                    or (t == "missing_prong" and over("prong.present", 0))):
                return "fail"
        return "pass"

    def masks(self, only=None):
        """Metal, stones, defects (or only one of them) in the frame, from the geometry."""
        u, v = np.meshgrid(np.arange(W_PX), np.arange(H_PX))
        X, Y = (u - (W_PX - 1) / 2) * self.um / 1000, ((H_PX - 1) / 2 - v) * self.um / 1000
        x, y = self.to_piece(X, Y)
        metal = self.metal_sdf(x, y) > 0
        if self.band:
            metal &= np.abs(x) <= self.hx
        stone = np.zeros_like(metal)
        for s in self.stones:
            if not s["missing"]:
                stone |= np.hypot(x - s["x"], y - s["y"]) < s["d"] / 2
        for p in self.prongs:
            if not p["missing"]:
                stone &= np.hypot(x - p["x"], y - p["y"]) >= p["r"]
        bad = np.zeros_like(metal)
        for d in self.defects if only is None else [only]:
            if d["type"] in ("stain", "worn_plating"):
                bad |= (self.patch_mask(x, y) > 0.5) & metal & ~stone
            elif d["type"] == "incomplete_fill":
                bad |= (outline_sdf(self.outline)(x, y) > 0) & ~metal
            elif d["type"] == "scratch":
                q = np.array(d["path"])
                best = np.full(x.shape, 1e9)
                for a, b in zip(q[:-1], q[1:]):
                    e = b - a
                    t = np.clip(((X - a[0]) * e[0] + (Y - a[1]) * e[1]) / (e @ e), 0, 1)
                    best = np.minimum(best, np.hypot(X - a[0] - t * e[0], Y - a[1] - t * e[1]))
                bad |= best < d["width_mm"] / 2
            elif d["type"] == "porosity":
                for a, b, r in d["pores"]:
                    bad |= np.hypot(X - a, Y - b) < r
            else:
                bad |= np.hypot(X - d["x_mm"], Y - d["y_mm"]) < d["radius_mm"]
        return {"metal_mask": metal & ~stone, "stone_mask": stone, "defect_mask": bad}


class Retry(Exception):
    pass


# ---------------------------------------------------------------- light and picture

def environment(kind, rng, dark):
    """Radiance over directions: rows from the zenith down, columns around; plus a note of its settings."""
    H, W = 384, 768
    th = (np.arange(H) + 0.5)[:, None] / H * math.pi
    ph = (np.arange(W) + 0.5)[None, :] / W * 2 * math.pi
    z = np.cos(th) + 0 * ph
    dx, dy = np.sin(th) * np.cos(ph), np.sin(th) * np.sin(ph)
    deg = np.degrees(th) + 0 * ph
    up = smoothstep(-0.03, 0.03, z)
    if kind == "dome":
        L = 0.74 * (1 - rng.uniform(0.0, 0.25) * (1 - np.maximum(z, 0)) ** 2)
        hole, width = rng.uniform(0.0, 0.35), rng.uniform(2.0, 5.0)
        L = L * (1 - hole * (1 - smoothstep(width * 0.8, width * 1.2, deg)))
        L = L * (1 + rng.uniform(0, 0.06) * dx + rng.uniform(-0.06, 0.06) * dy)
    elif kind == "ring":
        t, w = rng.uniform(26, 52), rng.uniform(4, 9)
        L = rng.uniform(0.16, 0.30) + rng.uniform(2.5, 4.5) * (1 - smoothstep(w - 1.5, w + 1.5, np.abs(deg - t)))
    else:
        a = rng.uniform(0, math.pi) if rng.random() < 0.5 else rng.choice([0.0, math.pi / 2, math.pi / 4])
        sx, sy = dx / np.maximum(z, 0.02), dy / np.maximum(z, 0.02)
        o, hw, hl = rng.uniform(0.5, 1.1), rng.uniform(0.1, 0.22), rng.uniform(0.7, 1.5)
        L = np.full(z.shape, rng.uniform(0.28, 0.42))
        for k in range(int(rng.choice([2, 4]))):
            q = a + math.pi * k if k < 2 else a + math.pi * (k - 2) + math.pi / 2
            u, v = sx * math.cos(q) + sy * math.sin(q), -sx * math.sin(q) + sy * math.cos(q)
            box = np.maximum(np.abs(u - o) - hw, np.abs(v) - hl)
            L = L + rng.uniform(2.5, 4.5) * (1 - smoothstep(-0.02, 0.04, box)) * (z > 0.05)
    tint = np.array([1.0, 1.0, 1.0]) * (1 + rng.normal(0, 0.01, 3))
    img = (L * up)[..., None] * tint + dark * (1 - up)[..., None] * (1 + rng.normal(0, 0.015, 3))
    return img.astype(np.float32)


class Renderer:
    def __init__(self, spp, depth):
        import mitsuba as mi
        mi.set_variant("llvm_ad_rgb")
        mi.set_log_level(mi.LogLevel.Error)
        self.mi, self.spp, self.depth = mi, spp, depth

    def mesh(self, name, bsdf, v, f, n=None, uv=None, attrs=()):
        mi = self.mi
        props = mi.Properties()
        props["mesh_bsdf"] = mi.load_dict(bsdf)
        if n is None:
            props["face_normals"] = True
        m = mi.Mesh(name, len(v), len(f), props=props, has_vertex_normals=n is not None, has_vertex_texcoords=uv is not None)
        for k, dim, data in attrs:
            m.add_attribute(k, dim, np.ascontiguousarray(data, np.float32).ravel())
        p = mi.traverse(m)
        p["vertex_positions"] = np.ascontiguousarray(v, np.float32).ravel()
        p["faces"] = np.ascontiguousarray(f, np.uint32).ravel()
        if n is not None:
            p["vertex_normals"] = np.ascontiguousarray(n, np.float32).ravel()
        if uv is not None:
            p["vertex_texcoords"] = np.ascontiguousarray(uv, np.float32).ravel()
        p.update()
        return m

    def linear(self, piece, rng, dark):
        mi = self.mi
        T = mi.ScalarTransform4f
        env = environment(piece.light, rng, dark)
        # narrow lights and stones are the noisy ones
        spp = self.spp // (2 if piece.light == "dome" and not piece.stones else 1)
        m = piece.metal_mesh()
        metal = {"type": "roughconductor", "material": "none", "distribution": "ggx",
                 "alpha_u": {"type": "mesh_attribute", "name": "vertex_au"},
                 "alpha_v": {"type": "mesh_attribute", "name": "vertex_av"},
                 "specular_reflectance": {"type": "mesh_attribute", "name": "vertex_color"}}
        scene = {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": self.depth if piece.stones else 6, "rr_depth": 6},
            "sensor": {"type": "orthographic", "near_clip": 0.1, "far_clip": 100.0,
                       "to_world": T().look_at(origin=[0, 0, 40], target=[0, 0, 0], up=[0, 1, 0]) @ T().scale([piece.fx, piece.fx, 1]),
                       "film": {"type": "hdrfilm", "width": W_PX, "height": H_PX, "rfilter": {"type": "box"},
                                "pixel_format": "rgb", "component_format": "float32"},
                       "sampler": {"type": "ldsampler", "sample_count": spp, "seed": int(rng.integers(1 << 30))}},
            "env": {"type": "envmap", "bitmap": mi.Bitmap(env), "to_world": T().rotate([1, 0, 0], 90)},
            "metal": self.mesh("metal", metal, m["v"], m["f"], m["n"], m["uv"],
                               [("vertex_color", 3, m["color"]), ("vertex_au", 1, m["au"]), ("vertex_av", 1, m["av"])]),
        }
        p = piece.prong_meshes()
        if p:
            one = np.ones(len(p[0]), np.float32)
            uv = np.stack([p[0][:, 0], p[0][:, 1]], 1) / 20
            scene["prongs"] = self.mesh("prongs", metal, p[0], p[1], p[2], uv,
                                        [("vertex_color", 3, np.repeat(piece.f0[None], len(p[0]), 0)),
                                         ("vertex_au", 1, one * 0.05), ("vertex_av", 1, one * 0.05)])
        s = piece.stone_meshes()
        if s:
            scene["stones"] = self.mesh("stones", {"type": "dielectric", "int_ior": 2.417, "ext_ior": 1.0}, s[0], s[1])
        sc = mi.load_dict(scene)
        img = np.array(mi.render(sc, spp=spp, seed=int(rng.integers(1 << 30))))
        return np.nan_to_num(img[..., :3], posinf=4.0)


def exposed(lin, metal, piece_area, dark, rng):
    """Exposure as a station sets it: the open metal in a fair range, with some scatter; the ground keeps its tone."""
    m = np.median(lin[metal].max(-1)) if metal.any() else 0.5
    gain = math.exp(rng.normal(0, 0.06))
    if m * gain > 0.66:
        gain = rng.uniform(0.5, 0.66) / m
    elif m * gain < 0.12:
        gain = rng.uniform(0.12, 0.2) / m
    ground = 1 - gaussian_filter(piece_area.astype(np.float32), 0.5)
    return lin * gain + (dark * (1 - gain) * rng.uniform(0.8, 1.1) * ground)[..., None]


def contrast(img, bad, metal, all_bad):
    """How far the pixels of a defect differ from their surroundings, in grey levels, noise taken off."""
    from scipy.ndimage import binary_dilation, binary_erosion, uniform_filter
    g = np.stack([uniform_filter(img[..., c].astype(float), 3) for c in range(3)], -1)
    sound = binary_erosion(metal, iterations=4) & ~binary_dilation(all_bad, iterations=3)
    w = gaussian_filter(sound.astype(float), 10) + 1e-6
    mid = np.stack([gaussian_filter(g[..., c] * sound, 10) / w for c in range(3)], -1)
    ring = binary_dilation(bad, iterations=14) & sound
    if not ring.any():
        return 0.0
    off = np.abs(g - mid).max(-1)
    return float(off[bad].mean() - off[ring].mean())


def despeckled(lin):
    """Takes single stray bright pixels (rare light paths) out; a highlight of two pixels and more stays."""
    lum = lin.max(-1)
    pad = np.pad(lum, 1, mode="edge")
    h, w = lum.shape
    near = np.sort([pad[j:j + h, i:i + w] for j in range(3) for i in range(3) if (i, j) != (1, 1)], axis=0)
    stray = lum > 1.35 * near[-2] + 0.04
    out = lin.copy()
    out[stray] *= (near[-3][stray] / lum[stray])[:, None]
    return out


def picture(lin, rng):
    """Camera: exposure, vignetting, blur, noise, sRGB, 8 bit."""
    lin = despeckled(np.minimum(lin, 2.0))
    yy, xx = np.mgrid[0:H_PX, 0:W_PX]
    r2 = ((xx - W_PX / 2) ** 2 + (yy - H_PX / 2) ** 2) / (W_PX / 2) ** 2
    lin = lin * (1 - rng.uniform(0.01, 0.06) * r2)[..., None]
    lin = lin * (1 + rng.uniform(0.008, 0.028) * gaussian_filter(rng.standard_normal(lin.shape[:2]), 0.5))[..., None]
    blur = float(rng.uniform(0.55, 0.85))
    lin = np.stack([gaussian_filter(lin[..., c], blur) for c in range(3)], -1)
    sig = np.sqrt(np.maximum(lin, 0) * rng.uniform(2e-5, 5e-5) + 0.0009**2)
    lin = lin + sig * rng.standard_normal(lin.shape)
    lin = np.clip(lin, 0, 1)
    s = np.where(lin <= 0.0031308, 12.92 * lin, 1.055 * lin ** (1 / 2.4) - 0.055)
    return np.clip(np.round(s * 255), 0, 255).astype(np.uint8)


# ---------------------------------------------------------------- the set

def choose_defect(kind, spec, index, seed):
    """Defects take turns, so that a small set has them all."""
    has = bool(spec["view"][0].get("stone"))
    if kind == "signet":
        turn = ["pit", "scratch", "stain", "worn_plating", "porosity", "incomplete_fill"]
    elif kind == "band":
        turn = ["porosity", "missing_stone", "scratch", "pit", "incomplete_fill", "missing_prong", "stain",
                "tilted_stone", "worn_plating", "offset_stone"]
    else:
        turn = ["missing_stone", "pit", "tilted_stone", "offset_stone", "missing_prong", "chipped_stone",
                "incomplete_fill", "porosity", "stain", "scratch"]
    d = turn[(index // 2 + seed + (4 if kind == "halo" else 0)) % len(turn)]
    if d in STONE_DEFECTS and not has:
        d = SURFACE_DEFECTS[(index // 2 + seed) % 3]
    return d


def build(kind, spec_in, name, index, args, first=0):
    for attempt in range(first, first + 20):
        rng = np.random.default_rng([args.seed, sum(map(ord, name)), index, attempt])
        spec = spec_in or random_spec(kind, name, rng)
        want = None
        good = args.good if args.good is not None else index % 2 == 0
        if not good:
            want = args.defect or choose_defect(kind, spec, index, args.seed)
            if want == "worn_plating" and spec["metal"] not in BASE_METALS and not spec_in:
                spec["metal"] = "rhodium"
        try:
            piece = Piece(spec, rng, want, args.light)
            if want and not piece.defects:
                raise Retry("defect did not fit")
            return piece, spec, rng
        except Retry as e:
            print(f"  {name}: {e}, trying again", file=sys.stderr)
    raise SystemExit(f"{name}: no layout found")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("specs", nargs="*", help="spec.toml files to render pieces of")
    ap.add_argument("--kind", choices=KINDS, help="random specs of this kind instead")
    ap.add_argument("--count", type=int, default=1, help="pieces for each spec or of the kind")
    ap.add_argument("--start", type=int, default=1, help="first number of the names (kind-NNN)")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--light", choices=["dome", "ring", "bars"])
    ap.add_argument("--defect", choices=SURFACE_DEFECTS + STONE_DEFECTS, help="this defect for the bad half")
    g = ap.add_mutually_exclusive_group()
    g.add_argument("--all-good", dest="good", action="store_const", const=True)
    g.add_argument("--all-bad", dest="good", action="store_const", const=False)
    ap.add_argument("--min-contrast", type=float, default=4.0, help="least contrast of a surface defect, grey levels")
    ap.add_argument("--spp", type=int, default=16, help="samples a pixel (a power of two)")
    ap.add_argument("--depth", type=int, default=11, help="longest light path where there are stones")
    args = ap.parse_args()
    if bool(args.specs) == bool(args.kind):
        ap.error("give spec files or --kind")
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    jobs = []
    if args.kind:
        jobs = [(args.kind, None, f"{args.kind}-{n:03d}", n - 1) for n in range(args.start, args.start + args.count)]
    else:
        for path in args.specs:
            spec = tomllib.loads(Path(path).read_text())
            o = spec["view"][0].get("outline")
            if not o:
                sys.exit(f"{path}: the view has no outline")
            has = bool(spec["view"][0].get("stone"))
            kind = "band" if o["shape"] == "band" else ("pave" if has else "signet")
            stem = Path(path).stem if Path(path).stem != "spec" else Path(path).parent.name
            jobs += [(kind, spec, f"{stem}-{n:03d}", n - 1) for n in range(args.start, args.start + args.count)]
    renderer = None
    for kind, spec_in, name, index in jobs:
        done = out / name
        if (done / "truth.json").exists():
            continue
        t0 = time.time()
        renderer = renderer or Renderer(args.spp, args.depth)
        for attempt in range(0, 100, 20):
            piece, spec, rng = build(kind, spec_in, name, index, args, attempt)
            masks = piece.masks()
            area = masks["metal_mask"] | masks["stone_mask"]
            lin = exposed(renderer.linear(piece, rng, DARK), masks["metal_mask"], area, DARK, rng)
            img = picture(lin, rng)
            if piece.want not in VISIBLE:
                break
            for d in piece.defects:
                d["contrast"] = contrast(img, piece.masks(d)["defect_mask"], masks["metal_mask"], masks["defect_mask"])
            c = min(d["contrast"] for d in piece.defects)
            if c >= args.min_contrast:
                break
            print(f"  {name}: {piece.want} of contrast {c:.1f} cannot be seen, trying another", file=sys.stderr)
        tmp = out / f".{name}.{os.getpid()}"
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        Image.fromarray(img).save(tmp / "top.png")
        (tmp / "spec.toml").write_text(spec_toml(spec))
        (tmp / "piece.json").write_text(json.dumps({
            "schema": "loupe.piece/1", "piece_id": name, "spec": "spec.toml",
            "frames": [{"file": "top.png", "view": "top", "light": piece.light, "um_per_px": piece.um,
                        "um_per_px_u": 0.01, "seq": 0}], "readings": []}, indent=1) + "\n")
        (tmp / "truth.json").write_text(json.dumps(piece.truth(), indent=1) + "\n")
        for k, m in masks.items():
            Image.fromarray((m * 255).astype(np.uint8)).save(tmp / f"{k}.png")
        tmp.rename(done)
        what = ", ".join(sorted({d["type"] for d in piece.defects})) or "good"
        print(f"{name}: {spec['metal']} {spec['finish']} {piece.light} {piece.um} um/px {what} {time.time() - t0:.1f} s", flush=True)


if __name__ == "__main__":
    main()

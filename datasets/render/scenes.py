#!/usr/bin/env python3
"""Photographs of jewellery as a phone takes them, rendered: chains, bangles, filigree, granulation, relief, rings and beads on cloth, paper,
skin and wood in a room. They have no spec and no defects; what is known of them is what every pixel shows.

  scenes.py --count N --out DIR --seed S [--pictures FOLDER...]

Writes DIR/NNNN.jpg and DIR/NNNN.png (the class of every pixel: 0 metal, 1 background, 2 stone; 255: parts of both). Pictures that
are there are left alone. `--pictures`: photographs used as grounds and seen in the mirror of the metal.
"""
import argparse
import math
import os
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import ConvexHull

import mitsuba as mi

mi.set_variant(os.environ.get("RENDER_VARIANT", "llvm_ad_rgb"))
mi.set_log_level(mi.LogLevel.Error)

import grounds
from progress import Progress
from stones import grid_faces, rotation_to

METALS = {"yellow_gold": (1.0, 0.78, 0.36), "rose_gold": (0.98, 0.68, 0.52), "white_gold": (0.80, 0.77, 0.72), "silver": (0.96, 0.94, 0.90),
          "platinum": (0.72, 0.69, 0.65), "red_gold": (0.95, 0.62, 0.36), "pale_gold": (0.96, 0.84, 0.55)}
METAL, BACKGROUND, STONE, MIXED = 0, 1, 2, 255


class Heap:
    """Triangles that are gathered into one mesh, with a colour of each corner."""

    def __init__(self):
        self.v, self.f, self.c, self.n = [], [], [], 0

    def add(self, v, f, colour=(1, 1, 1)):
        v = np.asarray(v, np.float32).reshape(-1, 3)
        self.v.append(v), self.f.append(np.asarray(f, np.int64).reshape(-1, 3) + self.n)
        self.c.append(np.tile(np.asarray(colour, np.float32), (len(v), 1)))
        self.n += len(v)

    def mesh(self, name, bsdf, smooth=True, uv=None):
        if not self.v:  # a scene always has the same parts: the kernel is compiled once
            self.add([[0, 0, -90], [1, 0, -90], [0, 1, -90]], [[0, 1, 2]])
        v, f, c = np.concatenate(self.v), np.concatenate(self.f), np.concatenate(self.c)
        props = mi.Properties()
        props["bsdf"] = mi.load_dict(bsdf)
        m = mi.Mesh(name, len(v), len(f), has_vertex_normals=smooth, has_vertex_texcoords=True, props=props)
        m.add_attribute("vertex_color", 3, c.ravel())
        p = mi.traverse(m)
        p["vertex_positions"], p["faces"] = v.ravel(), f.astype(np.uint32).ravel()
        p["vertex_texcoords"] = (uv if uv is not None else v[:, :2] / 60).astype(np.float32).ravel()
        if smooth:
            n = np.zeros_like(v)
            fn = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
            for k in range(3):
                np.add.at(n, f[:, k], fn)
            p["vertex_normals"] = (n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-12)).astype(np.float32).ravel()
        p.update()
        return m


def tube(p, radius, sides=8, closed=False, twist=0.0):
    """A wire along points p [n, 3]; radius: a number, [n], or [n, sides]."""
    p = np.asarray(p, float)
    n = len(p)
    t = np.roll(p, -1, 0) - np.roll(p, 1, 0)
    if not closed:
        t[0], t[-1] = p[1] - p[0], p[-1] - p[-2]
    t /= np.maximum(np.linalg.norm(t, axis=1, keepdims=True), 1e-9)
    up = np.zeros((n, 3))
    u = np.array([0.0, 0.0, 1.0]) if abs(t[0, 2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    for i in range(n):
        u = u - t[i] * (u @ t[i])
        u /= max(np.linalg.norm(u), 1e-9)
        up[i] = u
    side = np.cross(t, up)
    if closed:  # what the frame is off by after one round is spread over it
        off = math.atan2(up[0] @ side[-1], up[0] @ up[-1])
    else:
        off = 0.0
    a = np.arange(sides) / sides * 2 * math.pi + (np.arange(n) / n)[:, None] * (off + twist)
    r = np.broadcast_to(np.asarray(radius, float).reshape(n, -1) if np.ndim(radius) else np.full((n, 1), radius), (n, sides))
    v = p[:, None] + (r * np.cos(a))[..., None] * up[:, None] + (r * np.sin(a))[..., None] * side[:, None]
    return v.reshape(-1, 3), grid_faces(n, sides, closed, True)


def ball(c, r, k=10):
    th, ph = np.meshgrid(np.linspace(0.01, math.pi - 0.01, k), np.arange(2 * k) / (2 * k) * 2 * math.pi, indexing="ij")
    n = np.stack([np.sin(th) * np.cos(ph), np.sin(th) * np.sin(ph), np.cos(th)], -1).reshape(-1, 3)
    return n * np.asarray(r, float) + np.asarray(c, float), grid_faces(k, 2 * k, False, True)


def spin(rng, tilt=0.0):
    """A turn about z, after one about a level axis by up to `tilt` radians."""
    a, b, t = rng.uniform(0, 6.283), rng.uniform(0, 6.283), rng.uniform(0, tilt)
    flat = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    return flat @ rotation_to((math.cos(b), math.sin(b)), math.degrees(t))


class Part:
    """A piece of jewellery about the origin: metal, opaque stones, faceted stones."""

    def __init__(self):
        self.items = []

    def add(self, what, vf, colour=(1, 1, 1)):
        self.items.append((what, np.asarray(vf[0], float), vf[1], colour))

    def put(self, heaps, R, at):
        low = min((v @ R.T)[:, 2].min() for _, v, _, _ in self.items)
        for what, v, f, c in self.items:
            heaps[what].add(v @ R.T + np.array([at[0], at[1], -low + 0.02]), f, c)


def wander(rng, length, bend, n):
    a = rng.uniform(0, 6.283) + np.cumsum(rng.normal(0, bend, n // 8 + 2).repeat(8)[:n] / 8)
    return np.cumsum(np.stack([np.cos(a), np.sin(a)], 1) * length / n, 0)


def chain(rng):
    part = Part()
    wire = math.exp(rng.uniform(math.log(0.18), math.log(0.9)))
    length, width = wire * rng.uniform(4.5, 9), wire * rng.uniform(3.4, 6)
    n = int(min(160, rng.uniform(60, 220) / length))
    path = wander(rng, n * length * 0.8, rng.uniform(0.2, 1.2), 8 * n)[::8]
    path -= path.mean(0)
    kind = rng.choice(["cable", "curb", "ball", "rope", "box"], p=[0.3, 0.3, 0.12, 0.16, 0.12])
    if kind == "rope":
        fine = wander(rng, rng.uniform(60, 160), 0.5, 400)
        fine -= fine.mean(0)
        for k in range(int(rng.integers(2, 4))):
            a = np.arange(400) * rng.uniform(0.5, 0.52) + k * 2.1
            t = np.gradient(fine, axis=0)
            t /= np.linalg.norm(t, axis=1, keepdims=True)
            p = np.concatenate([fine + (wire * np.cos(a))[:, None] * np.stack([-t[:, 1], t[:, 0]], 1), (wire * np.sin(a))[:, None]], 1)
            part.add("metal", tube(p, wire, 7))
        return part
    for i in range(n):
        d = path[min(i + 1, n - 1)] - path[max(i - 1, 0)]
        yaw = math.atan2(d[1], d[0])
        if kind == "ball":
            part.add("metal", ball((*path[i], 0), length * 0.45, 8))
            continue
        a = np.arange(18) / 18 * 2 * math.pi
        ring = np.stack([0.5 * length * np.cos(a) * 1.1, 0.5 * width * np.sin(a), 0 * a], 1)
        if kind == "box":
            ring = np.stack([0.5 * length * np.tanh(2 * np.cos(a)), 0.5 * width * np.tanh(2 * np.sin(a)), 0 * a], 1)
        roll = (0.75 if kind == "curb" else (0.1 + (i % 2) * 1.3)) + rng.normal(0, 0.08)
        c, s = math.cos(roll), math.sin(roll)
        ring = ring @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
        c, s = math.cos(yaw), math.sin(yaw)
        ring = ring @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + [*path[i], 0]
        part.add("metal", tube(ring, wire, 8, True))
    return part


def bangle(rng, radius=None):
    """A bangle, hoop or ring: plain, fluted, faceted, twisted or beaded."""
    part = Part()
    R = radius or rng.uniform(8, 32)
    n, m = 240, 32
    a = np.arange(n) / n * 2 * math.pi
    r = rng.uniform(0.7, 3.2) if radius is None else rng.uniform(0.8, 2.2)
    phi = np.arange(m) / m * 2 * math.pi
    wide = rng.uniform(0.5, 2.5)
    p = rng.choice([1.0, 2.0, 4.0])
    form = (np.abs(np.cos(phi)) ** (2 * p) + np.abs(np.sin(phi) / wide) ** (2 * p)) ** (-0.5 / p) / max(1, wide * 0.8)
    k = int(rng.integers(6, 70))
    kind = rng.choice(["plain", "flute", "pattern", "twist", "bead"])
    mod = np.ones((n, m))
    if kind == "flute":
        mod += 0.12 * np.abs(np.sin(k * a / 2))[:, None]
    elif kind == "pattern":
        mod += 0.06 * np.sign(np.sin(k * a)[:, None] * np.sin(int(rng.integers(2, 7)) * phi)[None])
    elif kind == "twist":
        mod += rng.uniform(0.1, 0.3) * np.cos(int(rng.integers(2, 5)) * phi[None] + k * a[:, None])
    ring = np.stack([R * np.cos(a), R * np.sin(a), 0 * a], 1)
    part.add("metal", tube(ring, r * form[None] * mod, m, True))
    if kind == "bead":
        for q in np.arange(k) / k * 2 * math.pi:
            part.add("metal", ball((R * math.cos(q), R * math.sin(q), 0), 1.5 * r * min(1, 4 * R / k / r), 8))
    return part


def spiral(rng, size, turns, n=40):
    t = np.linspace(0, 1, n)
    a = turns * 2 * math.pi * t
    r = size * (1 - 0.9 * t)
    return np.stack([r * np.cos(a), r * np.sin(a)], 1) - np.array([size, 0])


def filigree(rng):
    """Scrolls of wire in a frame, repeated about the middle, with granules; open or on a plate, flat or domed."""
    part = Part()
    R, wire = rng.uniform(6, 18), rng.uniform(0.12, 0.5)
    k = int(rng.integers(4, 14))
    dome = rng.uniform(0, 0.35)
    lift = lambda p, z=0.0: np.concatenate([p, (dome * (R - np.linalg.norm(p, axis=1) ** 2 / R) + z)[:, None]], 1)
    lobes, amp = int(rng.choice([0, k])), rng.uniform(0, 0.18)
    a = np.linspace(0, 2 * math.pi, 200, endpoint=False)
    edge = R * (1 + amp * np.cos(lobes * a))
    for w in np.linspace(0.35, 1.0, int(rng.integers(2, 5))):
        part.add("metal", tube(lift(np.stack([edge * w * np.cos(a), edge * w * np.sin(a)], 1)), wire * rng.uniform(0.9, 1.8), 8, True))
    curves = []
    for _ in range(int(rng.integers(2, 6))):
        if rng.random() < 0.6:
            c = spiral(rng, rng.uniform(0.08, 0.25) * R, rng.uniform(1.0, 2.6) * rng.choice([-1, 1]))
        else:
            q = np.linspace(0, 2 * math.pi, 40)
            c = np.stack([np.cos(q) * rng.uniform(0.1, 0.25), np.sin(q) * rng.uniform(0.05, 0.18)], 1) * R
        z = rng.uniform(0, 6.28)
        c = c @ np.array([[math.cos(z), math.sin(z)], [-math.sin(z), math.cos(z)]]) + [rng.uniform(0.3, 0.85) * R, rng.uniform(-0.3, 0.3) * R]
        curves.append((c, rng.uniform(0.7, 1.3) * wire))
    grains = [(rng.uniform(0.15, 0.95) * R, rng.uniform(0, 0.5), rng.uniform(1.2, 3.0) * wire) for _ in range(int(rng.integers(0, 6)))]
    for i in range(k):
        z = i / k * 2 * math.pi
        M = np.array([[math.cos(z), math.sin(z)], [-math.sin(z), math.cos(z)]])
        for c, w in curves:
            part.add("metal", tube(lift(c @ M), w, 6))
            part.add("metal", tube(lift((c * [1, -1]) @ M), w, 6))
        for rr, aa, w in grains:
            p = np.array([[rr * math.cos(z + aa), rr * math.sin(z + aa)]])
            part.add("metal", ball(lift(p, w)[0], w, 6))
    if rng.random() < 0.45:
        plate(part, R * 0.98, lambda x, y: dome * (R - (x * x + y * y) / R) - wire, rng)
    if rng.random() < 0.5:
        gem(part, rng, (0, 0, dome * R), rng.uniform(0.1, 0.3) * R)
    bail(part, rng, R)
    return part


def plate(part, R, height, rng, n=120, lobes=0, amp=0.0, oval=1.0):
    r, a = np.meshgrid(np.linspace(0.001, 1, n), np.arange(2 * n) / (2 * n) * 2 * math.pi, indexing="ij")
    e = R * (1 + amp * np.cos(lobes * a))
    x, y = r * e * np.cos(a), r * e * np.sin(a) * oval
    part.add("metal", (np.stack([x, y, height(x, y)], -1), grid_faces(n, 2 * n, False, True)))


def relief(rng):
    """A cast or embossed plate: leaves, bosses and rays, the same on both sides of its axis."""
    part = Part()
    R = rng.uniform(6, 18)
    bumps = [(*rng.uniform(-1, 1, 2) * R, rng.uniform(0.03, 0.2) * R, rng.uniform(0.3, 3), rng.uniform(0, 3.14), rng.uniform(-0.4, 1.0)) for _ in range(int(rng.integers(15, 90)))]
    k, ray = int(rng.integers(0, 40)), rng.uniform(0, 0.04)
    hammer = grounds.low(rng, 64, int(rng.integers(6, 30))) * rng.uniform(0, 0.03) * R

    def height(x, y):
        x = np.abs(x) if mirror else x
        z = 0.25 * R * (1 - (x * x + y * y) / (R * R)) * dome + ray * R * np.cos(k * np.arctan2(y, x)) * np.minimum(1, np.hypot(x, y) / R * 2)
        for bx, by, s, el, a, h in bumps:
            u, v = (x - bx) * math.cos(a) + (y - by) * math.sin(a), (-(x - bx) * math.sin(a) + (y - by) * math.cos(a)) * el
            z = z + h * s * np.sqrt(np.maximum(0, 1 - (u * u + v * v) / (s * s)))
        i = np.clip(((y / R + 1.3) / 2.6 * 63).astype(int), 0, 63), np.clip(((x / R + 1.3) / 2.6 * 63).astype(int), 0, 63)
        return z + hammer[i]

    mirror, dome = rng.random() < 0.7, rng.uniform(0, 1)
    oval = rng.uniform(0.6, 1.3)
    plate(part, R, height, rng, 160, int(rng.choice([0, 4, 6, 8, 12])), rng.uniform(0, 0.12), oval)
    if rng.random() < 0.4:  # granulation along the edge
        m = int(rng.integers(20, 70))
        for q in np.arange(m) / m * 2 * math.pi:
            x, y = 0.93 * R * math.cos(q), 0.93 * R * math.sin(q) * oval
            part.add("metal", ball((x, y, float(height(np.array(x), np.array(y))) + 0.02 * R), 2.6 * R / m, 6))
    if rng.random() < 0.45:
        for _ in range(int(rng.integers(1, 6))):
            x, y = rng.uniform(-0.6, 0.6, 2) * R
            gem(part, rng, (x, y, float(height(np.array(x), np.array(y)))), rng.uniform(0.06, 0.22) * R)
    bail(part, rng, R * oval)
    return part


def bail(part, rng, R):
    if rng.random() < 0.7:
        a = np.arange(24) / 24 * 2 * math.pi
        r = rng.uniform(1.0, 2.6)
        part.add("metal", tube(np.stack([r * np.cos(a), R + r * 0.7 + r * np.sin(a), 0 * a + 0.3], 1), r * rng.uniform(0.15, 0.4), 8, True))


def facets(r, sides=8):
    """A brilliant-like stone: the hull of table, girdle and culet."""
    a = np.arange(sides) / sides * 2 * math.pi
    b = np.arange(2 * sides) / (2 * sides) * 2 * math.pi
    p = np.concatenate([
        np.stack([0.56 * np.cos(a), 0.56 * np.sin(a), 0 * a + 0.33], 1), np.stack([0.8 * np.cos(a + math.pi / sides), 0.8 * np.sin(a + math.pi / sides), 0 * a + 0.2], 1),
        np.stack([np.cos(b), np.sin(b), 0 * b + 0.02], 1), np.stack([np.cos(b), np.sin(b), 0 * b - 0.02], 1),
        np.stack([0.25 * np.cos(a + 0.3), 0.25 * np.sin(a + 0.3), 0 * a - 0.62], 1), [[0, 0, -0.82]]]) * r
    h = ConvexHull(p)
    f = h.simplices.copy()
    for i, s in enumerate(f):
        if np.dot(np.cross(p[s[1]] - p[s[0]], p[s[2]] - p[s[0]]), h.equations[i, :3]) < 0:
            f[i] = s[::-1]
    return p[f].reshape(-1, 3), np.arange(3 * len(f)).reshape(-1, 3)  # corners of their own: flat facets


CABS = [(0.55, 0.02, 0.05), (0.02, 0.25, 0.10), (0.02, 0.05, 0.35), (0.05, 0.50, 0.50), (0.92, 0.88, 0.82), (0.02, 0.02, 0.02), (0.75, 0.25, 0.05), (0.6, 0.35, 0.45)]


def gem(part, rng, at, r, kind=None):
    """A stone in its cup: a cabochon or pearl, or a faceted one with claws or a bezel."""
    at = np.asarray(at, float)
    kind = kind or rng.choice(["cab", "facet"])
    a = np.arange(32) / 32 * 2 * math.pi
    if kind == "cab":
        v, f = ball((0, 0, 0), (r, r, r * rng.uniform(0.4, 0.9)), 12)
        part.add("cab", (v + at + [0, 0, 0.2 * r], f), CABS[int(rng.integers(len(CABS)))])
    else:
        v, f = facets(r, int(rng.choice([6, 8])))
        part.add("facet", (v + at + [0, 0, 0.75 * r], f))
    z = at[2] + (0.2 if kind == "cab" else 0.7) * r
    if kind == "cab" or rng.random() < 0.5:
        part.add("metal", tube(np.stack([at[0] + 1.03 * r * np.cos(a), at[1] + 1.03 * r * np.sin(a), 0 * a + z], 1), 0.1 * r, 8, True))
    else:
        for q in np.arange(int(rng.choice([4, 6]))) / 4 * 2 * math.pi:
            c, s = math.cos(q), math.sin(q)
            part.add("metal", tube(np.array([[at[0] + c * r * k, at[1] + s * r * k, at[2] + r * h] for k, h in ((0.5, 0.0), (1.05, 0.6), (1.0, 0.85), (0.85, 0.95))]), 0.09 * r, 7))
        part.add("metal", tube(np.stack([at[0] + 0.8 * r * np.cos(a), at[1] + 0.8 * r * np.sin(a), 0 * a + at[2] + 0.3 * r], 1), 0.08 * r, 8, True))


def stone_ring(rng):
    """A finger ring standing or lying, with one stone or a row."""
    part = Part()
    R = rng.uniform(7.5, 10.5)
    a = np.arange(120) / 120 * 2 * math.pi
    r = rng.uniform(0.7, 1.3) * (1 + 0.5 * np.exp(-((a - math.pi / 2) / 0.6) ** 2))
    m = 16
    phi = np.arange(m) / m * 2 * math.pi
    part.add("metal", tube(np.stack([R * np.cos(a), 0 * a, R * np.sin(a)], 1), r[:, None] * (1 + 0.3 * np.cos(2 * phi))[None], m, True))
    n = int(rng.choice([1, 1, 3, 7]))
    s = rng.uniform(1.0, 4.5) / n ** 0.5
    for i in range(n):
        q = (i - (n - 1) / 2) * 2.3 * s / R
        one = Part()
        gem(one, rng, (0, 0, 0), s, "facet" if rng.random() < 0.6 else "cab")
        c, t = math.cos(q), math.sin(q)
        M = np.array([[c, 0, t], [0, 1, 0], [-t, 0, c]])
        for what, v, f, col in one.items:
            part.add(what, ((v + [0, 0, R + 0.4]) @ M.T, f), col)
    return part


def beads(rng):
    """A string of beads: gold, pearls, turquoise."""
    part = Part()
    n = int(rng.integers(15, 60))
    r = rng.uniform(1.0, 3.5)
    p = wander(rng, n * 2 * r, rng.uniform(0.1, 0.7), 8 * n)[::8]
    p -= p.mean(0)
    every = int(rng.integers(1, 6))
    col = CABS[int(rng.integers(len(CABS)))]
    for i in range(n):
        if i % every == 0 and rng.random() < 0.95:
            part.add("metal", ball((*p[i], 0), r * np.array([1, 1, rng.uniform(0.8, 1.0)]), 12))
        else:
            part.add("cab", ball((*p[i], 0), r * 0.95, 12), col)
    return part


def cluster(rng):
    """A flower or a field of set stones."""
    part = Part()
    R = rng.uniform(4, 12)
    plate(part, R, lambda x, y: 0.1 * R * (1 - (x * x + y * y) / R / R), rng)
    k = int(rng.integers(5, 11))
    kind = rng.choice(["cab", "facet"])
    gem(part, rng, (0, 0, 0.1 * R), 0.3 * R)
    for q in np.arange(k) / k * 2 * math.pi:
        gem(part, rng, (0.68 * R * math.cos(q), 0.68 * R * math.sin(q), 0.05 * R), min(0.26 * R, 1.9 * R / k), kind)
    bail(part, rng, R)
    return part


PARTS = ((chain, 2.6), (bangle, 2.2), (filigree, 2.6), (relief, 2.2), (stone_ring, 1.4), (beads, 1.0), (cluster, 1.0))


def room(rng, photos):
    """What is about the scene, as an environment map: walls, a ceiling, windows, lamps, whoever takes the picture."""
    h, w = 128, 256
    th = (np.arange(h) + 0.5)[:, None] / h
    base = np.array([1, 0.97, 0.92]) * rng.uniform(0.08, 0.7)
    im = np.repeat((base * (0.4 + 0.9 * (1 - th))[..., None]), w, 1).astype(np.float32)
    if len(photos) and rng.random() < 0.6:
        p = photos[rng.integers(len(photos))]
        im = im * (0.3 + 1.4 * (cv2.resize(p, (w, h), interpolation=cv2.INTER_AREA).astype(np.float32) / 255) ** 2.2)
    for _ in range(int(rng.integers(1, 6))):  # windows and lamps
        cx, cy = rng.uniform(0, w), rng.uniform(2, h * 0.48)
        a, b = rng.uniform(4, 40), rng.uniform(3, 22)
        x = np.minimum(np.abs(np.arange(w) - cx), w - np.abs(np.arange(w) - cx))[None]
        box = np.maximum(x - a / 2, np.abs(np.arange(h) - cy)[:, None] - b / 2)
        k = 1 / (1 + np.exp(np.clip(box / rng.uniform(0.3, 2.5), -30, 30)))[..., None]
        warm = np.array([1, rng.uniform(0.75, 1.0), rng.uniform(0.5, 1.1)])
        im = im * (1 - k) + k * warm * rng.uniform(2, 14)
    for _ in range(int(rng.integers(0, 3))):  # dark things: a phone, a head
        cx, cy, a, b = rng.uniform(0, w), rng.uniform(0, h * 0.4), rng.uniform(8, 40), rng.uniform(6, 30)
        k = ((np.arange(w) - cx)[None] ** 2 / a**2 + (np.arange(h) - cy)[:, None] ** 2 / b**2 < 1)[..., None]
        im = np.where(k, im * rng.uniform(0.03, 0.3), im)
    return np.ascontiguousarray(im, np.float32)


def fingers(rng, heap, n):
    """Fingers side by side, as they hold or wear a piece."""
    yaw = rng.uniform(0, 6.283)
    c, s = math.cos(yaw), math.sin(yaw)
    M = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    r = rng.uniform(7, 9.5)
    off = rng.uniform(-14, 14)
    for i in range(n):
        t = np.linspace(-1, 1, 60)
        L = rng.uniform(35, 60)
        bend = rng.uniform(-8, 4)
        p = np.stack([t * L, 0 * t + (i - (n - 1) / 2) * 2.05 * r + off, bend * t * t], 1)
        rad = r * np.sqrt(np.clip(1 - np.maximum(0, (t - 0.8) / 0.2) ** 2, 0.001, 1)) * (1 + 0.05 * np.cos(6 * t))
        v, f = tube(p @ M.T, rad, 24)
        heap.add(v + [0, 0, -r * 0.75], f)


def boxes(rng, heap):
    """A tag, a box edge, a pen: what else lies about."""
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))):
        c, a = rng.uniform(-30, 30, 2), rng.uniform(0, 3.14)
        sx, sy, sz = rng.uniform(5, 30), rng.uniform(2, 20), rng.uniform(0.2, 8)
        v = np.array([[x, y, z] for x in (-sx, sx) for y in (-sy, sy) for z in (0, sz)], float)
        M = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
        f = ConvexHull(v).simplices
        v = v @ M.T + [*c, 0]
        q = np.cross(v[f[:, 1]] - v[f[:, 0]], v[f[:, 2]] - v[f[:, 0]])
        mid = v.mean(0)
        flip = ((v[f].mean(1) - mid) * q).sum(1) < 0
        f[flip] = f[flip][:, ::-1]
        heap.add(v[f].reshape(-1, 3), np.arange(3 * len(f)))


def bitmap(im, raw=False):
    return {"type": "bitmap", "bitmap": mi.Bitmap(np.ascontiguousarray(im, np.float32)), "raw": raw, "wrap_mode": "mirror"}


def scene(rng, size, photos):
    """A scene and its camera."""
    heaps = {k: Heap() for k in ("metal", "cab", "facet")}
    soft, clutter = Heap(), Heap()
    handled = rng.random() < 0.3
    parts = [m for m, _ in PARTS]
    w = np.array([k for _, k in PARTS])
    field = math.exp(rng.uniform(math.log(12), math.log(80)))  # mm across the picture
    for _ in range(int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))):
        part = parts[rng.choice(len(parts), p=w / w.sum())](rng)
        part.put(heaps, spin(rng, rng.choice([0.15, 0.6, 1.6])), rng.uniform(-0.35, 0.35, 2) * field)
    if handled:
        fingers(rng, soft, int(rng.integers(1, 5)))
        for h in heaps.values():
            for v in h.v:
                v[:, 2] += 1.5
    elif rng.random() < 0.4:
        boxes(rng, clutter)
    to_linear = lambda im: np.where(im <= 0.04045, im / 12.92, ((im + 0.055) / 1.055) ** 2.4).astype(np.float32)
    under = to_linear(grounds.ground(rng, 512, photos)) * 0.9
    skin = to_linear(grounds.ground(rng, 256, photos, "skin" if rng.random() < 0.85 else None)) * 0.9
    other = to_linear(grounds.ground(rng, 256, photos)) * 0.9
    n = 90  # the ground, with folds
    g = np.linspace(-160, 160, n)
    x, y = np.meshgrid(g, g, indexing="ij")
    fold = grounds.low(rng, n, int(rng.integers(3, 14))) * rng.choice([0.0, 0.3, 1.2])
    z = np.minimum(fold, 0) - (8 if handled else 0.0)
    floor = Heap()
    floor.add(np.stack([x, y, z], -1), grid_faces(n, n))
    across = rng.uniform(20, 90)
    metal = np.array(METALS[str(rng.choice(list(METALS), p=[0.42, 0.1, 0.1, 0.14, 0.06, 0.06, 0.12]))]) * (1 + rng.normal(0, 0.03, 3))
    alpha = float(math.exp(rng.uniform(math.log(0.02), math.log(0.35))))
    gemcol = np.clip(np.array([(1, 1, 1), (1, 1, 1), (0.9, 0.2, 0.3), (0.2, 0.8, 0.5), (0.3, 0.4, 0.95), (0.95, 0.8, 0.4)][int(rng.integers(6))]), 0, 1)
    principled = lambda tex, rough, spec: {"type": "twosided", "b": {"type": "principled", "base_color": tex, "roughness": rough, "specular": spec}}
    plain = {"type": "mesh_attribute", "name": "vertex_color"}
    shapes = {
        "metal": heaps["metal"].mesh("metal", {"type": "twosided", "b": {"type": "roughconductor", "material": "none", "alpha": alpha, "distribution": "ggx",
                                     "specular_reflectance": {"type": "rgb", "value": np.clip(metal, 0, 1).tolist()}}}),
        "cab": heaps["cab"].mesh("cab", principled(plain, float(rng.uniform(0.08, 0.4)), 0.5)),
        "facet": heaps["facet"].mesh("facet", {"type": "dielectric", "int_ior": float(rng.choice([1.55, 1.77, 2.4])), "specular_transmittance": {"type": "rgb", "value": gemcol.tolist()}}, False),
        "floor": floor.mesh("floor", principled(bitmap(under, True), float(rng.uniform(0.25, 1.0)), float(rng.choice([0.05, 0.3, 0.5]))), True,
                            (np.stack([x, y], -1).reshape(-1, 2) / across)),
        "soft": soft.mesh("soft", principled(bitmap(skin, True), float(rng.uniform(0.35, 0.7)), 0.4)),
        "clutter": clutter.mesh("clutter", principled(bitmap(other, True), float(rng.uniform(0.3, 0.9)), 0.3), False),
    }
    lift = rng.uniform(35, 90) if rng.random() < 0.75 else 90  # degrees of the camera above the ground
    az = rng.uniform(0, 360)
    dist = rng.uniform(90, 300)
    e, a = math.radians(min(lift, 89.5)), math.radians(az)
    at = [*(rng.uniform(-0.1, 0.1, 2) * field), 1.0]
    eye = [at[0] + dist * math.cos(e) * math.cos(a), at[1] + dist * math.cos(e) * math.sin(a), at[2] + dist * math.sin(e)]
    blur = rng.choice([0.0, 0.3, 1.0]) * field / 60
    sensor = {"type": "thinlens", "fov": 2 * math.degrees(math.atan(field / 2 / dist)), "focus_distance": dist * rng.uniform(0.97, 1.03), "aperture_radius": max(1e-3, float(blur)),
              "to_world": mi.ScalarTransform4f().look_at(origin=eye, target=at, up=[0, 0, 1] if lift < 85 else [math.cos(a), math.sin(a), 0]),
              "film": {"type": "hdrfilm", "width": size[0], "height": size[1], "rfilter": {"type": "gaussian"}, "pixel_format": "rgb", "component_format": "float32"},
              "sampler": {"type": "independent"}}
    env = {"type": "envmap", "bitmap": mi.Bitmap(room(rng, photos)), "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90)}
    return mi.load_dict({"type": "scene", "integrator": {"type": "path", "max_depth": 9, "rr_depth": 5}, "sensor": sensor, "env": env, **shapes})


def classes(sc, size):
    """What each pixel shows, by four rays through it."""
    cam = sc.sensors()[0]
    w, h = size
    votes = np.zeros((3, h, w), np.uint8)
    i = np.arange(w * h)
    for dx in (0.25, 0.75):
        for dy in (0.25, 0.75):
            p = mi.Point2f(((i % w) + dx) / w, ((i // w) + dy) / h)
            ray, _ = cam.sample_ray(0.0, 0.5, p, mi.Point2f(0.5, 0.5))
            si = sc.ray_intersect(ray)
            shape = {s.id(): s for s in sc.shapes()}
            hit = {k: np.array(si.shape == mi.ShapePtr(shape[k])).reshape(h, w) for k in ("metal", "cab", "facet")}
            stone = hit["cab"] | hit["facet"]
            votes[METAL] += hit["metal"]
            votes[STONE] += stone
            votes[BACKGROUND] += ~(hit["metal"] | stone)
    out = votes.argmax(0).astype(np.uint8)
    out[votes.max(0) < 3] = MIXED
    return out


def develop(rng, x):
    """A phone's picture out of linear light: exposure, balance, tone curve, sharpening, a little noise; 8 bits, RGB."""
    x = x * (1 + rng.normal(0, 0.08, 3)).astype(np.float32)
    y = x.mean(2)
    x = x * (rng.uniform(0.35, 0.9) / max(1e-4, float(np.quantile(y, rng.uniform(0.7, 0.95)))))
    x = np.clip(x, 0, None)
    x = x / (1 + np.maximum(0, x - 0.8))  # highlights roll off
    x = np.clip(x, 0, 1) ** (1 / 2.2)
    if rng.random() < 0.7:  # noise by denoising's grain
        x = x + rng.uniform(0.002, 0.015) * cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
    if rng.random() < 0.5:
        x = x + rng.uniform(0.2, 1.0) * (x - cv2.GaussianBlur(x, (0, 0), 1.2))
    return np.clip(x * 255 + 0.5, 0, 255).astype(np.uint8)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--count", type=int, required=True)
    ap.add_argument("--start", type=int, default=1)
    ap.add_argument("--out", type=Path, required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--spp", type=int, default=48)
    ap.add_argument("--size", default="480x480")
    ap.add_argument("--pictures", nargs="*", default=[], help="folders of photographs")
    a = ap.parse_args()
    size = tuple(int(v) for v in a.size.split("x"))
    a.out.mkdir(parents=True, exist_ok=True)
    photos = grounds.pictures(a.pictures)
    bar = Progress(a.count, "pictures")
    for i in range(a.start, a.start + a.count):
        path = a.out / f"{i:04d}.png"
        if path.exists():
            bar.step(f"{path.stem}: there already", made=False)
            continue
        t0 = time.time()
        rng = np.random.default_rng([a.seed, i])
        sc = scene(rng, size, photos)
        x = np.array(mi.render(sc, spp=a.spp, seed=int(rng.integers(1 << 30))))[..., :3]
        im, mask = develop(rng, np.nan_to_num(x)), classes(sc, size)
        ok = cv2.imwrite(str(path.with_suffix(".jpg")), im[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 97))])
        part = path.with_name(path.name + ".part.png")
        if not (ok and cv2.imwrite(str(part), mask)):
            sys.exit(f"{path}: cannot be written")
        part.replace(path)
        bar.step(f"{path.stem}: {time.time() - t0:.1f} s")


if __name__ == "__main__":
    main()

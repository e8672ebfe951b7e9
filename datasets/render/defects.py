"""What is wrong with a piece, with its true size, and the verdict that follows from the spec's limits."""
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

import metal as M
import stones as S
from metal import Noise, Retry, smoothstep
from spec import BASE_METALS, FINENESS, FINISHES, hallmark_of, outline_sdf

SURFACE = ["pit", "porosity", "scratch", "stain", "worn_plating", "incomplete_fill", "wrong_finish"]
STONE = ["missing_stone", "offset_stone", "tilted_stone", "chipped_stone", "loose_stone", "missing_prong"]
TYPES = SURFACE + STONE + ["hallmark_mismatch"]
AREAS = ["pit", "porosity", "scratch", "stain", "worn_plating", "incomplete_fill"]  # of which a piece can have several
VISIBLE = ["pit", "porosity", "scratch", "stain", "worn_plating"]  # should show in a picture
NEED_PRONGS = ["missing_prong"]


def possible(spec):
    """Types that a piece of this spec can have."""
    view = spec["view"][0]
    out = [t for t in SURFACE if t != "incomplete_fill" or view.get("outline")]
    if spec["metal"] not in BASE_METALS:
        out.remove("worn_plating")
    stones = view.get("stone", [])
    if stones:
        out += STONE if any(s.get("prongs") for s in stones) else [t for t in STONE if t != "missing_prong"]
    if hallmark_of(spec):
        out.append("hallmark_mismatch")
    return out


def add(p, kind, again=0):
    """Adds a defect; `again` numbers further ones of a piece, each with a stream of its own."""
    {"pit": pits, "porosity": porosity, "scratch": scratch, "stain": patch, "worn_plating": patch, "incomplete_fill": bite,
     "wrong_finish": finish, "hallmark_mismatch": lambda p, r, k: None}.get(kind, stone)(p, p.rng("defect " + kind + (f" {again}" if again else "")), kind)


def sized(p, rng, name, fallback, lo, hi, side="upper"):
    """A size: half the time near the limit of the spec, else anywhere in the range."""
    limit = p.limits.get(name, {}).get(side, fallback)
    if rng.random() < p.mix["near_limit"]["share"] and limit:
        a, b = p.mix["near_limit"]["range"]
        v = limit * rng.uniform(a, b)
    else:
        v = math.exp(rng.uniform(math.log(lo), math.log(hi)))
    return float(min(max(v, lo), max(hi, 1.5 * limit)))


# ---------------------------------------------------------------- holes in the metal

def pore_shape(rng, r, jagged):
    """Radius of a hole's rim over the azimuth, of the area of a circle of radius r."""
    n = 9 if jagged else 4
    k = np.arange(2, 2 + n)
    am = rng.normal(0, 1, n) * (rng.uniform(0.16, 0.3) if jagged else rng.uniform(0.0, 0.07)) / np.sqrt(k - 1) ** (0.6 if jagged else 1.5)
    ph = rng.uniform(0, 2 * math.pi, n)

    def rim(a):
        return np.maximum(0.25, 1 + sum(m * np.cos(q * a + f) for m, q, f in zip(am, k, ph)))
    t = np.linspace(0, 2 * math.pi, 720, endpoint=False)
    scale = r / math.sqrt(float(np.mean(rim(t) ** 2)))
    return lambda a: scale * rim(a), scale * float(rim(t).max())


def hole(p, rng, x, y, r, jagged):
    rim, far = pore_shape(rng, r, jagged)
    depth = r * float(rng.uniform(0.6, 1.4) if not jagged else rng.uniform(0.8, 1.8))
    steep = float(rng.uniform(0.4, 0.8))

    def q(gx, gy):
        return np.hypot(gx - x, gy - y) / rim(np.arctan2(gy - y, gx - x))
    p.heights.append(((x - 1.3 * far, x + 1.3 * far, y - 1.3 * far, y + 1.3 * far),
                      lambda gx, gy: -depth * np.maximum(0, 1 - q(gx, gy) ** 2) ** steep))
    p.fine.append((x, y, 1.1 * far, 1.1 * far, max(0.003, min(r, far / 2) / 8)))
    box = (x - 1.05 * far, x + 1.05 * far, y - 1.05 * far, y + 1.05 * far)
    return lambda gx, gy: boxed(box, gx, gy, lambda a, b: q(a, b) < 1), far


def pits(p, rng, kind):
    done = []
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))):
        d = sized(p, rng, "pit.diameter_mm", 0.05, max(0.02, 1.6 * p.um / 1000), 0.22)
        c = p.place(rng, d / 2 + 0.05, gap=[(a, b, 0.5) for a, b in done])
        if c is None:
            continue
        done.append(c)
        jag = rng.random() < 0.3
        inside, _ = hole(p, rng, *c, d / 2, jag)
        p.record("pit", *c, d / 2, lambda x, y, h, f=inside: f(x, y), shape="jagged" if jag else "round")
    if not done:
        raise Retry("no room for a pit")


def porosity(p, rng, kind):
    jag = rng.random() < 0.5
    limit = p.limits.get("porosity.pore_count", {}).get("upper", 3)
    near = rng.random() < p.mix["near_limit"]["share"]
    n = int(rng.integers(max(2, limit - 1), limit + 4)) if near else int(rng.integers(5, 22))
    spread = float(rng.uniform(0.06, 0.28))
    small = max(0.014, 1.0 * p.um / 1000)
    c = p.place(rng, min(spread + 0.1, 0.3))
    if c is None:
        raise Retry("no room for porosity")
    long_, az = (rng.uniform(1.0, 2.5) if jag else 1.0), rng.uniform(0, math.pi)
    pores = []
    for _ in range(4000):
        if len(pores) == n:
            break
        u, v = rng.normal(0, spread * long_), rng.normal(0, spread * rng.uniform(0.5, 1.0))
        x, y = c[0] + u * math.cos(az) - v * math.sin(az), c[1] + u * math.sin(az) + v * math.cos(az)
        r = float(math.exp(rng.uniform(math.log(small), math.log(max(0.055, 2 * small)))))
        if float(p.free(np.array(x), np.array(y))) < r + 0.02:
            continue
        if any(math.hypot(x - a, y - b) < 1.15 * (r + q) for a, b, q in pores):
            continue
        pores.append((float(x), float(y), r))
    if len(pores) < max(2, min(n, limit)):
        raise Retry("no room for porosity")
    inside = [hole(p, rng, x, y, r, jag)[0] for x, y, r in pores]
    cx, cy = np.mean([q[0] for q in pores]), np.mean([q[1] for q in pores])
    rad = max(math.hypot(x - cx, y - cy) + r for x, y, r in pores)
    mm, (W, H) = p.um / 1000, p.size
    px = [[*map(float, p.project(x, y)), r / mm] for x, y, r in pores]
    p.record("porosity", cx, cy, rad, lambda x, y, h: np.any([f(x, y) for f in inside], 0), shape="jagged" if jag else "round",
             pore_count=len(pores), area_pct=100 * sum(r * r for *_, r in pores) / rad**2, max_pore_mm=2 * max(r for *_, r in pores),
             pores=[[(u - (W - 1) / 2) * mm, ((H - 1) / 2 - v) * mm, r * mm] for u, v, r in px], pores_px=px)


# ---------------------------------------------------------------- lines

def curve(p, rng, L, clear):
    """A free line of about length L, slightly bent: 41 points."""
    for _ in range(400):
        c = p.place(rng, 0.06, tries=400)
        if c is None:
            return None
        a = rng.uniform(0, math.pi)
        bend = rng.normal(0, 0.08) * L if rng.random() < 0.6 else 0.0
        t = np.linspace(-0.5, 0.5, 41)
        px = c[0] + t * L * math.cos(a) - bend * (4 * t * t - 0.5) * math.sin(a)
        py = c[1] + t * L * math.sin(a) + bend * (4 * t * t - 0.5) * math.cos(a)
        if p.free(px, py).min() > clear:
            return px, py
    return None


def along(seg, gx, gy):
    """Distance to a polyline, and how far along it (0 to 1)."""
    best, u = np.full(gx.shape, 1e9), np.zeros(gx.shape)
    for i in range(len(seg) - 1):
        e = seg[i + 1] - seg[i]
        tt = np.clip(((gx - seg[i, 0]) * e[0] + (gy - seg[i, 1]) * e[1]) / max(e @ e, 1e-12), 0, 1)
        d = np.hypot(gx - seg[i, 0] - tt * e[0], gy - seg[i, 1] - tt * e[1])
        b = d < best
        best[b] = d[b]
        u[b] = ((i + tt) / (len(seg) - 1))[b]
    return best, u


def groove(p, rng, px, py, w, depth, burr, rough):
    """Ploughs a line into the metal."""
    seg = np.stack([px, py], 1)[::2]
    wob = Noise(rng, p.half, 0.08)
    m = 1.6 * w + 0.005
    box = (px.min() - m, px.max() + m, py.min() - m, py.max() + m)

    def h(gx, gy):
        d = np.full(gx.shape, 1e9)
        u = np.zeros(gx.shape)
        rough_d = np.abs((gx - seg[0, 0]) * (seg[-1, 1] - seg[0, 1]) - (gy - seg[0, 1]) * (seg[-1, 0] - seg[0, 0]))
        near = rough_d < (m + 0.12 * np.hypot(*(seg[-1] - seg[0]))) * np.hypot(*(seg[-1] - seg[0])) * 1.2
        d[near], u[near] = along(seg, gx[near], gy[near])
        taper = smoothstep(0, 0.12, u) * smoothstep(0, 0.12, 1 - u)
        taper = taper * (1 - rough * 0.5 + rough * 0.5 * np.clip(wob(gx, gy), -1, 1))
        q = d / (w / 2)
        return taper * depth * (-np.maximum(0, 1 - q * q) + burr * np.exp(-((q - 1.3) / 0.3) ** 2))
    p.heights.append((box, h))
    step = max(0.004, w / 6)
    p.fine.append((box[0] / 2 + box[1] / 2, box[2] / 2 + box[3] / 2, (box[1] - box[0]) / 2, (box[3] - box[2]) / 2, step))
    return seg, box


def scratch(p, rng, kind):
    for _ in range(6):
        L = sized(p, rng, "scratch.length_mm", 0.3, max(0.12, 8 * p.um / 1000), 3.0)
        w = float(math.exp(rng.uniform(math.log(0.012), math.log(0.06)))) if rng.random() < 0.8 else float(rng.uniform(0.06, 0.13))
        w = min(w, L / 4)
        line = curve(p, rng, L, w / 2 + 0.03)
        if line:
            break
    else:
        raise Retry("no room for a scratch")
    px, py = line
    L = float(np.hypot(np.diff(px), np.diff(py)).sum())
    depth = w * float(rng.uniform(0.14, 0.4) if p.finish == "polished" else rng.uniform(0.25, 0.55))
    seg, box = groove(p, rng, px, py, w, depth, float(rng.uniform(0, 0.35)), float(rng.uniform(0.15, 0.5)))
    if p.finish != "polished":  # a scratch through a matte or brushed skin is burnished
        p.skins.append((box, lambda gx, gy: smoothstep(w / 2, w / 3, along(seg, gx, gy)[0]), None, 0.0, float(rng.uniform(0.05, 0.14))))
    mm, (W, H) = p.um / 1000, p.size
    ux, uy = p.project(px[::3], py[::3])
    p.record(kind, float(px[20]), float(py[20]), L / 2, lambda x, y, h: boxed(box, x, y, lambda a, b: along(seg, a, b)[0] < max(w, mm) / 2),
             length_mm=L, width_mm=w, depth_mm=depth, path=[[(a - (W - 1) / 2) * mm, ((H - 1) / 2 - b) * mm] for a, b in zip(ux, uy)],
             path_px=[[float(a), float(b)] for a, b in zip(ux, uy)])


def boxed(box, x, y, f):
    out = np.zeros(x.shape, bool)
    k = (x > box[0]) & (x < box[1]) & (y > box[2]) & (y < box[3])
    out[k] = f(x[k], y[k])
    return out


# ---------------------------------------------------------------- patches

def blob(rng, c, r, wob, soft):
    ph = rng.uniform(0, 2 * math.pi, 5)
    am = rng.uniform(0.05, 0.22, 5) * np.array([1.3, 0.9, 0.6, 0.4, 0.3])
    el, ea = rng.uniform(0.5, 1.0), rng.uniform(0, math.pi)
    rag = float(rng.uniform(0.03, 0.12))

    def mask(gx, gy):
        dx, dy = gx - c[0], gy - c[1]
        u = (dx * math.cos(ea) + dy * math.sin(ea)) * math.sqrt(el)
        v = (-dx * math.sin(ea) + dy * math.cos(ea)) / math.sqrt(el)
        a = np.arctan2(v, u)
        rr = r * (1 + sum(am[k] * np.cos((k + 2) * a + ph[k]) for k in range(5)))
        q = np.hypot(u, v) / rr + rag * wob(gx, gy)
        return 1 - smoothstep(1 - soft, 1 + soft, q)
    return mask


def seen_area(p, c, r, mask):
    """Area of a patch on open metal, with the points of a fine grid it covers."""
    step = max(0.004, r / 60)
    g = np.arange(-2.2 * r, 2.2 * r, step)
    gx, gy = np.meshgrid(c[0] + g, c[1] + g)
    seen = (mask(gx, gy) > 0.5) & (p.free(gx, gy) > 0)
    return float(seen.sum() * step**2), gx[seen], gy[seen]


def patch(p, rng, kind):
    if kind == "worn_plating" and p.metal not in BASE_METALS:
        raise Retry("this metal has no plating")
    for _ in range(60):
        area = sized(p, rng, f"{kind}.area_mm2", 0.04, max(0.012, 40 * (p.um / 1000) ** 2), 0.9)
        r = math.sqrt(area / math.pi)
        c = p.place(rng, min(r * 0.8, 0.3))
        if c is None:
            continue
        soft = float(rng.uniform(0.06, 0.3) if kind == "stain" else rng.uniform(0.08, 0.35))
        mask = blob(rng, c, r, Noise(rng, p.half, 0.06), soft)
        a_true, xs, ys = seen_area(p, c, r, mask)
        if a_true > 0.6 * area:
            break
    else:
        raise Retry("no room for a patch")
    strength = float(rng.uniform(0.35, 1.0))
    film = float(rng.uniform(0, 0.12) if kind == "stain" else rng.uniform(0, 0.06))
    if kind == "stain":
        tint = np.array([(0.62, 0.50, 0.36), (0.55, 0.56, 0.62), (0.70, 0.62, 0.45), (0.50, 0.46, 0.44),
                         (0.72, 0.60, 0.66), (0.35, 0.30, 0.28)][int(rng.integers(6))])
        full = p.f0 * tint
    else:
        opts = BASE_METALS[p.metal]
        full = np.array(opts[int(rng.integers(len(opts)))])
    mottle, ma = Noise(rng, p.half, 0.1), float(rng.uniform(0.05, 0.25))

    def blend(gx, gy):
        m = mask(gx, gy)
        return np.clip(m * strength * (1 + ma * mottle(gx, gy) * m), 0, 1)
    box = (c[0] - 2.4 * r, c[0] + 2.4 * r, c[1] - 2.4 * r, c[1] + 2.4 * r)
    p.skins.append((box, blend, full, film, None))
    cx, cy = float(xs.mean()), float(ys.mean())
    p.record(kind, cx, cy, float(np.hypot(xs - cx, ys - cy).max()),
             lambda x, y, h: boxed(box, x, y, lambda a, b: mask(a, b) > 0.5) & (h["kind"] == 1), area_mm2=a_true, strength=strength)


def finish(p, rng, kind):
    """A region, or all, of another finish than ordered."""
    other = str(rng.choice([f for f in FINISHES if f != p.finish and (f != "florentine" or rng.random() < 0.4)]))
    alpha, slopes = M.make_finish(other, rng, p.half, p.brush_az)
    if rng.random() < 0.35:
        where = "all"
        weight = lambda x, y: np.ones(np.shape(x))
    else:
        where = "part"
        c = p.place(rng, 0.15)
        if c is None:
            raise Retry("no room for another finish")
        limit = p.limits.get("surface.finish", {}).get("lower", 0.95)
        g = np.meshgrid(np.linspace(-p.hx, p.hx, 200), np.linspace(-p.hy, p.hy, 200))
        open_ = float((p.free(*g) > 0).mean()) * 4 * p.hx * p.hy
        want = (1 - limit) * rng.uniform(0.5, 2.0) if rng.random() < p.mix["near_limit"]["share"] else rng.uniform(0.04, 0.6)
        r = math.sqrt(max(want * open_, 0.02) / math.pi)
        weight = blob(rng, c, r, Noise(rng, p.half, 0.3), float(rng.uniform(0.03, 0.3)))
    p.reliefs[0] = (p.reliefs[0][0], lambda x, y: 1 - weight(x, y))
    p.reliefs.append((slopes, weight))
    p.other_alpha = (alpha, weight)
    g = np.meshgrid(np.linspace(-p.hx, p.hx, 700), np.linspace(-p.hy, p.hy, 700))
    free = p.free(*g) > 0
    bad = free & (weight(*g) > 0.5)
    if not bad.any():
        raise Retry("no room for another finish")
    share = float(1 - bad.sum() / free.sum())
    cx, cy = float(g[0][bad].mean()), float(g[1][bad].mean())
    p.record(kind, cx, cy, float(np.hypot(g[0][bad] - cx, g[1][bad] - cy).max()),
             lambda x, y, h: (weight(x, y) > 0.5) & (h["kind"] == 1), finish_seen=other, finish_share=share, where=where)


# ---------------------------------------------------------------- outline

def bite(p, rng, kind):
    if not p.outline:
        raise Retry("no outline to fall short of")
    sdf = outline_sdf(p.outline)
    for _ in range(400):
        dev = sized(p, rng, "outline.deviation_mm", 0.1, 0.05, 0.5)
        rb = float(rng.uniform(0.3, 1.0)) + dev
        if p.band:
            x = rng.uniform(-0.8, 0.8) * p.fx
            y = float(rng.choice([-1, 1])) * p.outline["half_width_mm"]
            n = np.array([0.0, np.sign(y)])
        else:
            a = rng.uniform(0, 2 * math.pi)
            t = np.linspace(0, 1.5 * max(p.hx, p.hy), 3000)
            d = sdf(t * math.cos(a), t * math.sin(a))
            r = t[np.argmax(d < 0)]
            x, y = r * math.cos(a), r * math.sin(a)
            e = 1e-3
            n = -np.array([float(sdf(np.array(x + e), np.array(y)) - sdf(np.array(x - e), np.array(y))),
                           float(sdf(np.array(x), np.array(y + e)) - sdf(np.array(x), np.array(y - e)))])
            n /= max(np.linalg.norm(n), 1e-9)
        tip = np.array([x - n[0] * dev, y - n[1] * dev])
        X, Y = p.to_frame(x, y)
        if abs(X) > p.fx - 0.6 or abs(Y) > p.fy - 0.1:
            continue
        room = min([float((S.stone_gauge(s, *tip, s["nominal"]) - 1) * s["d"] / 2) - p.collar.get(s["id"], 0) for s in p.stones], default=9)
        if room > -0.02:
            break
    else:
        raise Retry("no room for a bite")
    cx, cy = x + n[0] * (rb - dev), y + n[1] * (rb - dev)
    ph, am = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0, 0.03, 2)
    p.bites.append(lambda gx, gy: np.hypot(gx - cx, gy - cy) - rb * (
        1 + am[0] * np.cos(5 * np.arctan2(gy - cy, gx - cx) + ph[0]) + am[1] * np.cos(9 * np.arctan2(gy - cy, gx - cx) + ph[1])))
    g = np.arange(-rb, rb, 0.003)
    gx, gy = np.meshgrid(x + g, y + g)
    d0, d1 = sdf(gx, gy), p.metal_sdf(gx, gy)
    gone = (d0 > 0) & (d1 < 0)
    if not gone.any():
        p.bites.pop()
        raise Retry("the bite takes nothing")
    i = np.argmax(np.where(gone, d0, -1))
    dev = float(d0[gone].max())
    half = float(np.hypot(gx[gone] - gx.flat[i], gy[gone] - gy.flat[i]).max())
    p.record(kind, float(gx[gone].mean()), float(gy[gone].mean()), half,
             lambda x, y, h: (sdf(x, y) > 0) & (h["kind"] == 0) & (np.hypot(x - cx, y - cy) < 1.3 * rb), deviation_mm=dev)


# ---------------------------------------------------------------- stones

def in_view(p, s):
    u, v = p.project(s["x"], s["y"])
    r = 0.4 * s["d"] * 1000 / p.um
    return r < u < p.size[0] - r and r < v < p.size[1] - r


def stone(p, rng, kind):
    if kind == "missing_prong":
        return prong(p, rng)
    able = [s for s in p.stones if in_view(p, s) and not s["missing"]]
    if not able:
        raise Retry(f"{kind}: the piece has no such part")
    on_stone(p, rng, kind, able[int(rng.integers(len(able)))])


def on_stone(p, rng, kind, s):
    """A fault of one stone."""
    more, of = {"stone": s["id"]}, lambda x, y, h: h["stone"] == i
    i = p.stones.index(s)
    if kind == "missing_stone":
        s["missing"] = True
        of = lambda x, y, h: (S.stone_gauge(s, x, y, s["nominal"]) < 1) & (h["kind"] != 2)
    elif kind == "offset_stone":
        for _ in range(200):  # not into a neighbour
            o = sized(p, rng, "stone.offset_mm", 0.08, 0.04, 0.06 + 0.14 * s["d"])
            a = rng.uniform(0, 2 * math.pi)
            s["x"], s["y"] = s["nominal"][0] + o * math.cos(a), s["nominal"][1] + o * math.sin(a)
            if all(q is s or math.hypot(q["x"] - s["x"], q["y"] - s["y"]) > (q["d"] + s["d"]) / 2 + 0.01 for q in p.stones):
                break
        else:
            raise Retry("no room to shift a stone")
        more["offset_mm"] = o
    elif kind == "tilted_stone":
        s["tilt"] = more["tilt_deg"] = sized(p, rng, "stone.tilt_deg", 5.0, 2.5, 18.0)
    elif kind == "chipped_stone":
        depth = sized(p, rng, "stone.chip_mm", 0.05, max(0.02, 1.5 * p.um / 1000), 0.08 + 0.12 * s["d"])
        if p.setting == "bezel" and "held" in s:  # its rim hides the girdle
            depth = max(depth, s["held"]["over"] + 2 * p.um / 1000)
        depth = min(depth, 0.3 * s["d"])
        poly = S.cut_outline(s["cut"])
        pr = [q for q in p.prongs if q["stone"] == s["id"]]
        best = None
        for _ in range(60):  # where no prong hides it
            az = float(rng.uniform(0, 2 * math.pi))
            foot = poly[np.argmax(poly @ [math.cos(az), math.sin(az)])] * s["d"]
            c, n = math.cos(s["turn"]), math.sin(s["turn"])
            x, y = s["x"] + c * foot[0] - n * foot[1], s["y"] + n * foot[0] + c * foot[1]
            room = min([math.hypot(q["x"] - x, q["y"] - y) - q["r"] for q in pr], default=9.0)
            if p.setting == "channel":  # the rails hide two sides
                x0, x1, y0, y1 = p.channel[:4]
                room = min(x - x0, x1 - x, y - y0, y1 - y)
            if best is None or room > best[0]:
                best = (room, az, x, y)
            if room > 0.5 * math.sqrt(depth * s["d"]):
                break
        _, az, x, y = best
        s["chip"] = (depth / s["d"], az, int(rng.integers(1 << 30)))
        u, v = p.project(x, y)
        more.update(chip_mm=depth, chip_x_px=float(u), chip_y_px=float(v))
        of = lambda x, y, h: ((h["stone"] == i) & h["chip"]) | ((S.stone_gauge(s, x, y) < 1) & (h["kind"] == 1))
    elif kind == "small_stone":  # in the seat of the ordered one
        kind = "out_of_size"
        s["own"] = float(rng.uniform(*p.mix["crowd_stones"]["size"]))
        # Its pavilion slides down the seat's cone, if no prong holds it up.
        s["drop"] = float(rng.uniform(0.0, 0.45)) * (1 - s["own"]) * s["d"]
        more["diameter_mm"] = s["own"] * s["d"]
    elif kind == "loose_stone":
        play = sized(p, rng, "stone.play_mm", 0.02, 0.008, 0.03 + 0.06 * s["d"])
        n = p.mix["burst"]["frames"]
        while True:
            xy = rng.normal(0, 1, (n, 2))
            far = max(math.hypot(*(a - b)) for a in xy for b in xy)
            if far > 0.5:
                break
        xy *= play / far
        s["moves"] = [(float(a), float(b), float(t)) for (a, b), t in zip(xy - xy[0], rng.normal(0, 40 * play, n) * (rng.random() < 0.7))]
        more["play_mm"] = play
        p.burst = True
    p.record(kind, s["x"], s["y"], s["d"] / 2, of, **more)


def prong(p, rng):
    able = [(i, q) for i, q in enumerate(p.prongs) if q["state"] == "whole" and in_view(p, {**q, "d": 2 * q["r"]})]
    if not able:
        raise Retry("missing_prong: the piece has no such part")
    on_prong(p, rng, *able[int(rng.integers(len(able)))])


def on_prong(p, rng, i, q):
    """A prong gone, too short or bent away."""
    q["state"] = str(rng.choice(["gone", "short", "bent"], p=[0.5, 0.25, 0.25]))
    q["lack"] = float(rng.uniform(0.55, 0.95))
    q["lean"], q["away"] = float(rng.uniform(25, 55)), float(rng.uniform(0.7, 1.3)) * q["r"]
    at = (q["x"], q["y"])

    def of(x, y, h):
        own = h["part_kind"] == "prong"
        own &= h["owner"] == i
        return own | ((np.hypot(x - at[0], y - at[1]) < q["r"]) & ~((h["part_kind"] == "prong") & (h["owner"] != i)))
    p.record("missing_prong", q["x"], q["y"], q["r"], of, stone=q["stone"], prong=q["k"], variant=q["state"])


def gap(p, s, directions=96):
    """Widest distance in plan between a stone's girdle and its seat's edge, upright on the girdle, that no prong hides; none where there is no such
    seat."""
    if s["missing"] or p.setting != "prong":
        return None
    off = np.array([s["nominal"][0] - s["x"], s["nominal"][1] - s["y"]])
    if s["cut"] not in S.LENGTH or s["cut"] == "round":
        a = np.arange(directions) * 2 * math.pi / directions
        out = np.stack([np.cos(a), np.sin(a)], 1)
        girdle = s["own"] * s["d"] / 2 * out
        along = out @ off  # the seat's edge from the stone's centre: a circle about another centre
        wide = along + np.sqrt(along**2 - off @ off + (p.seat["edge"] * s["d"] / 2) ** 2) - s["own"] * s["d"] / 2
    else:
        girdle, _, out, straight = S.unrolled(S.stone_polygon(s, (0.0, 0.0)), directions)
        girdle, out = girdle[straight], out[straight]
        wide = S.meets(girdle - off, out, S.stone_polygon(s, (0.0, 0.0), p.seat["edge"]))
    at = girdle + [s["x"], s["y"]]
    free = np.all([np.hypot(at[:, 0] - q["x"], at[:, 1] - q["y"]) > 1.35 * q["r"] for q in p.prongs], 0) & np.isfinite(wide)
    return float(max(0.0, wide[free].max())) if np.any(free) else None


def crowd_stones(p):
    """Faults on many stones and prongs of a piece, by the shares of the mix: frames that teach more."""
    mix = p.mix["crowd_stones"]
    for s in p.stones:
        rng = p.rng("crowd " + s["id"])
        if not in_view(p, s) or s["missing"]:
            continue
        if rng.random() < mix["missing_stone"]:
            on_stone(p, rng, "missing_stone", s)
            continue
        for kind in ("offset_stone", "tilted_stone", "chipped_stone", "small_stone"):
            if rng.random() < mix[kind]:
                try:
                    on_stone(p, rng, kind, s)
                except Retry:  # no room to shift it
                    continue
    for i, q in enumerate(p.prongs):
        rng = p.rng(f"crowd prong {i}")
        if rng.random() < mix["missing_prong"] and q["state"] == "whole" and in_view(p, {**q, "d": 2 * q["r"]}):
            on_prong(p, rng, i, q)


# ---------------------------------------------------------------- hallmarks

LIKE = {"0": "8O6D", "1": "I7L", "2": "Z7", "3": "8", "4": "A1", "5": "S6", "6": "G85", "7": "1T", "8": "B036", "9": "0",
        "K": "X", "P": "R", "T": "1", "A": "4", "G": "6"}


def lettering(text, rng):
    """White letters on black, and their height in pixels."""
    if rng.random() < 0.55:
        font = ImageFont.load_default(96)
        l, t, r, b = font.getbbox(text)
        img = Image.new("L", (r - l + 24, b - t + 24), 0)
        ImageDraw.Draw(img).text((12 - l, 12 - t), text, 255, font=font, stroke_width=int(rng.integers(0, 4)))
        return img, b - t
    import cv2
    face = int(rng.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
    thick = int(rng.integers(5, 13))
    (w, h), _ = cv2.getTextSize(text, face, 3.0, thick)
    img = np.zeros((h + 40, w + 40), np.uint8)
    cv2.putText(img, text, (20, h + 20), face, 3.0, 255, thick, cv2.LINE_AA)
    return Image.fromarray(img), h


def hallmark(p, wrong):
    """Stamps the ordered mark where the spec asks for one; a wrong or no mark if `wrong`."""
    ordered = hallmark_of(p.spec)
    if ordered is None:
        return
    rng = p.rng("hallmark")
    text = ordered
    more = p.rng("hallmark style")
    if wrong:
        others = sorted({str(f) for v in FINENESS.values() for f in v} - {ordered})
        text = str(rng.choice(others)) if rng.random() < 0.8 else ""
        if text and more.random() < 0.5:  # one letter is wrong, half the time by one that looks like it
            k = int(more.integers(len(ordered)))
            like = LIKE.get(ordered[k], "") if more.random() < 0.5 else "0123456789"
            text = ordered[:k] + str(more.choice([q for q in like or "0123456789" if q != ordered[k]])) + ordered[k + 1:]
    high = float(rng.uniform(0.5, 1.1))
    if more.random() < 0.4:  # small in the frame: 8 to 40 pixels
        high = float(min(1.1, math.exp(more.uniform(math.log(8), math.log(40))) * p.um / 1000))
    any_way = more.random() < 0.4  # a loose ring may lie at any angle
    img, tall = lettering(text or ordered, rng)
    framed = rng.random() < 0.45
    where = None
    for shrink in (1.0, 0.85, 0.7, 0.6, 0.5):
        mm = high * shrink / tall
        hw, hh = img.size[0] * mm / 2 * float(rng.uniform(0.85, 1.1)), img.size[1] * mm / 2
        pad = 0.10 * high * shrink if framed else 0.0
        for _ in range(300):
            ang = float(rng.normal(0, 2.0)) if p.band else float(rng.choice([0, 0, 90, rng.uniform(-30, 30)]) + rng.normal(0, 2))
            if any_way:
                ang = float(more.uniform(-180, 180))
            c = p.place(rng, hh * 0.7, tries=60)
            if c is None:
                continue
            ca, sa = math.cos(math.radians(ang)), math.sin(math.radians(ang))
            u, v = (q.ravel() for q in np.meshgrid(np.linspace(-1, 1, 9) * (hw + pad), np.linspace(-1, 1, 5) * (hh + pad)))
            if p.free(c[0] + ca * u - sa * v, c[1] + sa * u + ca * v).min() > 0.04:
                where = c
                break
        if where:
            break
    else:
        raise Retry("no room for a hallmark")
    high *= shrink
    blur = float(rng.uniform(0.8, 3.5))
    soft = gaussian_filter(np.asarray(img, float) / 255, blur)
    depth = high * float(rng.uniform(0.07, 0.15))
    filled = float(rng.choice([0.0, rng.uniform(0.2, 0.75)], p=[0.5, 0.5]))  # soot of a laser, or paste left in the letters
    worn = Noise(rng, p.half, 0.25)
    wear = float(rng.uniform(0.0, 0.35))
    lasered = not framed and more.random() < 0.35  # shallow, rough and darker than the metal
    if lasered:
        depth, filled = high * float(more.uniform(0.01, 0.03)), float(more.uniform(0.35, 0.8))

    def local(gx, gy):
        return ca * (gx - c[0]) + sa * (gy - c[1]), -sa * (gx - c[0]) + ca * (gy - c[1])

    def letters(gx, gy):
        u, v = local(gx, gy)
        return map_coordinates(soft, [(hh - v) / (2 * hh) * soft.shape[0] - 0.5, (u + hw) / (2 * hw) * soft.shape[1] - 0.5], order=1, cval=0.0)

    def h(gx, gy):
        k = depth * np.clip(1 - wear * np.abs(worn(gx, gy)), 0, 1)
        if not framed:
            return -k * letters(gx, gy)
        u, v = local(gx, gy)
        d = np.minimum(hw + pad - np.abs(u), hh + pad - np.abs(v))
        return k * (letters(gx, gy) - 1) * smoothstep(0, 0.05, d)
    far = math.hypot(hw + pad, hh + pad)
    if text:
        p.heights.append(((c[0] - far, c[0] + far, c[1] - far, c[1] + far), h))
        p.fine.append((*c, far, far, max(0.006, p.um / 2000)))
        if filled:
            p.skins.append(((c[0] - far, c[0] + far, c[1] - far, c[1] + far), lambda gx, gy: filled * (
                np.clip(letters(gx, gy), 0, 1) if not framed else np.clip(1 - letters(gx, gy), 0, 1) * smoothstep(0, 0.03, np.minimum(
                    hw + pad - np.abs(local(gx, gy)[0]), hh + pad - np.abs(local(gx, gy)[1])))), p.f0 * 0.35, 0.25, None))
    box = lambda x, y, hits: (np.abs(local(x, y)[0]) < hw + pad) & (np.abs(local(x, y)[1]) < hh + pad)
    row = dict(text=text, ordered=ordered, width_mm=2 * hw, height_mm=high, angle_deg=ang, style="relief" if framed else "laser" if lasered else "engraved")
    p.record("hallmark", *c, far, box, into=p.hallmarks, **row)
    if wrong:
        p.record("hallmark_mismatch", *c, far, box, **row)


# ---------------------------------------------------------------- verdict

def measured(d):
    """The characteristics a row of truth has, with their true values."""
    t = d["type"]
    return {"pit": lambda: [("pit.diameter_mm", 2 * d["radius_mm"])],
            "porosity": lambda: [("porosity.pore_count", d["pore_count"]), ("porosity.area_pct", d["area_pct"]),
                                 ("porosity.max_pore_mm", d["max_pore_mm"]), ("pit.diameter_mm", d["max_pore_mm"])],
            "scratch": lambda: [("scratch.length_mm", d["length_mm"]), ("scratch.width_mm", d["width_mm"])],
            "stain": lambda: [("stain.area_mm2", d["area_mm2"])], "worn_plating": lambda: [("worn_plating.area_mm2", d["area_mm2"])],
            "incomplete_fill": lambda: [("outline.deviation_mm", d["deviation_mm"])],
            "wrong_finish": lambda: [("surface.finish", d["finish_share"])],
            "missing_stone": lambda: [("stone.present", 0)], "offset_stone": lambda: [("stone.offset_mm", d["offset_mm"])],
            "tilted_stone": lambda: [("stone.tilt_deg", d["tilt_deg"])], "chipped_stone": lambda: [("stone.chip_mm", d["chip_mm"])],
            "out_of_size": lambda: [("stone.diameter_mm", d["diameter_mm"])],
            "loose_stone": lambda: [("stone.play_mm", d["play_mm"])], "missing_prong": lambda: [("prong.present", 0)],
            "hallmark_mismatch": lambda: []}[t]()


def status(d, limits):
    """pass or fail of a row of truth under the limits of a spec."""
    if d["type"] == "hallmark_mismatch":
        return "fail" if "hallmark.text" in limits and d["text"] != d["ordered"] else "pass"
    for name, value in measured(d):
        r = limits.get(name)
        if r and (value > r.get("upper", math.inf) or value < r.get("lower", -math.inf)):
            return "fail"
    return "pass"

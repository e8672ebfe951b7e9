"""Specs: reading, writing, drawing random ones; outlines in the plane of the view."""
import csv
import json
import math
import tomllib
from pathlib import Path

import numpy as np

from stones import LENGTH, gauge

KINDS = ("signet", "band", "pave", "halo", "solitaire", "row", "plate", "stamp", "tray", "fancies", "centres")
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
FINENESS = {"yellow_gold": (375, 417, 585, 750, 916), "rose_gold": (375, 585, 750), "white_gold": (375, 585, 750),
            "rhodium": (585, 750, 925), "silver": (800, 835, 925, 958), "platinum": (850, 900, 950)}
FINISHES = ("polished", "brushed", "matte", "florentine")
KARAT = {375: "9K", 417: "10K", 585: "14K", 750: "18K", 916: "22K"}
WORD = {"silver": "AG", "platinum": "PT"}  # the metal's symbol before its fineness


def limits_for(has_stones, has_outline, hallmark=None):
    rows = [("pit.diameter_mm", "upper", 0.05), ("porosity.pore_count", "upper", 3),
            ("scratch.length_mm", "upper", 0.3), ("stain.area_mm2", "upper", 0.04),
            ("worn_plating.area_mm2", "upper", 0.04)]
    if has_outline:
        rows.append(("outline.deviation_mm", "upper", 0.1))
    rows.append(("surface.finish", "lower", 0.95))
    if has_stones:
        rows += [("stone.present", "lower", 1), ("stone.offset_mm", "upper", 0.08),
                 ("stone.tilt_deg", "upper", 5.0), ("stone.chip_mm", "upper", 0.05),
                 ("prong.present", "lower", 1), ("stone.play_mm", "upper", 0.02)]
    if isinstance(hallmark, int):
        rows += [("hallmark.text", "nominal", hallmark)]
    elif hallmark:  # its text stands in the view
        rows += [("hallmark.text", "lower", 1)]
    return rows


def stone_row(sid, x, y, d, prong_az, prong_r, cut="round", along_x=False):
    """A stone with prongs where the azimuths (of the stone, its length along y) meet its girdle."""
    az = [math.copysign(math.atan2(LENGTH[cut] * abs(math.sin(a)), abs(math.cos(a))), math.sin(a)) for a in prong_az]
    az = [q if math.cos(a) >= 0 else math.pi - q for q, a in zip(az, prong_az)]
    if prong_az and cut in ("pear", "marquise"):
        az += [math.pi / 2] + ([-math.pi / 2] if cut == "marquise" else [])
    k = 1.0 if cut in ("princess", "emerald", "baguette", "pear", "marquise") else 1.02
    rows = []
    for q in az:
        r = k * d / float(gauge(cut, np.array(math.cos(q)), np.array(math.sin(q))))
        u, v = r * math.cos(q), r * math.sin(q)
        if along_x:
            u, v = v, -u
        rows.append({"x_mm": x + u, "y_mm": y + v, "radius_mm": prong_r})
    row = {"id": sid, "x_mm": x, "y_mm": y, "diameter_mm": d, "cut": cut}
    if rows:
        row["prongs"] = rows
    return row


DIAG4 = [math.pi / 4 + k * math.pi / 2 for k in range(4)]


def random_spec(kind, name, rng):
    metal = str(rng.choice(list(METALS), p=[0.25, 0.2, 0.15, 0.15, 0.13, 0.12]))
    finish = str(rng.choice(["polished", "brushed", "matte"], p=[0.5, 0.25, 0.25]))
    stones, hallmark = [], None
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
    elif kind == "solitaire":
        cut = str(rng.choice(["round", "princess", "oval", "emerald", "pear", "marquise"], p=[0.15, 0.17, 0.17, 0.17, 0.17, 0.17]))
        d = round(float(rng.uniform(2.2, 4.6)), 1)
        held = rng.random() < 0.65
        turned = bool(rng.random() < 0.5) and LENGTH[cut] > 1 and held
        hx, hy = (d / 2 * LENGTH[cut], d / 2) if turned else (d / 2, d / 2 * LENGTH[cut])
        m = float(rng.uniform(0.7, 1.6))
        if rng.random() < 0.6:
            outline = {"shape": "ellipse", "rx_mm": round(1.25 * hx + m, 2), "ry_mm": round(1.25 * hy + m, 2)}
        else:
            outline = {"shape": "rounded_rect", "width_mm": round(2 * hx + 2 * m + 0.6, 2), "height_mm": round(2 * hy + 2 * m + 0.6, 2),
                       "corner_mm": round(float(rng.uniform(0.3, 1.0)), 2)}
        stones.append(stone_row("C", 0.0, 0.0, d, DIAG4 if held else [], round(float(rng.uniform(0.16, 0.26)), 2), cut, turned))
    elif kind == "row":  # stones without prongs in a row: channel, bezels or beads
        cut = str(rng.choice(["round", "princess", "baguette", "emerald", "oval"], p=[0.35, 0.25, 0.2, 0.1, 0.1]))
        d = round(float(rng.uniform(0.9, 1.8)), 2)
        hw = round(float(d * LENGTH[cut] / 2 + rng.uniform(0.5, 0.9)), 2)
        n = int(rng.integers(3, 8))
        pitch = d + float(rng.uniform(0.06, 0.3))
        n = max(2, min(n, int(9.0 / pitch)))
        if rng.random() < 0.5:
            outline = {"shape": "band", "half_width_mm": hw, "radius_mm": round(float(rng.uniform(8.5, 10.5)), 2)}
        else:
            outline = {"shape": "rounded_rect", "width_mm": round(n * pitch + 1.6, 2), "height_mm": 2 * hw, "corner_mm": round(float(rng.uniform(0.2, 0.5)), 2)}
        for k in range(n):
            stones.append(stone_row(f"S{k + 1}", (k - (n - 1) / 2) * pitch, 0.0, d, [], 0.1, cut))
    elif kind in ("tray", "fancies"):  # no jewel, but every cut side by side (or every one but round): what the models of stones and girdles learn on
        # A picture is 4 to 3: as many stones as it holds, for its cost is that of its pixels.
        pitch, rows = float(rng.uniform(1.6, 2.6)), 1.35 if kind == "fancies" or rng.random() < 0.5 else 1.05
        ny = int(rng.integers(3, 6))
        nx = int(round(ny * rows * 1.3))
        cutshare = [0.22, 0.16, 0.14, 0.12, 0.12, 0.12, 0.12] if rows > 1.2 else [0.82, 0.0, 0.18, 0.0, 0.0, 0.0, 0.0]
        if kind == "fancies":
            cutshare = [0.0, 0.2, 0.16, 0.16, 0.16, 0.16, 0.16]
        outline = {"shape": "rounded_rect", "width_mm": round(nx * pitch + 0.8, 2), "height_mm": round(rows * ny * pitch + 0.8, 2), "corner_mm": 0.6}
        for k in range(nx * ny):
            cut = str(rng.choice(list(LENGTH), p=cutshare))
            room = (0.78 * pitch if LENGTH[cut] < 1.1 else 1.1 * pitch / LENGTH[cut])
            d = round(float(rng.uniform(0.7, 1.0) * min(room, 0.72 * pitch)), 2)
            az = [] if rng.random() < 0.4 else DIAG4 if rng.random() < 0.7 else [a + math.pi / 4 for a in DIAG4]
            stones.append(stone_row(f"S{k + 1}", (k % nx - (nx - 1) / 2) * pitch, rows * (k // nx - (ny - 1) / 2) * pitch, d,
                                    az if cut in ("round", "oval") else az and DIAG4, round(max(0.13 * d, 0.12), 3), cut))
    elif kind == "centres":  # no jewel, but large round stones side by side, as at the centre of a ring
        widest = float(rng.uniform(2.4, 5.6))
        pitch = widest + 0.9
        nx, ny = (2, 2) if widest > 3.2 else (3, 2)
        outline = {"shape": "rounded_rect", "width_mm": round(nx * pitch + 0.5, 2), "height_mm": round(ny * pitch + 0.5, 2), "corner_mm": 0.6}
        for k in range(nx * ny):
            d = round(widest * float(rng.uniform(0.8, 1.0)), 2)
            az = DIAG4 if rng.random() < 0.6 else [math.pi / 4 + q * math.pi / 3 for q in range(6)]
            stones.append(stone_row(f"S{k + 1}", (k % nx - (nx - 1) / 2) * pitch, (k // nx - (ny - 1) / 2) * pitch, d, az,
                                    round(float(rng.uniform(0.18, 0.26)), 2)))
    elif kind in ("plate", "stamp"):
        outline = None
        if kind == "stamp":
            hallmark = int(rng.choice(FINENESS[metal]))
            more = rng.spawn(1)[0]  # a stream of its own: pieces of older sets keep their other draws
            if more.random() < 0.4:
                hallmark = KARAT.get(hallmark) or f"{WORD.get(metal, '')}{hallmark}"
            if rng.random() < 0.6:
                outline = {"shape": "band", "half_width_mm": round(float(rng.uniform(1.2, 2.2)), 2), "radius_mm": round(float(rng.uniform(8.5, 10.5)), 2)}
    else:
        raise SystemExit(f"unknown kind {kind}")
    if kind in ("pave", "halo"):
        finish = str(rng.choice(["polished", "brushed", "matte"], p=[0.8, 0.1, 0.1]))
    if kind not in ("pave", "halo") and rng.random() < 0.12:
        finish = "florentine"
    view = {"name": "top"}
    if outline:
        view["outline"] = outline
    if isinstance(hallmark, str):
        view["hallmark"] = [{"text": hallmark}]
    return {"schema": "loupe.spec/1", "sku": f"{kind}-{name}", "metal": metal, "finish": finish,
            "view": [{**view, "stone": stones}],
            "limit": [{"characteristic": c, k: v} for c, k, v in limits_for(bool(stones), bool(outline), hallmark)]}


def read_spec(path):
    """A spec.toml with the stones of its CSV list put in."""
    spec = tomllib.loads(Path(path).read_text())
    for view in spec["view"]:
        name = view.pop("stones_csv", None)
        if name:
            with open(Path(path).parent / name, newline="", encoding="utf-8-sig") as f:
                for row in csv.DictReader(f, skipinitialspace=True):
                    view.setdefault("stone", []).append({
                        "id": row["id"].strip(), "x_mm": float(row["x_mm"]), "y_mm": float(row["y_mm"]),
                        "diameter_mm": float(row["diameter_mm"]), "cut": (row.get("cut") or "round").strip() or "round"})
    return spec


def hallmark_of(spec):
    """The text ordered: the view's own, else the limit's nominal, a fineness in parts per thousand."""
    for view in spec.get("view", [])[:1]:
        for row in view.get("hallmark", []):
            return row["text"]
    for row in spec.get("limit", []):
        if row["characteristic"] == "hallmark.text":
            n = row.get("nominal")
            return str(int(n)) if n is not None else str(FINENESS.get(spec["metal"], (750,))[-1])
    return None


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
        for h in view.get("hallmark", []):
            out += ["", "[[view.hallmark]]"] + [f"{k} = {toml_value(v)}" for k, v in h.items()]
        for s in view.get("stone", []):
            out += ["", "[[view.stone]]"] + [f"{k} = {toml_value(v)}" for k, v in s.items()]
    for row in spec.get("limit", []):
        out += ["", "[[limit]]"] + [f"{k} = {toml_value(v)}" for k, v in row.items()]
    return "\n".join(out) + "\n"


def outline_sdf(o):
    """Signed distance to the outline in piece mm, positive inside (exact near the outline)."""
    if not o:  # all metal
        return lambda x, y: 1e3 + 0 * x + 0 * y
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
    if not o:
        return None, None
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



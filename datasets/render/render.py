#!/usr/bin/env python3
"""Physically based renderer of jewellery pieces with known truth.

Writes one folder a piece: frames, piece.json, spec.toml, truth.json, and masks as PNG.

  render.py SPEC... --count N --out DIR --seed S        pieces after given spec.toml files
  render.py --kind signet --count N --out DIR --seed S  random specs of one kind
"""
import argparse
import json
import math
import os
import shutil
import sys
import time
import tomllib
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

import defects as D
import nuisance
import spec as sp
from metal import Retry
from piece import Piece
from progress import Progress
from stones import rotation_to as stone_turn
from stones import stone_gauge

HERE = Path(__file__).resolve().parent
LIGHTS = ("dome", "ring", "bars", "coaxial", "dark_field", "backlight", "diffuse")
NUISANCE_PARTS = ("dust", "fibre")


def load_mix(path):
    mix = tomllib.loads((HERE / "mix.toml").read_text())
    if path:
        for k, v in tomllib.loads(Path(path).read_text()).items():
            if k not in mix:
                sys.exit(f"{path}: unknown key {k}; known: {', '.join(mix)}")
            if isinstance(v, dict) and k in ("light", "defect", "gems", "lights_per_piece", "round_cut"):
                mix[k] = v  # weights: what is left out has none
            elif isinstance(v, dict):
                bad = set(v) - set(mix[k])
                if bad:
                    sys.exit(f"{path}: unknown key {k}.{', '.join(sorted(bad))}; known: {', '.join(mix[k])}")
                mix[k].update(v)
            else:
                mix[k] = v
    return mix


def turn(weights, u):
    """The entry of a table of weights that a number from 0 to 1 falls on."""
    total = sum(weights.values())
    for k, w in weights.items():
        u -= w / total
        if u < 0:
            return k
    return k


def spread(seed, stem, index, which):
    """Numbers that fill 0 to 1 evenly over the pieces, whatever their order."""
    step = (0.6180339887, 0.7548776662, 0.5698402910)[which]
    return ((zlib.crc32(f"{seed} {stem} {which}".encode()) % 9973) / 9973 + step * index) % 1.0


# ---------------------------------------------------------------- one piece

def build(spec_in, kind, name, index, args, mix, first):
    """A piece laid out; and the streams' key, and the number of the attempt that fitted."""
    crc, stem = zlib.crc32(name.encode()), name.rsplit("-", 1)[0]
    for attempt in range(first, first + 40):
        key = [args.seed, crc, index, attempt]
        spec = spec_in or sp.random_spec(kind, name, np.random.default_rng([args.seed, crc, index, attempt // 10]))
        can = D.possible(spec)
        good = args.good if args.good is not None else spread(args.seed, stem, index, 0) < mix["good"]
        kinds = []
        if not good:
            weights = {t: w for t, w in mix["defect"].items() if t in can and w > 0}
            if args.defect:
                if args.defect not in can:
                    if spec_in or attempt % 10 == 9:
                        raise SystemExit(f"{name}: a piece of this spec cannot have {args.defect}")
                    crc += 1  # another random spec of this kind
                    continue
                kinds = [args.defect]
            elif weights:
                rng = np.random.default_rng(key)
                kinds = [turn(weights, spread(args.seed, stem, index, 1) if attempt < first + 8 else rng.random())]
                if rng.random() < mix["second_defect"] and len(weights) > 1:
                    kinds.append(turn({t: w for t, w in weights.items() if t != kinds[0] and t != "loose_stone"} or weights, rng.random()))
                    kinds = list(dict.fromkeys(kinds))
        try:
            p = Piece(spec, key, args.size, mix)
            D.hallmark(p, "hallmark_mismatch" in kinds)
            for k in sorted(kinds, key=lambda k: k not in D.STONE):
                D.add(p, k)
            if not good:
                crowd(p, {t: w for t, w in mix["defect"].items() if t in can and t in D.AREAS and w > 0}, mix["crowd"])
                D.crowd_stones(p)
            if good and p.stones and p.rng("burst").random() < mix["burst"]["good"]:
                p.burst = True
            p.settings()
            nuisance.add(p)
            if not spec_in and not p.burst:  # one frame does not show play: no such piece could pass
                spec["limit"] = [r for r in spec["limit"] if r["characteristic"] != "stone.play_mm"]
            return p, attempt
        except Retry:
            continue
    raise SystemExit(f"{name}: no layout found")


def crowd(p, weights, mean):
    """Further defects of the open metal, a geometric number of that mean: a frame that teaches more."""
    rng = p.rng("crowd")
    more = int(rng.geometric(1 / (1 + mean))) - 1 if mean > 0 and weights else 0
    for n in range(min(more, 24)):
        try:
            D.add(p, turn(weights, rng.random()), n + 1)
        except Retry:  # the metal is full
            continue


def lights_of(p, args, mix):
    if args.light:
        names = args.light.split(",")
    else:
        rng = p.rng("lights")
        n = 1 if p.burst else int(turn(mix["lights_per_piece"], rng.random()))
        weights, names = dict(mix["light"]), []
        while len(names) < n and weights:
            k = turn(weights, rng.random())
            weights.pop(k)
            names.append(k)
        if names == ["backlight"]:
            names = ["dome", "backlight"]
        if any(d["type"] == "wrong_finish" for d in p.defects) and set(names) <= {"dome", "diffuse", "backlight"}:
            names.append(str(rng.choice(["ring", "bars"])))  # even light does not show a finish
            names = names[1:] if p.burst else names
    return names[:1] if p.burst else names


def shakes(p, mix):
    """Poses of the frames of a burst: the first is the piece's own."""
    rng = p.rng("shake")
    out = [p.pose]
    for _ in range(mix["burst"]["frames"] - 1):
        a, x, y = p.pose
        s = mix["burst"]["shake_mm"]
        out.append((a + math.radians(rng.normal(0, mix["burst"]["shake_deg"])), x + float(rng.normal(0, s)), y + float(rng.normal(0, s))))
    return out


def render(p, args, mix):
    """Frames, masks and first hits of a piece."""
    import camera
    import light as lamps
    import trace
    rng = p.rng("render")
    seed = int(rng.integers(1 << 30))
    cam = camera.settings(p.rng("camera"), mix)
    ground = lamps.grounds(p.rng("ground"))
    parts, stones = p.part_meshes(), p.stone_meshes()
    tr = trace.Tracer(p.metal_mesh(), parts, stones, p.brush_az, args.depth)
    poses = shakes(p, mix) if p.burst else [p.pose]
    views = [trace.View(args.size, p.um, q, p.height, p.focus, p.aperture) for q in poses]
    hits = seen(p, tr.first_hits(trace.View(args.size, p.um, p.pose, p.height)), parts, stones)
    mask = masks(p, hits)
    names = lights_of(p, args, mix)
    frames, notes = [], []
    for i, name in enumerate(names):
        lamp, note = lamps.make(name, p.rng("light " + name), ground)
        notes.append(note)
        gain = None
        for step, view in enumerate(views):
            if step and any(s["moves"] for s in p.stones):
                tr.set_stones(p.stone_meshes(step))
            lin = tr.render(lamp, view, args.spp, seed + 31 * i + step)
            if gain is None:
                gain = camera.gain_for(name, lin, mask["metal_mask"], hits["kind"] > 0, note["ground"], cam)
            frames.append(dict(light=name, step=step, image=camera.picture(lin, gain, cam, p.rng(f"noise {name} {step}")), pose=poses[step]))
    mirrors(p, hits, mask, notes)
    for d in p.defects:
        if d["type"] in D.VISIBLE:
            own = d["_mask"](hits["x"], hits["y"], hits)
            d["contrast"] = max(camera.contrast(f["image"], own, mask["metal_mask"], mask["defect_mask"]) for f in frames)
    return frames, mask, notes, cam, poses


def seen(p, h, parts, stones):
    """What each pixel shows; what lies under dust and fibres in its place."""
    kind = h["kind"].copy()
    part = np.where(kind == 2, parts["part"][np.minimum(h["prim"], len(parts["part"]) - 1)], -1) if parts else np.full(kind.shape, -1)
    stone = np.where(kind == 3, stones["stone"][np.minimum(h["prim"], len(stones["stone"]) - 1)], -1) if stones else np.full(kind.shape, -1)
    chip = (kind == 3) & stones["chip"][np.minimum(h["prim"], len(stones["chip"]) - 1)] if stones else np.zeros(kind.shape, bool)
    names = np.array([q["kind"] for q in p.parts] + [""])
    owner = np.array([q["owner"] for q in p.parts] + [-1])
    out = dict(h, part=part, chip=chip, part_kind=names[part], owner=np.where(part >= 0, owner[part], -1), stone=stone)
    lint = np.isin(out["part_kind"], NUISANCE_PARTS)
    if lint.any():
        x, y = h["x"][lint], h["y"][lint]
        k = np.where(p.metal_sdf(x, y) > 0, 1, 0)
        st = np.full(x.shape, -1)
        for i, s in enumerate(p.stones):
            if not s["missing"]:
                on = stone_gauge(s, x, y) < 1
                k[on], st[on] = 3, i
        kind[lint], stone[lint] = k, st
    out["kind"], out["stone"] = kind, stone
    return out


def masks(p, h):
    part = (h["kind"] == 2)
    out = {"metal_mask": (h["kind"] == 1) | part, "stone_mask": h["kind"] == 3, "prong_mask": part & np.isin(h["part_kind"], ("prong", "bead"))}
    every = np.zeros(part.shape, bool)
    for d in p.defects:
        m = d["_mask"](h["x"], h["y"], h)
        out[f"{d['type']}_mask"] = out.get(f"{d['type']}_mask", False) | m
        d["area_px"] = int(m.sum())
        every |= m
    out["defect_mask"] = every
    for d in p.not_defects:
        m = d["_mask"](h["x"], h["y"], h)
        d["area_px"] = int(m.sum())
        if d["area_px"]:
            out[f"{d['type']}_mask"] = out.get(f"{d['type']}_mask", False) | m
    p.not_defects = [d for d in p.not_defects if d["area_px"]]
    out["nuisance_mask"] = np.any([out[f"{d['type']}_mask"] for d in p.not_defects] or [np.zeros(part.shape, bool)], 0)
    return out


def mirrors(p, h, mask, notes):
    """Where polished metal mirrors the camera or a part beside it."""
    if p.finish != "polished" or max(p.alpha) > 0.06:
        return
    open_ = (h["kind"] == 1) & (h["nz"] > 0.9) & mask["metal_mask"]
    found = [("part_reflection", open_ & (h["mirror"] >= 2))]
    for n in notes:
        if n["camera_hole_deg"]:
            b = h["rx"] * h["px"] + h["ry"] * h["py"]
            t = -b + np.sqrt(np.maximum(b * b - h["px"] ** 2 - h["py"] ** 2 + n["radius_mm"] ** 2, 0))
            q = (h["rz"] * t) / n["radius_mm"]
            found.append(("camera_reflection", open_ & (h["mirror"] == 0) & (q > math.cos(math.radians(n["camera_hole_deg"])))))
    for kind, m in found:
        if m.sum() > 40 and m.sum() < 0.9 * open_.sum():
            ys, xs = np.nonzero(m)
            p.not_defects.append({"type": kind, "x_px": float(xs.mean()), "y_px": float(ys.mean()),
                                  "radius_px": float(np.hypot(xs - xs.mean(), ys - ys.mean()).max()), "area_px": int(m.sum())})
            mask["nuisance_mask"] |= m


def drop(p, mask, lost):
    """Takes defects out of truth and masks that no pixel shows."""
    p.defects = [d for d in p.defects if d not in lost]
    for t in {d["type"] for d in lost} - {d["type"] for d in p.defects}:
        del mask[f"{t}_mask"]
    mask["defect_mask"] = np.any([mask[f"{d['type']}_mask"] for d in p.defects] or [np.zeros_like(mask["metal_mask"])], 0)


# ---------------------------------------------------------------- truth

def bare(row):
    return {k: v for k, v in row.items() if not k.startswith("_")}


def truth(p, notes, cam, poses, frames):
    W, H = p.size
    mm = p.um / 1000
    stones, prongs = [], []
    for s in p.stones:
        u, v = (float(q) for q in p.project(s["x"], s["y"], p.base_z(np.array(s["x"]), np.array(s["y"])) + p.seat["lift"] * s["d"]))
        row = {"id": s["id"], "x_mm": (u - (W - 1) / 2) * mm, "y_mm": ((H - 1) / 2 - v) * mm, "diameter_mm": s["own"] * s["d"], "cut": s["cut"],
               "nominal_xy": [float(q) for q in s["nominal"]], "missing": s["missing"], "x_px": u, "y_px": v,
               "offset_mm": math.hypot(s["x"] - s["nominal"][0], s["y"] - s["nominal"][1]), "tilt_deg": s["tilt"], "gem": s["gem"], "style": s["style"],
               "turn_deg": math.degrees(s["turn"]) % 360, "tilt_axis_deg": math.degrees(s["tilt_az"])}
        up = p.tilt_to_surface(*s["nominal"]) @ stone_turn((math.cos(s["tilt_az"]), math.sin(s["tilt_az"])), s["tilt"])[:, 2]
        row["normal"] = [p.cr * up[0] - p.sr * up[1], p.sr * up[0] + p.cr * up[1], up[2]]  # of its table, along the frame's axes
        if s["chip"]:
            row.update(chip_mm=s["chip"][0] * s["d"], chip_azimuth_deg=math.degrees(s["chip"][1]))
        gap = D.gap(p, s)
        if gap is not None:
            row["gap_mm"] = gap
        if s["moves"]:
            row["moves_mm"] = [[a, b] for a, b, _ in s["moves"]]
        stones.append(row)
    for q in p.prongs:
        u, v = (float(c) for c in p.project(q["x"], q["y"], p.base_z(np.array(q["x"]), np.array(q["y"])) + 0.35 * q["r"]))
        row = {"x_px": u, "y_px": v, "radius_mm": q["r"], "stone": q["stone"]}
        if q["state"] != "whole":
            row.update(missing=True, variant=q["state"])
        prongs.append(row)
    for d in p.defects:
        d["status"] = D.status(d, p.limits)
    normal = [bare(d) for d in p.not_defects]
    if p.stones:
        moved = {d.get("stone") for d in p.defects}
        calm = [(s, r) for s, r in zip(p.stones, stones) if s["id"] not in moved and not s["missing"]]
        normal.append({"type": "setting_jitter", "max_offset_mm": max([r["offset_mm"] for _, r in calm], default=0.0),
                       "max_tilt_deg": max([s["tilt"] for s, _ in calm], default=0.0)})
    out = {"um_per_px": p.um, "pose": {"rotation_deg": p.rot, "dx_mm": p.dx, "dy_mm": p.dy}, "light": frames[0]["light"],
           "metal": p.metal, "finish": p.finish, "defects": [bare(d) for d in p.defects], "stones": stones, "prongs": prongs,
           "not_defects": normal, "setting": p.setting, "hallmarks": [bare(h) for h in p.hallmarks],
           "lights": notes, "camera": {**cam, "height_mm": p.height, "aperture": p.aperture, "focus_mm": p.focus},
           "verdict": "fail" if any(d["status"] == "fail" for d in p.defects) else "pass"}
    if p.burst:
        out["burst"] = [{"rotation_deg": math.degrees(a), "dx_mm": x, "dy_mm": y} for a, x, y in poses]
    return out


def plain(o):
    if isinstance(o, np.generic):
        return o.item()
    if isinstance(o, np.ndarray):
        return o.tolist()
    raise TypeError(type(o))


def write(tmp, p, name, frames, mask, notes, cam, poses, mix, args):
    rng = p.rng("files")
    jpeg = rng.random() < mix["camera"]["jpeg"] if args.jpeg is None else args.jpeg > 0
    quality = int(args.jpeg or rng.integers(mix["camera"]["jpeg_quality"][0], mix["camera"]["jpeg_quality"][1] + 1))
    rows = []
    for i, f in enumerate(frames):
        stem = p.view_name
        if p.burst:
            stem += f".burst-{f['step']}"
        elif len(frames) > 1:
            stem += f".{f['light']}"
        file = stem + (".jpg" if jpeg else ".png")
        Image.fromarray(f["image"]).save(tmp / file, **({"quality": quality, "subsampling": 0} if jpeg else {}))
        row = {"file": file, "view": p.view_name, "light": f["light"], "um_per_px": p.um, "um_per_px_u": 0.01, "seq": i}
        if p.burst:
            row["burst"] = "shake"
        rows.append(row)
    (tmp / "spec.toml").write_text(sp.spec_toml(p.spec))
    (tmp / "piece.json").write_text(json.dumps({"schema": "loupe.piece/1", "piece_id": name, "spec": "spec.toml", "frames": rows, "readings": []}, indent=1) + "\n")
    (tmp / "truth.json").write_text(json.dumps(truth(p, notes, cam, poses, frames), indent=1, default=plain) + "\n")
    for k, m in mask.items():
        Image.fromarray((m * 255).astype(np.uint8)).save(tmp / f"{k}.png")


# ---------------------------------------------------------------- the set

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("specs", nargs="*", help="spec.toml files to render pieces of")
    ap.add_argument("--kind", choices=sp.KINDS, help="random specs of this kind instead")
    ap.add_argument("--count", type=int, default=1, help="pieces for each spec or of the kind")
    ap.add_argument("--start", type=int, default=1, help="first number of the names (kind-NNN)")
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--defects", metavar="FILE", help="what the set is made of, in place of mix.toml")
    ap.add_argument("--light", help=f"this light, or several with commas between ({', '.join(LIGHTS)})")
    ap.add_argument("--defect", choices=D.TYPES, help="this defect for the bad pieces")
    g = ap.add_mutually_exclusive_group()
    g.add_argument("--all-good", dest="good", action="store_const", const=True)
    g.add_argument("--all-bad", dest="good", action="store_const", const=False)
    ap.add_argument("--min-contrast", type=float, default=4.0,
                    help="a surface defect that shows less (grey levels) is drawn anew, three times at most; 0: never")
    ap.add_argument("--size", default="960x720", help="width and height of a frame in pixels")
    ap.add_argument("--jpeg", type=int, metavar="QUALITY", help="all frames as JPEG of this quality; 0: all as PNG")
    ap.add_argument("--spp", type=int, default=28, help="samples a pixel")
    ap.add_argument("--depth", type=int, default=10, help="longest light path")
    args = ap.parse_args()
    if args.start < 1 or args.count < 0 or args.seed < 0:
        ap.error("--start counts from 1; --count and --seed are no less than 0")
    if bool(args.specs) == bool(args.kind):
        ap.error("give spec files or --kind")
    try:
        args.size = tuple(int(q) for q in args.size.lower().split("x"))
        assert len(args.size) == 2 and min(args.size) >= 64
    except (ValueError, AssertionError):
        ap.error("--size wants WxH, such as 960x720")
    for q in (args.light or "").split(","):
        if q and q not in LIGHTS:
            ap.error(f"unknown light {q}; known: {', '.join(LIGHTS)}")
    mix = load_mix(args.defects)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    numbers = range(args.start, args.start + args.count)
    jobs = [(args.kind, None, f"{args.kind}-{n:03d}", n - 1) for n in numbers] if args.kind else []
    stems = [Path(q).stem if Path(q).stem != "spec" else Path(q).resolve().parent.name for q in args.specs]
    for path, stem in zip(args.specs, stems):
        if stems.count(stem) > 1:
            sys.exit(f"{path}: two specs would both give pieces named {stem}-...; rename one")
        spec = sp.read_spec(path)
        jobs += [(None, spec, f"{stem}-{n:03d}", n - 1) for n in numbers]
    bar = Progress(len(jobs))
    for kind, spec_in, name, index in jobs:
        if (out / name / "truth.json").exists():
            bar.step(f"{name}: there already", made=False)
            continue
        t0, first = time.time(), 0
        tries = 4 if args.min_contrast > 0 else 1
        for again in range(tries):
            p, attempt = build(spec_in, kind, name, index, args, mix, first)
            try:
                frames, mask, notes, cam, poses = render(p, args, mix)
            except Retry:
                first = attempt + 1
                continue
            lost = [d for d in p.defects if d["area_px"] < 3]
            faint = [d for d in p.defects if d.get("contrast", 99) < args.min_contrast]
            if not lost and not faint:
                break
            if again == tries - 1 and lost:
                drop(p, mask, lost)
            first = attempt + 1
        tmp = out / f".{name}.{os.getpid()}"
        shutil.rmtree(tmp, ignore_errors=True)
        tmp.mkdir()
        write(tmp, p, name, frames, mask, notes, cam, poses, mix, args)
        tmp.rename(out / name)
        what = ", ".join(sorted({d["type"] for d in p.defects})) or "good"
        seen_under = "+".join(f["light"] for f in frames[:1] if p.burst) + " burst" if p.burst else "+".join(f["light"] for f in frames)
        bar.step(f"{name}: {p.metal} {p.finish} {seen_under} {p.um} um/px {what} {time.time() - t0:.1f} s")


if __name__ == "__main__":
    main()

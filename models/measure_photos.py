#!/usr/bin/env python3
"""Holds what the surface model takes photographs of jewellery for against points labelled by eye (photo_points.csv: twelve at random in each of 40
photographs, as shares of width and height; those on an edge, or that the eye could not tell, are left out).

    python models/measure_photos.py --model models/surface.onnx --photos ../shared/real/jewellery_photos
"""
import argparse
import csv
import os

import cv2

import train_surface as ts


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--photos", required=True)
    a = ap.parse_args()
    tell, _ = ts.session(a.model, 2)
    points = {}
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "photo_points.csv")) as f:
        for r in csv.DictReader(f):
            points.setdefault(r["photo"], []).append((float(r["x"]), float(r["y"]), r["shows"]))
    for side, name in ((512, "512 pixels long, in one go"), (0, "as they are, in tiles")):
        told = {"metal": {}, "background": {}}
        for photo, rows in points.items():
            im = cv2.imread(os.path.join(a.photos, photo))[:, :, ::-1].copy()
            if side:
                k = side / max(im.shape[:2])
                im = cv2.resize(im, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
            top = ts.tiled_probs(tell, im, side or ts.TILE).argmax(0)
            for x, y, shows in rows:
                c = ts.CLASSES[top[min(int(y * im.shape[0]), im.shape[0] - 1), min(int(x * im.shape[1]), im.shape[1] - 1)]]
                told[shows][c] = told[shows].get(c, 0) + 1
        for shows, n in told.items():
            print(f"{name}: of {sum(n.values())} points of {shows} " + ", ".join(f"{v} are {c}" for c, v in sorted(n.items(), key=lambda q: -q[1])))


if __name__ == "__main__":
    main()

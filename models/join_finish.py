#!/usr/bin/env python3
"""Joins two models of finishes into one file that says the weighted sum of their log odds.

    python models/join_finish.py A.onnx B.onnx --pieces DIR [DIR ...] --out models/finish.onnx

Learned on other pieces and in another way, they err elsewhere. The weights are those with which the frames of DIR (rendered pieces that neither has
learned on) are likeliest; B's metadata stay. The thresholds are set afterwards, `train_finish.py --calibrate`.
"""
import argparse

import numpy as np
import onnx
import onnxruntime
from onnx import compose, helper, numpy_helper

import train_finish as T
from stamp import restamp

STEPS = np.round(np.arange(0, 1.25, 0.1), 1)


def odds(path, given, labelled):
    """Log odds of the finishes: of each frame's whole, and of its cells that show one finish and are all metal, one after another."""
    session = onnxruntime.InferenceSession(path)
    inputs = [i.name for i in session.get_inputs()]
    whole, cells = [], []
    for shown, label in zip(given, labelled):
        said = session.run(["whole", "cells"], {k: v for k, v in zip(("image", "metal", "light"), shown) if k in inputs})
        whole.append(said[0][0])
        cells.append(said[1][0][:, label >= 0].T)
    return np.array(whole), np.concatenate(cells)


def labels(f, metal):
    """Which finish each cell shows, -1 where it shows two or is not all metal."""
    label = np.full(metal.shape, f.ordered)
    if f.wrong is not None:
        h, w = (n * T.CELL for n in metal.shape)
        share = T.cells(np.ascontiguousarray(f.wrong[:h, :w])) / 255
        label = np.where(share > 0.9, f.other, np.where(share > 0.1, -1, label))
    return np.where(metal > 0.99, label, -1)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("models", nargs=2)
    ap.add_argument("--pieces", nargs="+", required=True)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    frames = T.load(a.pieces)
    given = [T.shown(f) for f in frames]
    labelled = [labels(f, metal[0, 0]) for f, (_, metal, _) in zip(frames, given)]
    first, second = (odds(m, given, labelled) for m in a.models)
    one = np.array([f.whole for f in frames]) >= 0
    truth = [np.array([f.whole for f in frames])[one], np.concatenate([label[label >= 0] for label in labelled])]
    w = {}
    for name, za, zb, y in zip(("whole", "cells"), (first[0][one], first[1]), (second[0][one], second[1]), truth):
        said = lambda z: f"{int((z.argmax(1) == y).sum())} of {len(y)} right, mean negative log likelihood {T.cost(z, y):.3f}"
        w[name] = i, j = min(((i, j) for i in STEPS for j in STEPS if i + j > 0), key=lambda w: T.cost(w[0] * za + w[1] * zb, y))
        print(f"{name}: first {said(za)}; second {said(zb)}; joined by {i:g} and {j:g} {said(i * za + j * zb)}")
    parts = [compose.add_prefix(onnx.load(m), p, rename_inputs=False, rename_outputs=False) for m, p in zip(a.models, "ab")]
    nodes, weights, inputs = [], [], {}
    for k, (m, p) in enumerate(zip(parts, "ab")):
        for n in m.graph.node:
            n.output[:] = [f"{p}_{o}" if o in ("cells", "whole") else o for o in n.output]
            n.input[:] = [f"{p}_{i}" if i in ("cells", "whole") else i for i in n.input]
        nodes += m.graph.node
        weights += [*m.graph.initializer, *(numpy_helper.from_array(np.float32(v[k]), f"{p}_weight_{o}") for o, v in w.items())]
        inputs |= {i.name: i for i in m.graph.input}
        nodes += [helper.make_node("Mul", [f"{p}_{o}", f"{p}_weight_{o}"], [f"{p}_weighted_{o}"]) for o in ("cells", "whole")]
    nodes += [helper.make_node("Add", [f"a_weighted_{o}", f"b_weighted_{o}"], [o]) for o in ("cells", "whole")]
    second = onnx.load(a.models[1])
    graph = helper.make_graph(nodes, "finish", [inputs[i.name] for i in second.graph.input], list(second.graph.output), weights)
    model = helper.make_model(graph, opset_imports=second.opset_import, ir_version=second.ir_version)
    model.producer_name, model.producer_version = second.producer_name, second.producer_version
    restamp(model, {m.key: m.value for m in second.metadata_props}, a.out)


if __name__ == "__main__":
    main()

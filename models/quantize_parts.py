#!/usr/bin/env python3
"""Makes the int8 variants of the models of parts, which the program runs: static quantisation, calibrated on windows and strips of pieces to learn on.

    quantize_parts.py --pieces DIR [DIR ...] --model models/stones.onnx --out models/stones.int8.onnx

The same for prongs, girdles and fancies: the model's own name says which it is. DIR holds rendered pieces; of those that training leaves out it prints how far
the answers move. Weights take seven bits: eight overflow the sums of processors that have no VNNI. The first layer (where it pays) and all that comes after the
convolutions stay in float.
"""
import argparse
import json

import numpy as np
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod

import int8
import parts
import train_girdles as tg
import train_stones as ts

# What the answers are told from, in float with all that follows.
HEADS = {"stones": ("/plan/Conv", "/body/body.0/Conv"), "prongs": ("/head/head.1/Gemm",), "girdles": ("/all/Gemm", "/head/head.0/Conv"), "fancies": ("/all/Gemm", "/head/head.0/Conv")}
# Each answer's mean that is compared, and the log of its standard deviation or (halved) precision.
MEANS = {"stones": {1: 3, 2: 3, 4: 5, 6: 8, 7: 8}, "prongs": {1: 3, 2: 3, 4: 5}, "girdles": {0: 1, 3: 4}, "fancies": {0: 1, 3: 4}}
ODDS = {"stones": (0, 9), "prongs": (0,), "girdles": (2,), "fancies": (2,)}


def seen(net, frames, patches, count, seed):
    """What a model is shown of `count` of the patches, [count, 3, h, w]."""
    rng = np.random.default_rng(seed)
    chosen = [patches[k] for k in rng.permutation(len(patches))[:count]]
    if net in ("girdles", "fancies"):
        return np.stack([tg.example(frames, p, rng, False)[0] for p in chosen])
    spread = 0.03 if net == "stones" else 0.15
    off = np.clip(rng.normal(0, spread, (len(chosen), 2)), -0.2, 0.2)
    cut = [ts.window(frames[p.frame][0], p.x - o[0] * p.unit, p.y + o[1] * p.unit, ts.SIDE[net], p.window, p.turn) for p, o in zip(chosen, off)]
    return np.stack(cut)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


def scaled_in(model):
    """Takes the division of the picture's levels into the weights of the first convolution."""
    g = model.graph
    div = next(n for n in g.node if n.op_type == "Div")
    conv = next(n for n in g.node if n.op_type == "Conv")
    constants = {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in g.node if n.op_type == "Constant"}
    weights = next(i for i in g.initializer if i.name == conv.input[1])
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) / np.float32(constants[div.input[1]]), weights.name))
    for n in g.node:
        for k, name in enumerate(n.input):
            if name == div.output[0]:
                n.input[k] = div.input[0]
    g.node.remove(div)
    return model


def unturned(model):
    """The same model with one convolution over radius and channels where axes were swapped, flattened and mixed: swapping the axes of bytes costs more than that."""
    g = model.graph
    made = {o: n for n in g.node for o in n.output}
    swap = next(n for n in g.node if n.op_type == "Transpose")
    mix = next(n for n in g.node if n.op_type == "Conv" and made.get(n.input[0]) and made[n.input[0]].op_type == "Reshape")
    relu = next(n for n in g.node if mix.output[0] in n.input)
    arrays = {i.name: i for i in g.initializer}
    w, before = (numpy_helper.to_array(arrays[n.input[1]]) for n in (mix, made[made[swap.input[0]].input[0]]))
    arrays[mix.input[1]].CopyFrom(numpy_helper.from_array(w.reshape(len(w), len(before), 1, -1), mix.input[1]))
    g.initializer.append(numpy_helper.from_array(np.array([3]), "radius"))
    cells = w.shape[1] // len(before)
    flat, wide = relu.output[0], relu.output[0] + "_wide"
    nodes = list(g.node)
    nodes[nodes.index(mix)] = helper.make_node("Conv", [swap.input[0], *mix.input[1:]], list(mix.output), mix.name, kernel_shape=[1, cells])
    at = nodes.index(relu)
    nodes[at:at + 1] = [helper.make_node("Relu", list(relu.input), [wide], relu.name), helper.make_node("Squeeze", [wide, "radius"], [flat], relu.name + "/flat")]
    del g.node[:]
    g.node.extend(nodes)
    return dropped(model)


def dropped(model):
    """A model without the nodes whose answers nothing takes."""
    g = model.graph
    while True:
        taken = {i for n in g.node for i in n.input} | {o.name for o in g.output}
        idle = [n for n in g.node if not taken & set(n.output)]
        if not idle:
            return model
        for n in idle:
            g.node.remove(n)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pieces", nargs="+", required=True)
    ap.add_argument("--model", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--windows", type=int, default=400, help="windows or strips that activations take their ranges from")
    ap.add_argument("--seed", type=int, default=7)
    a = ap.parse_args()
    _, meta, whole = parts.opened(a.model)
    net = meta["loupe.name"]
    strips = net in ("girdles", "fancies")
    frames, halves = ts.load("prongs" if net == "prongs" else "stones", a.pieces)
    if strips:
        halves = [tg.known(frames, part, net == "fancies") for part in halves]
    learned, left = (seen(net, frames, part, a.windows, a.seed) for part in halves)
    print(f"{len(learned)} to take the ranges from, {len(left)} left out")
    heads = lambda n: n.name in HEADS[net]
    stays = lambda graph: int8.onwards(graph, heads) + ([] if strips else [int8.first(graph)])
    change = (lambda model: unturned(scaled_in(model))) if strips else scaled_in
    int8.quantised(a.model, a.out, [learned[i:i + 8] for i in range(0, len(learned) - 7, 8)], stays, f"{net}-int8", change,
                   calibrate_method=CalibrationMethod.Percentile, reduce_range=True, op_types_to_quantize=["Conv", "Add", "Relu", "Resize", "Concat", "Slice", "Squeeze"])
    said, small = (session.run(None, {session.get_inputs()[0].name: left})[0] for session in (whole, parts.opened(a.out)[2]))
    there = slice(None) if strips else said[:, 0] > 0
    said, small = (y[there].reshape(-1, y.shape[-1]) for y in (said, small))
    apart = small - said
    names = json.loads(meta["loupe.columns"])
    for k, s in MEANS[net].items():
        deviation = np.exp(-0.5 * said[:, s].clip(-6, 9)) if strips else np.exp(said[:, s].clip(-7, 3))
        print(f"  {names[k]}: moves by {np.sqrt(((apart[:, k] / deviation) ** 2).mean()):.3f} of its own deviation (rms), {apart[:, k].mean():+.5f} on the whole")
    for k in ODDS[net]:
        print(f"  {names[k]}: log odds move by {np.sqrt((apart[:, k] ** 2).mean()):.3f} (rms)")


if __name__ == "__main__":
    main()

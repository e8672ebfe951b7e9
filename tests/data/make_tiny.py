#!/usr/bin/env python3
"""Makes tiny_surface.onnx, a model that honours the contract of models/surface.onnx and knows nothing,
and tiny_surface.json, its golden outputs as onnxruntime gives them.

    python tests/data/make_tiny.py        (needs numpy, onnx and onnxruntime)
"""
import json, os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = ["good", "pore_pit", "crack_scratch", "other_defect"]
STRIDE = 2


def model():
    rng = np.random.default_rng(1)
    t = lambda name, a: numpy_helper.from_array(np.asarray(a, np.float32), name)
    nodes = [
        helper.make_node("Sub", ["image", "mean"], ["c"]),
        helper.make_node("Div", ["c", "scale"], ["n"]),
        helper.make_node("Conv", ["n", "w1", "b1"], ["h0"], strides=[STRIDE, STRIDE], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h0"], ["h"]),
        helper.make_node("Conv", ["h", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probs"], axis=1),
    ]
    init = [
        t("mean", 127.0), t("scale", 128.0),
        t("w1", rng.normal(0, 0.5, (8, 3, 3, 3))), t("b1", rng.normal(0, 0.1, 8)),
        t("w2", rng.normal(0, 1.0, (4, 8, 1, 1))), t("b2", [1.0, 0.0, 0.0, 0.0]),
    ]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])],
        [helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["N", 4, "h", "w"])], init)
    m = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="loupe")
    meta = {
        "schema": "loupe.model/1", "name": "tiny", "version": "1.0.0", "classes": json.dumps(CLASSES),
        "um_per_px": "12.0", "um_per_px_min": "5", "um_per_px_max": "25", "tile": "256", "overlap": "32",
        "output_stride": str(STRIDE), "thresholds": json.dumps({"defect": 0.5, "pore_pit": 0.25}),
        "trained_on": "nothing: random weights", "seed": "1", "licence": "Apache-2.0",
    }
    for k, v in meta.items():
        e = m.metadata_props.add()
        e.key, e.value = "loupe." + k, v
    onnx.checker.check_model(m)
    return m


def picture(width, height):
    """The picture tests/model.rs makes too: integers only, so both are the same to the bit."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    return np.stack([(x * 7 + y * 13 + c * 50 + (x * y) % 17 * 3) % 256 for c in range(3)]).astype(np.float32)


def main():
    m = model()
    path = os.path.join(HERE, "tiny_surface.onnx")
    onnx.save(m, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    golden = []
    # One tile that must be padded; several tiles; a picture of one tile exactly; sides that are no multiple of 32.
    for width, height in ((70, 50), (300, 200), (256, 256), (103, 541)):
        x = picture(width, height)
        pad = [(0, 0), (0, -height % 32), (0, -width % 32)]
        p = session.run(None, {"image": np.pad(x, pad, mode="reflect")[None]})[0][0]
        gh, gw = -(-height // STRIDE), -(-width // STRIDE)
        step = 7
        golden.append({"width": width, "height": height, "step": step,
                       "probs": [[[round(float(v), 6) for v in row] for row in plane]
                                 for plane in p[:, :gh:step, :gw:step]]})
    with open(os.path.join(HERE, "tiny_surface.json"), "w") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()

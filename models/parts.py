"""What the trainings of the models of parts share (train_stones.py, train_girdles.py)."""
import hashlib
import json
import math
import os

import torch

from stamp import stamp


def rate(lr, step, past):
    """The learning rate of a step: a hundred steps of warm-up, then a cosine down to a hundredth. past: how much is done, 0 to 1."""
    return lr * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, past))))


def follow(ema, model, step):
    """Moves the averaged weights towards the model's."""
    d = min(0.995, (step + 1) / (step + 20))
    with torch.no_grad():
        for v, q in zip(ema.state_dict().values(), model.state_dict().values()):
            v.lerp_(q, 1 - d) if v.dtype.is_floating_point else v.copy_(q)


def save(path, model, ema, opt, step):
    """A checkpoint, whole or not at all."""
    torch.save({"model": model.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "step": step}, path + ".tmp")
    os.replace(path + ".tmp", path)


def resume(path, model, ema, opt):
    """Takes up a checkpoint; its step, 0 where there is none."""
    if not os.path.exists(path):
        return 0
    c = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(c["model"]), ema.load_state_dict(c["ema"]), opt.load_state_dict(c["opt"])
    print(f"taken up at step {c['step']}", flush=True)
    return c["step"]


def export(out, model, inputs, name, version, columns, mix, seed, meta, answers=("answer",), scale=12, sides=False):
    """Writes a model with those inputs (their shapes without N; pictures from 0 to 255) and outputs, with its metadata. scale: the middle of what
    it is for, in um/px; sides: heights and widths may be others, too."""
    import onnx
    tmp = out + ".tmp"
    axes = {0: "N", **({2: "H", 3: "W"} if sides else {})}
    torch.onnx.export(model, tuple(torch.rand(2, *shape) * 255 for shape in inputs.values()), tmp, input_names=list(inputs), output_names=list(answers),
                      opset_version=17, dynamo=False, dynamic_axes={**{k: axes for k in inputs}, answers[0]: axes, **{k: {0: "N"} for k in answers[1:]}})
    g = onnx.load(tmp)
    stamp(g, {"loupe.schema": "loupe.model/1", "loupe.name": name, "loupe.version": version, "loupe.columns": json.dumps(columns),
              "loupe.um_per_px_min": "4", "loupe.um_per_px": f"{scale:g}", "loupe.um_per_px_max": "25",
              "loupe.trained_on": f"rendered pieces (datasets/render, {mix})", "loupe.seed": str(seed), "loupe.licence": "Apache-2.0", **meta})
    g.producer_name, g.producer_version, g.doc_string = "loupe", version, ""
    onnx.checker.check_model(g)
    onnx.save(g, tmp)
    os.replace(tmp, out)
    print(out, os.path.getsize(out), hashlib.sha256(open(out, "rb").read()).hexdigest())

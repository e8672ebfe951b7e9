"""What the trainings of the models of parts and finishes share (train_stones.py, train_girdles.py, train_finish.py)."""
import argparse
import hashlib
import json
import math
import os
import time

import cv2
import torch

from stamp import stamp


def arguments(about, steps, batch, lr, seed):
    """The arguments that all of the trainings take; others may be added before they are parsed."""
    ap = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pieces", nargs="+", required=True)
    ap.add_argument("--out")
    ap.add_argument("--measure", metavar="ONNX", help="print the figures of this model on the pieces left out, and stop")
    ap.add_argument("--steps", type=int, default=steps)
    ap.add_argument("--batch", type=int, default=batch)
    ap.add_argument("--lr", type=float, default=lr)
    ap.add_argument("--seed", type=int, default=seed)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    ap.add_argument("--minutes", type=float, default=math.inf, help="have done with learning this long after the start, whatever the step")
    ap.add_argument("--start", metavar="ONNX", help="begin with the weights of this exported model")
    ap.add_argument("--ckpt", help="the checkpoint, else FILE.pt beside --out")
    ap.add_argument("--fresh", action="store_true", help="do not take up a checkpoint")
    return ap


def parsed(ap):
    """The arguments, and the libraries set as they say."""
    a = ap.parse_args()
    if not (a.out or a.measure or getattr(a, "calibrate", None)):
        ap.error("--out or --measure is needed")
    a.ckpt = a.ckpt or f"{a.out}.pt"
    cv2.setNumThreads(1)
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(a.seed)
    return a


class Course:
    """How a model learns: AdamW, a hundred steps of warm-up and a cosine down to a hundredth, averaged weights (`ema`), checkpoints that it is
    taken up from. a: the arguments."""

    def __init__(self, a, model, ema, decay):
        self.a, self.model, self.ema, self.step, self.losses, self.start = a, model, ema, 0, [], time.time()
        ema.load_state_dict(model.state_dict())
        ema.eval()
        self.opt = torch.optim.AdamW(model.parameters(), lr=a.lr, weight_decay=decay)
        if not a.fresh and os.path.exists(a.ckpt):
            c = torch.load(a.ckpt, map_location="cpu", weights_only=False)
            model.load_state_dict(c["model"]), ema.load_state_dict(c["ema"]), self.opt.load_state_dict(c["opt"])
            self.step = c["step"]
            print(f"taken up at step {self.step}", flush=True)

    def past(self):
        """How much is done, 0 to 1."""
        return max(self.step / self.a.steps, (time.time() - self.start) / 60 / self.a.minutes)

    def learn(self, loss_of):
        """One step. loss_of: gives the loss, with the model in training. True every 1000 steps: time for a look at the figures."""
        for g in self.opt.param_groups:
            g["lr"] = self.a.lr * min(1, (self.step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, self.past()))))
        self.model.train()
        loss = loss_of()
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.opt.step()
        self.step += 1
        d = min(0.995, (self.step + 1) / (self.step + 20))
        with torch.no_grad():
            for v, q in zip(self.ema.state_dict().values(), self.model.state_dict().values()):
                v.lerp_(q, 1 - d) if v.dtype.is_floating_point else v.copy_(q)
        self.losses.append(loss.detach())
        if self.step % 100 == 0:
            print(f"step {self.step} loss {float(torch.stack(self.losses).mean()):.3f} {time.time() - self.start:.0f} s", flush=True)
            self.losses = []
        if self.step % 500 == 0 or self.past() >= 1:  # whole or not at all
            torch.save({"model": self.model.state_dict(), "ema": self.ema.state_dict(), "opt": self.opt.state_dict(), "step": self.step}, self.a.ckpt + ".tmp")
            os.replace(self.a.ckpt + ".tmp", self.a.ckpt)
        return self.step % 1000 == 0 and self.past() < 1 and self.a.minutes == math.inf


NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)


def show(model, modules, hook, sample):
    """Shows the model `sample`, a tuple where it takes several inputs. hook(key, input) is called for each of the modules, a dictionary, just before it runs."""
    hooks = [m.register_forward_pre_hook(lambda m, inputs, k=k: hook(k, inputs[0])) for k, m in modules.items()]
    model.eval()
    with torch.no_grad():
        model(*sample) if isinstance(sample, tuple) else model(sample)
    for h in hooks:
        h.remove()


def settle(model, norms, sample):
    """Sets batch norms so that they only add: each takes the mean and deviation of what reaches it when the model is shown `sample`, and undoes them. norms:
    what each, by its name, is to add."""
    names = dict(model.named_modules())

    def take(name, x):
        m, x = names[name], x.transpose(0, 1).flatten(1)
        m.running_mean.copy_(x.mean(1)), m.running_var.copy_(x.var(1))
        m.weight.copy_((m.running_var + m.eps).sqrt()), m.bias.copy_(norms[name].to(x.device) + m.running_mean)
    show(model, {k: names[k] for k in norms}, take, sample)


def exported(path):
    """An exported model and its weights by their names."""
    import onnx
    from onnx import numpy_helper
    model = onnx.load(path)
    return model, {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in model.graph.initializer}


def opened(path):
    """An exported model, its metadata, and a session that runs it."""
    import onnx
    import onnxruntime
    file = onnx.load(path)
    return file, {m.key: m.value for m in file.metadata_props}, onnxruntime.InferenceSession(path)


def begin(model, path, sample):
    """The weights of an exported model, whose batch norms are folded into the convolutions before them, for learning to go on from. sample: what the
    norms are settled on. Layers of another shape are left as they are. The exported model's metadata."""
    onnx_model, known = exported(path)
    # The folded ones have lost their names: they come in the order in which they run.
    folded = iter([known[n] for node in onnx_model.graph.node if node.op_type == "Conv" for n in node.input[1:] if n.startswith("onnx::")])
    layers = {k: m for k, m in model.named_modules() if isinstance(m, (torch.nn.Conv1d, torch.nn.Conv2d, *NORMS))}
    order = []
    show(model, layers, lambda k, x: order.append(k), sample)
    own, biases = model.state_dict(), {}
    for k, after in zip(order, order[1:]):
        if isinstance(layers[after], NORMS):
            weight, bias = next(folded), next(folded)
            if own[k + ".weight"].shape == weight.shape:
                own[k + ".weight"].copy_(weight)
                biases[after] = bias
    for k, v in known.items():
        if k in own and own[k].shape == v.shape:
            own[k].copy_(v)
    settle(model, biases, sample)
    return {m.key: m.value for m in onnx_model.metadata_props}


def wilson(k, n):
    """The 95 % interval of a share, k of n (Wilson 1927)."""
    if not n:
        return [float("nan")] * 2
    z, p = 1.96, k / n
    d = 1 + z * z / n
    m, w = (p + z * z / (2 * n)) / d, z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / d
    return [m - w, m + w]


def export(out, model, inputs, name, version, columns, mix, seed, meta, answers=("answer",), scale=12, sides=False):
    """Writes a model with those inputs (their shapes without N; pictures from 0 to 255) and outputs, with its metadata. scale: the middle of what
    it is for, in um/px; sides: heights and widths may be others, too."""
    import onnx
    tmp = out + ".tmp"
    axes = {0: "N", **({2: "H", 3: "W"} if sides else {})}
    of = lambda shape: axes if len(shape) == 3 else {0: "N"}
    torch.onnx.export(model, tuple(torch.rand(2, *shape) * 255 for shape in inputs.values()), tmp, input_names=list(inputs), output_names=list(answers),
                      opset_version=17, dynamo=False, dynamic_axes={**{k: of(shape) for k, shape in inputs.items()}, answers[0]: axes, **{k: {0: "N"} for k in answers[1:]}})
    g = onnx.load(tmp)
    stamp(g, {"loupe.schema": "loupe.model/1", "loupe.name": name, "loupe.version": version, "loupe.columns": json.dumps(columns),
              "loupe.um_per_px_min": "4", "loupe.um_per_px": f"{scale:g}", "loupe.um_per_px_max": "25",
              "loupe.trained_on": f"rendered pieces (datasets/render, {mix})", "loupe.seed": str(seed), "loupe.licence": "Apache-2.0", **meta})
    g.producer_name, g.producer_version, g.doc_string = "loupe", version, ""
    onnx.checker.check_model(g)
    onnx.save(g, tmp)
    os.replace(tmp, out)
    print(out, os.path.getsize(out), hashlib.sha256(open(out, "rb").read()).hexdigest())

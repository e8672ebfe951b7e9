"""Static quantisation of a model, for quantize_surface.py and quantize_parts.py."""
import hashlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from stamp import stamp


class Batches(CalibrationDataReader):
    """Arrays for one input, one after the other."""

    def __init__(self, name, arrays):
        self.name, self.next = name, iter(arrays)

    def get_next(self):
        x = next(self.next, None)
        return None if x is None else {self.name: np.ascontiguousarray(x)}


def onwards(graph, begins):
    """Names of the nodes that `begins` holds true of, and of all that come after them."""
    names, reached = [], set()
    for n in graph.node:
        if begins(n) or reached & set(n.input):
            names.append(n.name)
            reached |= set(n.output)
    return names


def first(graph):
    """The name of the first convolution."""
    return next(n.name for n in graph.node if n.op_type == "Conv")


def quantised(source, out, batches, stays, name, change=lambda model: model, **how):
    """Writes a model's int8 variant: weights with scales per output channel, activations with one uint8 scale each. batches: what the activations' ranges are
    taken from, arrays for the model's input. stays: of a graph, the names of the nodes that stay in float. name: what `loupe.name` is to be. change: what is
    done to the model before. how: further arguments of `quantize_static`. The metadata is carried over."""
    known = onnx.load(str(source))
    meta = {p.key: p.value for p in known.metadata_props}
    out = Path(out)
    pre, tmp = out.with_suffix(".pre.onnx"), out.with_suffix(".tmp.onnx")
    onnx.save(change(known), str(tmp))
    quant_pre_process(str(tmp), str(pre), skip_symbolic_shape=True)
    graph = onnx.load(str(pre)).graph
    quantize_static(str(pre), str(tmp), Batches(graph.input[0].name, batches), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=stays(graph), **how)
    pre.unlink()
    model = onnx.load(str(tmp))
    stamp(model, {**meta, "loupe.name": name})
    onnx.save(model, str(tmp))
    ort.InferenceSession(str(tmp))  # whole, or not at all
    tmp.replace(out)
    print(out, out.stat().st_size, "bytes, sha256", hashlib.sha256(out.read_bytes()).hexdigest())

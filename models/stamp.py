"""A model's metadata, written into its file."""
import os


def stamp(model, meta):
    """Replaces the metadata of an ONNX model by `meta` (text to text)."""
    del model.metadata_props[:]
    for key, value in meta.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def restamp(model, meta, path):
    """Replaces the metadata of an ONNX model by `meta` and writes it to `path`, whole or not at all."""
    import onnx
    stamp(model, meta)
    onnx.save(model, path + ".tmp")
    os.replace(path + ".tmp", path)

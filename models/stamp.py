"""A model's metadata, written into its file."""


def stamp(model, meta):
    """Replaces the metadata of an ONNX model by `meta` (text to text)."""
    del model.metadata_props[:]
    for key, value in meta.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value

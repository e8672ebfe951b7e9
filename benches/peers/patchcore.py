#!/usr/bin/env python3
"""Times `loupe` with a taught file against anomalib's PatchCore: the same pictures, two threads each, in one run.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install -r benches/peers/requirements.txt
    /tmp/peer/bin/python benches/peers/patchcore.py GOOD TEST [--loupe target/release/loupe]

GOOD and TEST are folders of pictures. Both sides use EfficientNet-Lite0's stages of stride 8 and 16 at 224 x 224 (loupe reads that of
stride 4 as well) and a memory of the same number of bytes. PatchCore's weights are random here: what is timed does not depend on
them. Its memory is drawn, not chosen by its coreset search, which would take most of the run and does not change the time of a picture.
"""
import argparse, glob, os, subprocess, sys, tempfile, time

import cv2
import numpy as np
import torch


def pictures(folder):
    return sorted(p for p in glob.glob(os.path.join(folder, "**", "*"), recursive=True) if p.lower().endswith((".png", ".jpg", ".jpeg", ".bmp")))


def tensor(path):
    image = cv2.cvtColor(cv2.resize(cv2.imread(path), (224, 224), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(((image.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None])


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("good")
    ap.add_argument("test")
    ap.add_argument("--loupe", default="target/release/loupe")
    a = ap.parse_args()
    torch.set_num_threads(2)
    good, test = pictures(a.good), pictures(a.test)
    with tempfile.TemporaryDirectory() as work:
        taught, flat = os.path.join(work, "part.loupe"), os.path.join(work, "set", "test")
        t = time.time()
        subprocess.run([a.loupe, "teach", a.good, "--out", taught, "--jobs", "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        teach = time.time() - t
        # One picture alone tells what starting costs: it is taken off.
        one = os.path.join(work, "one", "good")
        for folder, files in ((flat + "/good", test), (one, test[:1])):
            os.makedirs(folder)
            for k, f in enumerate(files):
                os.symlink(os.path.abspath(f), os.path.join(folder, f"{k:06d}{os.path.splitext(f)[1]}"))

        def timed(folder):
            t = time.time()
            subprocess.run([a.loupe, "eval", folder, "--kind", "folders", "--taught", taught, "--out", os.path.join(work, "r.json"), "--jobs", "2"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return time.time() - t
        timed(os.path.dirname(one))
        start = timed(os.path.dirname(one))
        ours = (timed(flat) - start) / max(1, len(test) - 1)
        kept = os.path.getsize(taught)
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    model = PatchcoreModel(layers=["blocks.2", "blocks.4"], backbone="tf_efficientnet_lite0", pre_trained=False, num_neighbors=9)
    t = time.time()
    rows = []
    model.train()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for f in good:
            got = model(tensor(f))
            got = got if isinstance(got, torch.Tensor) else model.embedding_store.pop()
            rows.append(got[torch.randperm(len(got), generator=generator)[: max(1, len(got) // 4)]])
        bank = torch.vstack(rows)
        n = min(len(bank), kept // (4 * bank.shape[1]))
        model.memory_bank = bank[torch.randperm(len(bank), generator=generator)[:n]].contiguous()
        if hasattr(model, "embedding_store"):
            model.embedding_store = []
        filled = time.time() - t
        model.eval()
        for f in test[:3]:
            model(tensor(f))
        t = time.time()
        for f in test:
            model(tensor(f))
        theirs = (time.time() - t) / len(test)
        t = time.time()
        for f in test[:100]:
            model.feature_extractor(tensor(f))
        bare = (time.time() - t) / len(test[:100])
    print(f"{len(good)} good pictures, {len(test)} to score, two threads each")
    print(f"memory                loupe {kept / 1e6:.1f} MB, PatchCore {model.memory_bank.numel() * 4 / 1e6:.1f} MB ({len(model.memory_bank)} patches)")
    print(f"teaching              loupe {teach:.1f} s; PatchCore's features alone {filled:.1f} s")
    print(f"ms a picture          loupe {1000 * ours:.2f}, PatchCore {1000 * theirs:.2f} (its backbone alone {1000 * bare:.2f})")
    print(f"times faster          {theirs / ours:.1f}")


if __name__ == "__main__":
    sys.exit(main())

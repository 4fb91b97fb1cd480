#!/usr/bin/env python3
"""The Python package safetensors reads what a run leaves, and a run starts from what the package writes, with the same hash.

  safetensors_test.py DPTRAIN

Status 77, which is "skipped", where there is no such package; $DPTRAIN_TORCH_PYTHON may name a Python that has it.
"""
import json, os, subprocess, sys, tempfile
from pathlib import Path

try:
    from safetensors.numpy import load_file, save_file
except ImportError:
    other = os.environ.pop("DPTRAIN_TORCH_PYTHON", "")
    if other:
        os.execv(other, [other, "-B", *sys.argv])
    print("skipped: this Python has no package safetensors")
    sys.exit(77)

JOB = """name: small
dataset: {name: digits, train_samples: 300, test_samples: 100}
model:
  input: [1, 28, 28]
  layers: [{conv2d: {out_channels: 4, kernel_size: 3}}, relu, {max_pool2d: 2}, flatten, {linear: 10}]
train: {steps: 3, global_batch_size: 64, micro_batch_size: 16, optimizer: {name: adam, lr: 0.01}}
devices: {type: cpu, count: 2}
"""


def check(condition, what):
    if not condition:
        sys.exit(f"safetensors_test: {what}")


with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    (folder / "job.yaml").write_text(JOB)

    def run(out, *more):
        subprocess.run([sys.argv[1], "job.yaml", "--quiet", "--out", out, *more], cwd=folder, check=True)

    run("run")
    saved = folder / "run/checkpoints/step-3"
    model, optimizer = load_file(saved / "model.safetensors"), load_file(saved / "optimizer.safetensors")
    shapes = {"0.weight": (4, 1, 3, 3), "0.bias": (4,), "4.weight": (10, 676), "4.bias": (10,)}
    check({name: value.shape for name, value in model.items()} == shapes, f"the model is {model.keys()}")
    check({name: value.shape for name, value in optimizer.items()} ==
          {f"{state}.{name}": shape for state in ("exp_avg", "exp_avg_sq") for name, shape in shapes.items()},
          f"the optimizer's state is {optimizer.keys()}")
    save_file(dict(reversed(model.items())), folder / "package.safetensors", metadata={"format": "np"})
    run("again", "--init-from", "package.safetensors")
    first = json.loads((folder / "again/checkpoints/step-0/state.json").read_text())["weights_hash"]
    check(first == json.loads((saved / "state.json").read_text())["weights_hash"], "the weights came back as others")
print("the package reads our files, and we read its file")

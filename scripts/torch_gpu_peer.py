#!/usr/bin/env python3
"""The PyTorch programs a user would write for one GPU, at their best: data, sampling and training all on the device.

  torch_gpu_peer.py --cases mlp_b256:mlp:256,... --out FILE [--seconds 90] [--random]

One process measures every case in fp32, in TF32, and in autocast to bf16 and to fp16 (with a GradScaler), as plain code, as a
captured CUDA graph of the whole step, and compiled by torch.compile and captured likewise (where that cannot be captured,
compiled with the CUDA graphs of "reduce-overhead"), and appends a JSON object a line to FILE: samples per second (median of
three), and the seconds that it took to get there. What has not begun after --seconds is left out. MNIST is read from
$DPTRAIN_DATA/mnist; --random: noise of the same shape.
"""
import argparse, gzip, json, os, statistics, time
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--cases", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--seconds", type=float, default=90)
parser.add_argument("--random", action="store_true")
parser.add_argument("--device", default="cuda", help="cpu: to try the program where there is no GPU; plain code alone")
args = parser.parse_args()
ends = time.monotonic() + args.seconds

import numpy as np
import torch
import torch.nn.functional as F
import torch_models

device = torch.device(args.device)
on_gpu = device.type == "cuda"
torch.backends.cudnn.benchmark = True
VARIANTS = ("plain", "graph", "compiled") if on_gpu else ("plain",)
PRECISIONS = ("fp32", "tf32", "bf16", "fp16") if on_gpu else ("fp32",)
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def put(record):
    with open(args.out, "a") as file:
        file.write(json.dumps(record) + "\n")


def idx(name, offset):
    path = Path(os.environ["DPTRAIN_DATA"]) / "mnist" / name
    raw = gzip.open(f"{path}.gz").read() if not path.exists() else path.read_bytes()
    return np.frombuffer(raw, dtype=np.uint8)[offset:].copy()


def data():
    if args.random:
        return torch.randn(60000, 784, device=device), torch.randint(0, 10, (60000,), device=device)
    x = (torch.from_numpy(idx("train-images-idx3-ubyte", 16)).to(device).float() / 255 - 0.1307) / 0.3081
    return x.view(-1, 784), torch.from_numpy(idx("train-labels-idx1-ubyte", 8)).to(device).long()


def images_of(name):
    if name in torch_models.CIFAR:  # noise
        return torch.randn(50000, 3, 32, 32, device=device)
    return X if name in torch_models.FLAT else X.view(-1, 1, 28, 28)


def synchronize():
    if on_gpu:
        torch.cuda.synchronize()


class Muon(torch.optim.Optimizer):
    """Muon for weights (Jordan 2024), AdamW for the others, with the settings of configs/cifar10_fast.yaml."""
    lr, momentum, decay, iterations, adamw_lr = 0.04, 0.8, 0.1, 3, 0.01

    def __init__(self, parameters):
        parameters = [p for p in parameters if p.requires_grad]
        super().__init__(parameters, {})
        self.weights = [p for p in parameters if p.dim() > 1]
        self.averages = [torch.zeros_like(p) for p in self.weights]
        fused = {"fused": True, "capturable": True} if on_gpu else {}
        self.others = torch.optim.AdamW([p for p in parameters if p.dim() < 2], self.adamw_lr, weight_decay=self.decay, **fused)

    def direction(self, gradient):
        x = gradient.flatten(1).bfloat16()
        tall = len(x) > x.shape[1]
        x = x.T if tall else x
        x = x / (x.norm() + 1e-7)
        for _ in range(self.iterations):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return (x.T if tall else x).view_as(gradient) * max(1, len(gradient) / gradient[0].numel()) ** 0.5

    @torch.no_grad()
    def step(self):
        gradients = [p.grad for p in self.weights]
        torch._foreach_lerp_(self.averages, gradients, 1 - self.momentum)
        torch._foreach_lerp_(gradients, self.averages, self.momentum)  # Nesterov's
        torch._foreach_mul_(self.weights, 1 - self.lr * self.decay)
        for weight, gradient in zip(self.weights, gradients):
            weight.sub_(self.direction(gradient), alpha=self.lr)
        self.others.step()


def optimizer_of(name, model, lr):
    if name == "fast":
        return Muon(model.parameters())
    return torch.optim.SGD(model.parameters(), lr, momentum=0.9, **({"fused": True} if on_gpu else {}))


def step_of(name, batch, variant, precision, captured):
    """One training step as a function, warmed up; `captured`: as a CUDA graph."""
    torch.manual_seed(1)
    torch.compiler.reset()
    model, lr = torch_models.make(name)
    images = images_of(name)
    model = model.to(device)
    if name not in torch_models.FLAT and on_gpu:
        model = model.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(name, model, lr)
    smoothing = 0.1 if name == "fast" else 0.0
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")

    def loss_of(x, y):
        with torch.autocast(device.type, dtype=HALVES.get(precision), enabled=precision in HALVES):
            return F.cross_entropy(model(x), y, label_smoothing=smoothing)

    mode = None if captured else "reduce-overhead"
    forward = torch.compile(loss_of, mode=mode) if variant == "compiled" else loss_of

    def step():
        chosen = torch.randint(len(images), (batch,), device=device)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(forward(images[chosen], Y[chosen])).backward()
        scaler.step(optimizer)
        scaler.update()

    if not captured:
        for _ in range(12):
            step()
        synchronize()
        return step
    side = torch.cuda.Stream()  # as PyTorch's notes on CUDA graphs have it: warm up beside, then capture
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(12):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    synchronize()
    return graph.replay


def measure(step, batch):
    def seconds(count):
        synchronize()
        began = time.perf_counter()
        for _ in range(count):
            step()
        synchronize()
        return time.perf_counter() - began

    count = max(20, int(0.25 / (seconds(20) / 20)))
    return batch / statistics.median(seconds(count) / count for _ in range(3))


X, Y = data()
put({"torch": torch.__version__, "device": torch.cuda.get_device_name() if on_gpu else "cpu"})
for variant in VARIANTS:  # the cheap ones of every case first: compiling takes longest
    for case in args.cases.split(","):
        name, model, batch = case.split(":")
        for precision in PRECISIONS:
            if time.monotonic() > ends:
                raise SystemExit(0)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "fp32"
            record = {"case": name, "variant": variant, "precision": precision}
            began = time.monotonic()
            for captured in {"plain": (False,), "graph": (True,), "compiled": (True, False)}[variant]:
                try:
                    step = step_of(model, int(batch), variant, precision, captured)
                    rate = round(measure(step, int(batch)), 1)
                    put({**record, "captured": captured, "samples_per_second": rate, "seconds": round(time.monotonic() - began, 1)})
                    break
                except Exception as error:  # one that cannot be captured or compiled does not cost the others
                    put({**record, "captured": captured, "error": f"{type(error).__name__}: {error}"[:300]})

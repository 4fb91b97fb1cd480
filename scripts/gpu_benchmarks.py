"""Parts of scripts/gpu_check: every shipped network on the GPU against PyTorch, and the table of all stages."""
import hashlib, json, os, re
from pathlib import Path

from gpu_runner import Failed

HERE = Path(__file__).resolve().parent

#        case          config            PyTorch's model, batch; the most telling first, for time may run out
CASES = {
    "mnist_b128": ("mnist", "small", 128),
    "cnn_b64": ("mnist_cnn", "cnn", 64),
    "resnet20_b128": ("cifar10_resnet20", "resnet20", 128),
    "fast_b512": ("cifar10_fast", "fast", 512),
    "mlp_b256": ("mnist_mlp", "mlp", 256),
    "lenet_b256": ("mnist_lenet", "lenet", 256),
    "cifar_cnn_b128": ("cifar10_cnn", "cifar_cnn", 128),
    "mlp_b64": ("mnist_mlp", "mlp", 64),
    "softmax_b256": ("logistic_mnist", "softmax", 256),
    "tiny_b1": ("mnist_tiny", "tiny", 1),
}
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # PyTorch's 16 bits are its autocast, with its GradScaler in fp16
VARIANTS = ("plain", "graph", "compiled")
SECONDS = 1.0  # of measurement a run of ours


def write_cifar10(folder, seed=b"noise"):
    """CIFAR-10's files in its binary format, of noise: a label and 3 x 32 x 32 bytes a sample."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        if (folder / name).exists():
            continue
        pixels = hashlib.shake_128(seed + name.encode()).digest(10000 * 3072)
        with open(folder / name, "wb") as file:
            for k in range(10000):
                file.write(bytes([k % 10]) + pixels[3072 * k:3072 * (k + 1)])


def ours(check, case, precision):
    """Samples a second between a short run and a long one: a step's cost by itself, without the first ones, which load kernels and
    record graphs, as PyTorch's are warmed up. The short one's rate may be theirs alone: it only says how long is too long."""
    config, _, batch = CASES[case]
    settings = [f"train.global_batch_size={batch}", f"train.micro_batch_size={batch}", "evaluate={}", "expect={}",
                "dataset.test_samples=100"]
    if config.startswith("cifar10"):  # noise, which costs as much as images do; they lie on the GPU as they are, as PyTorch's do
        settings += ["dataset.name=cifar10", "dataset.augment=[]"]
        write_cifar10(check.datasets() / "cifar10")
    elif not check.machine["mnist"]:
        settings.append("dataset.name=digits")
    if check.dry:
        settings.append("dataset.train_samples=600")

    def run(steps):
        summary = check.dptrain(config, 1, [*settings, f"train.steps={steps}"], precision, limit=30)[1]
        return steps, summary["train_seconds"], summary["samples_per_second"]

    if check.dry:
        return run(3)[2]
    short = run(200)
    steps = int(max(400, min(20000, 25 * 200 / short[1])))
    for _ in range(2):
        long = run(steps)
        each = (long[1] - short[1]) / (long[0] - short[0])
        if each > 0 and long[1] - short[1] >= SECONDS / 4:
            return round(batch / each, 1)
        steps = int(min(1e6, max(2 * steps, SECONDS / max(each, 1e-6))))
    return long[2]


def torch(check, case, seconds):
    """PyTorch's records of one case, and a word where there is something amiss."""
    python = os.environ.get("DPTRAIN_TORCH_PYTHON") or "python3"
    out = check.work / f"torch_{case}.jsonl"
    _, model, batch = CASES[case]
    command = [python, HERE / "torch_gpu_peer.py", "--out", out, "--seconds", f"{max(5.0, seconds - 15):.0f}", "--cases", f"{case}:{model}:{batch}"]
    if not check.machine["mnist"]:
        command.append("--random")
    if check.dry:
        command += ["--device", "cpu"]
    word = ""
    try:
        status, text = check.run(command, limit=seconds)
        if status != 0:
            missing = re.search(r"No module named '(?:torch|numpy)'", text)
            word = f"{python} has no PyTorch" if missing else f"PyTorch's program ended with status {status}: {(text.strip().splitlines() or [''])[-1]}"
    except Failed as late:  # what it measured until then counts
        word = str(late)
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else [], word


def compare(check):
    """Case after case, ours and PyTorch's in turn: when time runs out, what is there is there in pairs."""
    check.binary()
    figures = {"torch": None, "torch_note": "", "torch_errors": [], "rows": []}
    errors, with_torch = [], True
    cases = check.options.cases[:1] if check.dry else check.options.cases
    for i, case in enumerate(cases):
        if check.left() < 15:
            break
        rows, share = [], check.left() / min(3, len(cases) - i)  # the first ones get more, and they are the most telling
        ends = check.left() - share
        for precision in PRECISIONS[:1] if check.dry else PRECISIONS:
            if check.left() < 8:
                break
            row = {"case": case, "precision": precision, "batch": CASES[case][2], "dptrain": None, "ratio": None, **dict.fromkeys(VARIANTS)}
            rows.append(row)
            try:
                row["dptrain"] = ours(check, case, precision)
            except Exception as error:  # a run that failed, or whose summary lacks what is asked of it
                errors.append(f"{case} in {precision}: {error}")
        figures["rows"] += rows
        check.so_far(figures)
        if with_torch and check.left() > 15:
            records, word = torch(check, case, max(check.left() - ends, 15))
            with_torch = bool(records)  # where it does not even start, once is enough
            figures["torch"] = next((record["torch"] for record in records if "torch" in record), figures["torch"])
            figures["torch_note"] = figures["torch_note"] or word
            figures["torch_errors"] += [record for record in records if "error" in record]
            for row in rows:
                for record in records:
                    if (record.get("case"), record.get("precision")) == (row["case"], row["precision"]) and "samples_per_second" in record:
                        row[record["variant"]] = record["samples_per_second"]
                best = max((row[variant] for variant in VARIANTS if row.get(variant)), default=None)
                row["ratio"] = round(row["dptrain"] / best, 2) if best and row["dptrain"] else None
            check.so_far(figures)
    if errors:
        raise Failed(f"{len(errors)} of {len(figures['rows'])} runs of dptrain failed, the first: {errors[0]}", figures)
    return figures


def number(value, form="{:,.0f}"):
    return "-" if value is None else form.format(value)


def table(machine, stages):
    """Markdown, ready for docs/gpu.md."""
    lines = [f"{machine['date']}: {'; '.join(machine['gpus']) or 'no GPU'}; {', '.join(machine['libraries']) or 'no CUDA'}; commit "
             f"{machine['commit'][:12] or 'unknown'}" + ("; DRY RUN: no GPU was used" if machine["dry_run"] else ""),
             *([f"STEPS RAN WITHOUT GRAPHS: {machine['without_graphs']}"] if "without_graphs" in machine else []),
             "", "| stage | result | seconds | |", "|---|---|---|---|"]
    for stage in stages:
        figures = {key: value for key, value in stage["figures"].items() if key != "rows"}
        told = stage["why"] or ", ".join(f"{key} {f'{value:.4g}' if isinstance(value, float) else value}"
                                         for key, value in figures.items() if value not in (None, "", []))
        told = " ".join(told.split()).replace("|", "/")
        lines.append(f"| {stage['name']} | {stage['status']} | {stage['seconds']:.1f} | {told[:300]} |")
    rows = [row for stage in stages for row in stage["figures"].get("rows", [])]
    if rows:
        lines += ["", "Samples a second on one GPU, one micro-batch a step; the ratio is to PyTorch's best:", "",
                  "| case | precision | dptrain | PyTorch plain | CUDA graph | compiled | ratio | step, µs |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        step = row["batch"] / row["dptrain"] * 1e6 if row["dptrain"] else None
        cells = [row["case"], row["precision"], number(row["dptrain"]), *(number(row.get(v)) for v in VARIANTS),
                 number(row["ratio"], "{:.2f}"), number(step, "{:.1f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

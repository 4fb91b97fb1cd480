"""Parts of scripts/gpu_check: every shipped network on the GPU against PyTorch, and the table of all stages."""
import json, os
from pathlib import Path

from gpu_runner import Failed

HERE = Path(__file__).resolve().parent

#        case          config            PyTorch's model, batch; the most telling first, for time may run out
CASES = {
    "mnist_b128": ("mnist", "small", 128),
    "cnn_b64": ("mnist_cnn", "cnn", 64),
    "mlp_b256": ("mnist_mlp", "mlp", 256),
    "lenet_b256": ("mnist_lenet", "lenet", 256),
    "mlp_b64": ("mnist_mlp", "mlp", 64),
    "softmax_b256": ("logistic_mnist", "softmax", 256),
    "tiny_b1": ("mnist_tiny", "tiny", 1),
}
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")  # PyTorch's 16 bits are its autocast, with its GradScaler in fp16
SECONDS = 1.5  # of measurement a run of ours


def ours(check, case, precision):
    """Samples a second: a short run says how many steps make SECONDS of it."""
    config, _, batch = CASES[case]
    settings = [f"train.global_batch_size={batch}", f"train.micro_batch_size={batch}", "evaluate={}", "expect={}",
                "dataset.test_samples=100"]
    if not check.machine["mnist"]:
        settings.append("dataset.name=digits")
    if check.dry:
        settings.append("dataset.train_samples=600")
    steps, rates = 3 if check.dry else 100, []
    for _ in range(1 if check.dry else 2):
        summary = check.dptrain(config, 1, [*settings, f"train.steps={steps}"], precision, limit=30)[1]
        rates.append(summary["samples_per_second"])
        steps = max(200, int(SECONDS * rates[-1] / batch))
    return rates[-1]


def torch(check):
    """PyTorch's records, and a word where there are none."""
    python = os.environ.get("DPTRAIN_TORCH_PYTHON") or "python3"
    status, text = check.run([python, "-c", "import torch, numpy; print(torch.cuda.is_available())"], limit=60)
    if status != 0:
        return [], f"{python} has no PyTorch"
    if text.strip().splitlines()[-1] != "True" and not check.dry:
        return [], f"{python}'s PyTorch sees no GPU"
    seconds = max(5.0, check.left() - 30)
    out = check.work / "torch.jsonl"
    cases = [f"{case}:{model}:{batch}" for case, (_, model, batch) in CASES.items()]
    command = [python, HERE / "torch_gpu_peer.py", "--out", out, "--seconds", f"{seconds:.0f}",
               "--cases", ",".join(cases[:1] if check.dry else cases)]
    if not check.machine["mnist"]:
        command.append("--random")
    if check.dry:
        command += ["--device", "cpu"]
    word = ""
    try:
        status, _ = check.run(command)
        word = "" if status == 0 else f"PyTorch's program ended with status {status}"
    except Failed as late:  # what it measured until then counts
        word = str(late)
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else [], word


def compare(check):
    check.binary()
    rows, errors = [], []
    cases = list(CASES)[:1] if check.dry else list(CASES)
    for case in cases:
        for precision in PRECISIONS[:1] if check.dry else PRECISIONS:
            if check.left() < 10:
                break
            row = {"case": case, "precision": precision, "batch": CASES[case][2]}
            try:
                row["dptrain"] = ours(check, case, precision)
            except Failed as error:
                row["dptrain"] = None
                errors.append(str(error))
            rows.append(row)
    records, word = torch(check)
    for row in rows:
        for record in records:
            if (record.get("case"), record.get("precision")) == (row["case"], row["precision"]):
                row[record["variant"]] = record.get("samples_per_second")
        best = max((row[variant] for variant in ("plain", "graph", "compiled") if row.get(variant)), default=None)
        row["ratio"] = round(row["dptrain"] / best, 2) if best and row["dptrain"] else None
    figures = {"torch": next((record["torch"] for record in records if "torch" in record), None), "torch_note": word,
               "torch_errors": [record for record in records if "error" in record], "rows": rows}
    if errors:
        raise Failed(f"{len(errors)} of {len(rows)} runs of dptrain failed, the first: {errors[0]}", figures)
    return figures


def number(value, form="{:,.0f}"):
    return "-" if value is None else form.format(value)


def table(machine, stages):
    """Markdown, ready for docs/gpu.md."""
    lines = [f"{machine['date']}: {'; '.join(machine['gpus']) or 'no GPU'}; {', '.join(machine['libraries']) or 'no CUDA'}; commit "
             f"{machine['commit'][:12] or 'unknown'}" + ("; DRY RUN: no GPU was used" if machine["dry_run"] else ""),
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
        cells = [row["case"], row["precision"], number(row["dptrain"]), *(number(row.get(v)) for v in ("plain", "graph", "compiled")),
                 number(row["ratio"], "{:.2f}"), number(step, "{:.1f}")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"

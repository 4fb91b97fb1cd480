"""Parts of scripts/gpu_check: running commands within their time, and what there is on the machine."""
import json, os, re, shutil, signal, subprocess, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Skipped(Exception):
    pass


class Failed(Exception):
    def __init__(self, why, figures=None):
        super().__init__(why)
        self.figures = figures or {}


class Runner:
    def __init__(self, options):
        self.options = options
        self.dry = options.dry_run
        self.out = Path(os.environ.get("OUT") or ROOT / "runs" / "gpu_check")
        self.out.mkdir(parents=True, exist_ok=True)
        for old in (*self.out.glob("*.log"), *self.out.glob("gpu_check.*")):
            old.unlink()
        self.build = Path(options.build).resolve() if options.build else ROOT / "build-gpu"
        self.work = Path(tempfile.mkdtemp(prefix="dptrain-gpu-check-"))
        self.ends = time.monotonic() + 60 * options.minutes
        self.stage_ends = self.ends
        self.log = self.out / "build.log"
        self.environment = dict(os.environ)
        # One GPU: replicas that share it are what is proven here.
        self.environment["CUDA_VISIBLE_DEVICES"] = (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]
        self.machine = {}
        self.stages = []

    def left(self):
        return min(self.ends, self.stage_ends) - time.monotonic()

    def run(self, command, limit=None, environment=None, apart=False):
        """Exit status and output; where `apart`, standard output alone. All goes to the log. Late ones are killed."""
        command = [str(word) for word in command]
        seconds = max(1.0, min(limit or self.left(), self.left()))
        with open(self.log, "ab") as log, tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as messages:
            log.write(("$ " + " ".join(command) + "\n").encode())
            log.flush()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, cwd=ROOT, start_new_session=True,
                                       stderr=messages if apart else subprocess.STDOUT, env={**self.environment, **(environment or {})})
            late = False
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            output.seek(0)
            messages.seek(0)
            text, self.said = output.read(), messages.read()
            log.write(self.said + text)
            if late:
                log.write(f"\n[not done after {seconds:.0f} s: killed]\n".encode())
        text = text.decode(errors="replace")
        if late:
            raise Failed(f"not done after {seconds:.0f} s: {' '.join(command[:4])}")
        return process.returncode, text

    def must(self, command, what, **more):
        status, text = self.run(command, **more)
        if status != 0:
            raise Failed(f"{what} (exit status {status})")
        return text

    def dptrain(self, job, replicas, settings=(), precision="fp32", expected=(0,), limit=None):
        """The summary of one run on the GPU; replicas share it."""
        command = [self.binary(), ROOT / "configs" / f"{job}.yaml", "--json", "--offline", "--fresh", "--out", self.work / "run"]
        if self.dry:
            command += ["--set", f"devices={{type: cpu, count: {replicas}}}"]
        else:
            command += ["--set", f"devices={{type: cuda, count: {replicas}, share: true}}", "--set", f"train.precision={precision}"]
        for setting in settings:
            command += ["--set", setting]
        status, text = self.run(command, limit=limit, apart=True)
        if status not in expected:
            said = re.findall(r"^dptrain: (.*)", self.said.decode(errors="replace"), re.M)
            raise Failed(f"dptrain {job} on {replicas} replica(s) ended with status {status}" + (f": {said[-1]}" if said else ""))
        try:
            return status, json.loads(text.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Failed(f"dptrain {job} printed no summary") from None

    def binary(self):
        binary = Path(os.environ.get("DPTRAIN_BINARY") or self.build / "apps" / "dptrain" / "dptrain")
        if not binary.exists():
            raise Skipped("dptrain was not built")
        return binary

    def tests(self):
        """{name: command} of the tests that are labelled gpu."""
        if not (self.build / "CTestTestfile.cmake").exists():
            raise Skipped("nothing was configured")
        done = subprocess.run(["ctest", "--test-dir", str(self.build), "--show-only=json-v1", "-L", "^gpu$"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed("ctest cannot list the tests: " + done.stderr.strip()[-300:])
        return {test["name"]: test.get("command", []) for test in json.loads(done.stdout).get("tests", [])}

    def ctest(self, names):
        if not names:
            raise Skipped("this build has no such test")
        status, text = self.run(["ctest", "--test-dir", self.build, "-V", "--no-tests=error", "-R", f"^({'|'.join(names)})$"])
        unfit = re.search(r"\bskipped: (?!DPTRAIN_DATA)(.*)", text)  # what the tests say where they find no GPU
        if unfit and not self.dry:
            raise Failed(f"tests were skipped: {unfit[1]}")
        bad = re.findall(r"^\s*\d+ - (\S+) \(", text.partition("The following tests FAILED")[2], re.M)
        if status != 0:
            raise Failed(f"{len(bad)} of {len(names)} tests failed: {', '.join(bad)}")
        return {"tests": len(names)}

    def look_around(self):
        """Machine, versions and data; False where there is no GPU."""
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
        gpus = []
        if shutil.which("nvidia-smi"):
            done = subprocess.run(query, capture_output=True, text=True)
            gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        self.machine = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "gpus": gpus, "cores": os.cpu_count(),
                        "kernel": os.uname().release, "commit": commit.stdout.strip(), "dry_run": self.dry, "libraries": []}
        data = self.options.data or os.environ.get("DPTRAIN_DATA")
        self.machine["mnist"] = False
        if data:
            folder = Path(data).resolve()
            for place in (folder, folder / "mnist"):
                if any((place / ("train-images-idx3-ubyte" + ending)).exists() for ending in ("", ".gz")):
                    (self.work / "data").mkdir(exist_ok=True)
                    (self.work / "data" / "mnist").symlink_to(place)
                    self.environment["DPTRAIN_DATA"] = str(self.work / "data")
                    self.machine["mnist"] = True
                    break
        return bool(gpus) or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()

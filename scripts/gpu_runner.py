"""Parts of scripts/gpu_check: running commands within their time, and what there is on the machine."""
import json, os, re, shutil, signal, subprocess, tarfile, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Skipped(Exception):
    pass


class Failed(Exception):
    def __init__(self, why, figures=None):
        super().__init__(why)
        self.figures = figures or {}


class Runner:
    def __init__(self, options, logs):
        """`logs`: the names that it gives them."""
        self.options = options
        self.dry = options.dry_run
        self.out = Path(os.environ.get("OUT") or ROOT / "runs" / "gpu_check")
        self.out.mkdir(parents=True, exist_ok=True)
        for old in (*(f"{log}.log" for log in logs), "gpu_check.json", "gpu_check.md"):  # the folder may hold other things
            (self.out / old).unlink(missing_ok=True)
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
        # What is said goes to the log as it is said: that of a command during which all is killed is there, too.
        with open(self.log, "ab+") as log, tempfile.TemporaryFile() as output:
            log.write(("$ " + " ".join(command) + "\n").encode())
            log.flush()
            start = log.tell()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output if apart else log, cwd=ROOT, start_new_session=True,
                                       stderr=log if apart else subprocess.STDOUT, env={**self.environment, **(environment or {})})
            late = False
            try:
                process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                late = True
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            log.seek(start)
            self.said = log.read()
            if apart:
                output.seek(0)
                text = output.read()
                log.write(text)
            else:
                text = self.said
            self.text = text.decode(errors="replace")
            if late:
                log.write(f"\n[not done after {seconds:.0f} s: killed]\n".encode())
        if late:
            raise Failed(f"not done after {seconds:.0f} s: {' '.join(command[:4])}")
        return process.returncode, self.text

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
        slow = re.search(r"^.*ran steps without a graph.*$", self.said.decode(errors="replace"), re.M)
        if slow:  # all that is measured is slower for it
            self.machine["without_graphs"] = slow[0]
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
        """{name: command} of the tests that are labelled gpu; self.test_environments has the environment of each."""
        if not (self.build / "CTestTestfile.cmake").exists():
            raise Skipped("nothing was configured")
        done = subprocess.run(["ctest", "--test-dir", str(self.build), "--show-only=json-v1", "-L", "^gpu$"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed("ctest cannot list the tests: " + done.stderr.strip()[-300:])
        tests = json.loads(done.stdout[done.stdout.index("{"):]).get("tests", [])
        self.test_environments = {}
        for test in tests:
            words = next((p["value"] for p in test.get("properties", []) if p["name"] == "ENVIRONMENT"), [])
            self.test_environments[test["name"]] = dict(word.split("=", 1) for word in words)
        return {test["name"]: test.get("command", []) for test in tests}

    def test(self, names):
        """Runs these tests one by one, each in its share of the time, so that one that hangs does not cost the others."""
        if not names:
            raise Skipped("this build has no such test")
        commands, bad, seconds = self.tests(), [], {}
        for i, name in enumerate(names):
            began = time.monotonic()
            try:
                if not commands[name] or not Path(shutil.which(commands[name][0]) or commands[name][0]).exists():
                    raise Failed("was not built")
                limit = self.left() if i + 1 == len(names) else self.left() * 0.6
                status, text = self.run([*commands[name], "-d"], limit=limit, environment=self.test_environments.get(name))
                unfit = re.search(r"\bskipped: (?!DPTRAIN_DATA)(.*)", text)  # what the tests say where they find no GPU
                if unfit and not self.dry:
                    bad.append(f"{name} was skipped: {unfit[1]}")
                elif status not in (0, 77):
                    wrong = re.findall(r"^(\S+:\d+): (?:FATAL )?ERROR: (.*)", text, re.M)
                    bad.append(f"{name} (exit status {status})" + (f", {len(wrong)} errors, the first {wrong[0][0]}: {wrong[0][1]}" if wrong else ""))
            except Failed as reason:
                done = len(re.findall(r"^\d+\.\d+ s: ", getattr(self, "text", ""), re.M))
                bad.append(f"{name}: {reason}" + (f", {done} test cases were through" if done else ""))
            seconds[name] = round(time.monotonic() - began, 1)
        if bad:
            raise Failed(f"{len(bad)} of {len(names)} tests failed: {'; '.join(bad)}", {"seconds": seconds})
        return {"tests": len(names), "seconds": seconds}

    def unpack(self, packages):
        """What Debian packages hold, into a folder of its own, and an environment in which it is found."""
        folder = ROOT / "build-packages"
        for package in sorted(packages.glob("*.deb")):
            self.must(["dpkg", "-x", package, folder], f"{package.name} cannot be unpacked")
        usr = folder / "usr"
        for name in ("mpirun", "mpicc"):
            if (usr / "bin" / f"{name}.openmpi").exists() and not (usr / "bin" / name).exists():
                (usr / "bin" / name).symlink_to(f"{name}.openmpi")
        libraries = usr / "lib" / "x86_64-linux-gnu"
        own = {"CMAKE_PREFIX_PATH": str(usr), "OPAL_PREFIX": str(usr), "PMIX_INSTALL_PREFIX": str(usr), "OMPI_MCA_plm_rsh_agent": "/bin/true",
               "LD_LIBRARY_PATH": f"{libraries}:{libraries / 'openmpi' / 'lib'}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":"),
               "PATH": f"{os.environ.get('PATH', '')}:{usr / 'bin'}"}
        self.environment.update(own)
        os.environ["PATH"] = own["PATH"]  # where mpirun is looked for

    def keep_build(self):
        """The programs and the list of tests, without objects, for --build on the same kind of machine."""
        with tarfile.open(self.out / "built.tar.xz", "w:xz", preset=1) as archive:
            for file in sorted(self.build.rglob("*")):
                if file.name in ("CTestTestfile.cmake", "build.ninja") or (file.is_file() and os.access(file, os.X_OK) and "CMakeFiles" not in file.parts):
                    archive.add(file, file.relative_to(self.build))

    def datasets(self):
        """The folder in which datasets are looked for."""
        folder = self.work / "data"
        folder.mkdir(exist_ok=True)
        self.environment["DPTRAIN_DATA"] = str(folder)
        return folder

    def look_around(self):
        """Machine, versions and data; False where there is no GPU."""
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
        gpus = []
        if shutil.which("nvidia-smi"):
            try:
                done = subprocess.run(query, capture_output=True, text=True, timeout=30)
                gpus = done.stdout.strip().splitlines() if done.returncode == 0 else []
            except subprocess.TimeoutExpired:
                pass
        commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        self.machine = {"date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "gpus": gpus, "cores": os.cpu_count(),
                        "kernel": os.uname().release, "commit": commit.stdout.strip() or os.environ.get("DPTRAIN_COMMIT", ""), "dry_run": self.dry, "libraries": []}
        data = self.options.data or os.environ.get("DPTRAIN_DATA")
        self.machine["mnist"] = False
        if data:
            folder = Path(data).resolve()
            for place in (folder, folder / "mnist"):
                if any((place / ("train-images-idx3-ubyte" + ending)).exists() for ending in ("", ".gz")):
                    (self.datasets() / "mnist").symlink_to(place)
                    self.machine["mnist"] = True
                    break
        return bool(gpus) or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()

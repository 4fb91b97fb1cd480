"""scripts/gpu_check with fakes in place of everything that it calls, so that every outcome can be had at will.

  gpu_check_test.py SOURCE_FOLDER
"""
import json, os, shutil, stat, subprocess, sys, tempfile, unittest
from pathlib import Path

SOURCE = Path(sys.argv.pop(1))

FAKES = {
    "nvidia-smi": 'echo "NVIDIA Fake, 999.1, 1024 MiB, 9.0"',
    "cmake": '''case "$*" in
  *--build*) exit "${BUILD_STATUS:-0}" ;;
esac
while [ $# -gt 0 ]; do [ "$1" = -B ] && folder=$2; shift; done
[ -z "${CMAKE_REFUSES-}" ] || { echo "CMake Error: no nvcc here"; exit 1; }
mkdir -p "$folder"; touch "$folder/build.ninja" "$folder/CTestTestfile.cmake"
echo "-- CUDA 13.0.88: /somewhere"; echo "-- cuDNN 9.19.0: /x"; echo "-- NCCL 2.28.9: /y"; echo "-- WITHOUT oneDNN: much"''',
    "ctest": '''case "$*" in
  *show-only*) echo '{"tests": [{"name": "units", "command": ["units"]}, {"name": "kernels_cuda", "command": ["parity"]},
                {"name": "comm_nccl", "command": ["nccl"]}, {"name": "gpu_processes", "command": ["processes"]}]}'; exit 0 ;;
esac''',
    **dict.fromkeys(("units", "parity", "nccl", "processes"), '''echo "${TEST_SAYS-fine}"
[ -z "${TEST_HANGS-}" ] || exec sleep 600
case "$0" in
  *"${TEST_FAILS:-none}") echo "x.cpp:3: ERROR: CHECK( 1 == 2 ) is NOT correct!"; exit 1 ;;
esac'''),
    "mpirun": "",
    "compute-sanitizer": 'echo "${SANITIZER_SAYS-ERROR SUMMARY: 0 errors}"; exit "${SANITIZER_STATUS:-0}"',
    "dptrain": '''echo "$*" >>"$CALLS"
[ -z "${HANGS-}" ] || exec sleep 600
[ "$1" != replay ] || exit "${REPLAY_STATUS:-0}"
hash=aaaa
case "$*" in *"precision=${ONLY_IN:-}"*) in=yes ;; esac
case "$*" in *"count: ${DIFFER_AT:-none}"*) [ -z "${in-}" ] || hash=bbbb ;; *"mode=${DIFFER_IN:-none}"*) hash=cccc ;; esac
scale=null
case "$*" in *precision=fp16*) scale='{"scale": 65536, "skipped_steps": 2}' ;; esac
echo "a message" >&2
echo "{\\"dataset\\": \\"mnist\\", \\"test_accuracy\\": 0.992, \\"train_seconds\\": 1.5, \\"samples_per_second\\": 64000, \\"loss_scale\\": $scale, \\"weights_hash\\": \\"$hash\\"}"
case "$*" in *evaluate*) exit 0 ;; esac
exit "${RUN_STATUS:-0}"''',
    "python-with-torch": '''case "$1" in -c) echo True; exit 0 ;; esac
while [ $# -gt 0 ]; do [ "$1" = --out ] && out=$2; shift; done
echo '{"torch": "2.0", "device": "fake"}' >"$out"
echo '{"case": "cnn_b64", "variant": "graph", "precision": "tf32", "samples_per_second": 32000.0}' >>"$out"
echo '{"case": "cnn_b64", "variant": "plain", "precision": "bf16", "samples_per_second": 16000.0}' >>"$out"
echo '{"case": "cnn_b64", "variant": "compiled", "precision": "tf32", "error": "cannot"}' >>"$out"
exit "${TORCH_STATUS:-0}"''',
}


class GpuCheck(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "bin").mkdir()
        (self.folder / "built").mkdir()
        for name, body in FAKES.items():
            self.fake(name, body)

    def fake(self, name, body):
        file = self.folder / "bin" / name
        file.write_text("#!/bin/sh\n" + body + "\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)

    def check(self, *arguments, status=0, **environment):
        """Runs it in full; the stages by name."""
        binaries = self.folder / "bin"
        own = {"PATH": f"{binaries}:{os.environ['PATH']}", "OUT": str(self.folder / "out"), "CALLS": str(self.folder / "calls"),
               "DPTRAIN_BINARY": str(binaries / "dptrain"), "DPTRAIN_TORCH_PYTHON": str(binaries / "python-with-torch")}
        # A build folder of its own: CTestTestfile.cmake says that it is configured.
        if "--build" not in arguments and "configure" not in str(arguments):
            (self.folder / "built" / "CTestTestfile.cmake").touch()
            arguments = ("--build", str(self.folder / "built"), *arguments)
        done = subprocess.run([sys.executable, str(SOURCE / "scripts/gpu_check"), *arguments], capture_output=True, text=True,
                              env={**os.environ, "DPTRAIN_DATA": "", **own, **environment})
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.out, self.err = done.stdout, done.stderr
        report = self.folder / "out" / "gpu_check.json"
        self.report = json.loads(report.read_text()) if report.exists() else {}
        return {stage["name"]: stage for stage in self.report.get("stages", [])}

    def test_all_passes(self):
        (self.folder / "out").mkdir()
        for name in ("other.log", "training.log"):
            (self.folder / "out" / name).write_text("before\n")
        stages = self.check()
        self.assertEqual((self.folder / "out" / "other.log").read_text(), "before\n")  # not its own
        self.assertNotIn("before", (self.folder / "out" / "training.log").read_text())
        self.assertEqual({name: stage["status"] for name, stage in stages.items()},
                         {"configure": "skipped", "build": "skipped", "unit_tests": "passed", "parity": "passed", "nccl": "passed",
                          "processes": "passed", "mnist": "passed", "same_weights": "passed", "halves": "passed", "modes": "passed",
                          "sanitizer": "passed",
                          "benchmarks": "passed"})
        self.assertEqual(self.report["machine"]["gpus"], ["NVIDIA Fake, 999.1, 1024 MiB, 9.0"])
        self.assertEqual(stages["mnist"]["figures"]["test_accuracy"], 0.992)
        self.assertEqual(stages["same_weights"]["figures"], {"replicas": [1, 2, 4], "weights_hash": "aaaa"})
        self.assertEqual({key: stages["halves"]["figures"][key] for key in ("bf16 test_accuracy", "fp16 weights_hash", "fp16 loss_scale")},
                         {"bf16 test_accuracy": 0.992, "fp16 weights_hash": "aaaa", "fp16 loss_scale": {"scale": 65536, "skipped_steps": 2}})
        self.assertEqual(stages["modes"]["figures"], {"async": "aaaa", "local_sgd": "aaaa", "replayed": "aaaa"})
        self.assertEqual(stages["sanitizer"]["figures"]["checked"],
                         ["memcheck units", "memcheck kernels_cuda", "racecheck units", "racecheck kernels_cuda"])
        calls = (self.folder / "calls").read_text()
        self.assertIn("devices={type: cuda, count: 4, share: true}", calls)
        for precision in ("tf32", "bf16", "fp16"):
            self.assertIn(f"train.precision={precision}", calls)
        self.assertIn("digits.yaml", calls)  # there is no MNIST
        files = list((self.folder / "out").iterdir())
        self.assertLessEqual(len(files), 9, files)
        self.assertIn("| mnist | passed |", self.out)

    def test_benchmarks(self):
        figures = self.check("--only", "benchmarks")["benchmarks"]["figures"]
        rows = {(row["case"], row["precision"]): row for row in figures["rows"]}
        self.assertEqual(len(rows), 40)
        row = rows["cnn_b64", "tf32"]
        self.assertEqual((row["dptrain"], row["graph"], row["compiled"], row["ratio"]), (64000, 32000, None, 2.0))
        self.assertEqual(rows["cnn_b64", "bf16"]["ratio"], 4.0)
        self.assertIsNone(rows["mlp_b256", "fp32"]["ratio"])
        self.assertEqual(figures["torch_errors"][0]["error"], "cannot")
        self.assertIn("| cnn_b64 | tf32 | 64,000 | - | 32,000 | - | 2.00 | 1000.0 |", self.out)
        figures = self.check("--only", "benchmarks", TORCH_STATUS="1")["benchmarks"]["figures"]
        self.assertIn("status 1", figures["torch_note"])
        self.fake("python-with-torch", "echo \"ModuleNotFoundError: No module named 'torch'\"; exit 1")
        stage = self.check("--only", "benchmarks")["benchmarks"]
        self.assertEqual((stage["status"], stage["figures"]["torch"]), ("passed", None))
        self.assertIn("has no PyTorch", stage["figures"]["torch_note"])

    def test_mnist_is_handed_over(self):
        (self.folder / "data").mkdir()
        (self.folder / "data" / "train-images-idx3-ubyte.gz").touch()
        self.check("--only", "mnist", "--data", str(self.folder / "data"))
        self.assertIn("configs/mnist.yaml", (self.folder / "calls").read_text())

    def test_a_failed_stage_stops_no_other(self):
        stages = self.check(status=1, TEST_FAILS="parity")
        self.assertEqual(stages["parity"]["status"], "failed")
        self.assertIn("1 of 1 tests failed: kernels_cuda (exit status 1), 1 errors, the first x.cpp:3: CHECK( 1 == 2 )", stages["parity"]["why"])
        self.assertTrue(stages["parity"]["log_tail"].startswith("x.cpp:3: ERROR"))
        self.assertIn("    | x.cpp:3: ERROR", self.out)  # printed too
        self.assertEqual(stages["mnist"]["status"], "passed")
        self.assertEqual(stages["benchmarks"]["status"], "passed")

    def test_what_fails(self):
        for stage, environment, why in (
                ("unit_tests", {"TEST_SAYS": "skipped: no GPU that CUDA can use"}, "units was skipped: no GPU that CUDA can use"),
                ("mnist", {"RUN_STATUS": "4"}, "below what the job expects"),
                ("mnist", {"RUN_STATUS": "2"}, "ended with status 2"),
                ("same_weights", {"DIFFER_AT": "2"}, "weights differ"),
                ("halves", {"RUN_STATUS": "4"}, "in bf16 is below what the job expects"),
                ("halves", {"DIFFER_AT": "2", "ONLY_IN": "fp16"}, "weights differ between numbers of replicas in fp16"),
                ("modes", {"DIFFER_AT": "4"}, "weights differ in mode async"),
                ("modes", {"DIFFER_IN": "async"}, "weights differ in mode async"),
                ("modes", {"REPLAY_STATUS": "1"}, "a recorded run was not replayed"),
                ("sanitizer", {"SANITIZER_SAYS": "ERROR SUMMARY: 3 errors", "SANITIZER_STATUS": "99"}, "memcheck units: ERROR SUMMARY: 3 errors")):
            with self.subTest(stage=stage, environment=environment):
                result = self.check("--only", stage, status=1, **environment)[stage]
                self.assertEqual(result["status"], "failed")
                self.assertIn(why, result["why"])
                self.assertTrue(result["log_tail"])

    def test_what_is_skipped(self):
        result = self.check("--only", "sanitizer", SANITIZER_SAYS="Device not supported", SANITIZER_STATUS="1")["sanitizer"]
        self.assertEqual((result["status"], "not support" in result["why"]), ("skipped", True))
        self.fake("ctest", "echo '{\"tests\": []}'")
        for stage in ("unit_tests", "parity", "nccl", "processes"):
            self.assertIn("no such test", self.check("--only", stage)[stage]["why"])
        tools = self.folder / "tools"  # all but mpirun
        tools.mkdir()
        for tool in ("git", "sh", "env", "ctest", "nvidia-smi"):
            (tools / tool).symlink_to(shutil.which(tool, path=f"{self.folder / 'bin'}:{os.environ['PATH']}"))
        self.assertIn("there is no mpirun", self.check("--only", "processes", PATH=str(tools))["processes"]["why"])
        missing = str(self.folder / "nothing")
        self.assertIn("was not built", self.check("--only", "mnist", DPTRAIN_BINARY=missing)["mnist"]["why"])

    def test_a_run_that_hangs_is_killed(self):
        stages = self.check("--only", "mnist,same_weights", "--minutes", "0.06", status=1, HANGS="yes")
        self.assertIn("not done after", stages["mnist"]["why"])
        self.assertIn("killed", stages["mnist"]["log_tail"])
        self.assertEqual(stages["same_weights"]["why"], "no time was left")
        stages = self.check("--only", "unit_tests,mnist", "--minutes", "0.3", status=1, TEST_HANGS="yes")
        self.assertIn("not done after", stages["unit_tests"]["why"])
        self.assertEqual(stages["mnist"]["status"], "passed")  # its part of the time was kept

    def test_packages(self):
        (self.folder / "packages").mkdir()
        (self.folder / "packages" / "x.deb").touch()
        self.fake("dpkg", "exit 1")
        self.check("--only", "mnist", "--packages", str(self.folder / "packages"))
        self.assertIn("x.deb cannot be unpacked", self.err)

    def test_configure_and_build(self):
        # The fakes write into the build folder, which is the source's own: only what they refuse is tried here.
        result = self.check("--only", "configure", status=1, CMAKE_REFUSES="yes")["configure"]
        self.assertIn("cmake refused (exit status 1)", result["why"])
        self.assertIn("no nvcc here", result["log_tail"])

    def test_no_gpu(self):
        self.fake("nvidia-smi", "exit 9")
        if Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists():
            self.skipTest("there is a GPU")
        self.check(status=2)
        self.assertIn("no GPU here", self.err)
        self.assertEqual(self.report, {})
        stages = self.check("--dry-run")
        self.assertEqual(stages["same_weights"]["status"], "passed")
        self.assertIn("devices={type: cpu, count: 4}", (self.folder / "calls").read_text())
        self.assertIn("DRY RUN", self.out)

    def test_usage(self):
        self.check("--only", "nonsense", status=2)
        self.assertIn("no stage nonsense", self.err)
        self.check("--data", str(self.folder / "nowhere"), status=2)
        self.check("--nonsense", status=2)
        self.check("--help")


if __name__ == "__main__":
    unittest.main()

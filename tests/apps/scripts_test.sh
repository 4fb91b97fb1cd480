#!/bin/sh
# scripts_test.sh SOURCE_FOLDER: the scripts, with a fake dptrain in place of the real one, so that every outcome can be
# had at will: the fake prints what its environment says.

set -eu
source=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0

# expect STATUS COMMAND...: runs it, leaving out and err; a wrong status is a failure.
expect() {
  wanted=$1
  shift
  status=0
  "$@" >out 2>err || status=$?
  [ "$status" -eq "$wanted" ] && return
  echo "FAILED: status $status, not $wanted: $*"
  sed 's/^/  out: /' out
  sed 's/^/  err: /' err
  failures=$((failures + 1))
}

# has FILE TEXT: the last command's output holds the text.
has() {
  grep -qF -- "$2" "$1" && return
  echo "FAILED: '$2' is not in $1:"
  sed 's/^/  /' "$1"
  failures=$((failures + 1))
}

# ---- a fake dptrain: throughput by number of devices, hashes and statuses from the environment
cat >fake <<'FAKE'
#!/bin/sh
echo "$*" >>"$CALLS"
case "$1 ${2-}" in
  "data fetch") exit "${FETCH_STATUS:-0}" ;;
esac
devices=1
while [ $# -gt 0 ]; do
  [ "$1" = --devices ] && devices=$2
  shift
done
[ "${FAIL_AT-}" = "$devices" ] && exit 3
[ "$devices" -gt "${MICRO_BATCHES:-1000000}" ] && exit 2
hash=aaaa
[ "${DIFFER_AT-}" = "$devices" ] && hash=bbbb
echo "a message" >&2
echo "{\"status\": \"done\",\"name\":\"fake\",\"dataset\":\"mnist\",\"device_type\":\"cpu\",\"devices\":$devices,\"reproducible\":${REPRODUCIBLE:-true},\"samples_per_second\":$((1000 * devices * ${SCALING:-100} / 100 + (devices == 1) * 10 * (100 - ${SCALING:-100}))),\"final_loss\":null,\"test_accuracy\":${ACCURACY:-0.9912},\"weights_hash\":\"$hash\",\"shares\":{\"data\":${DATA:-0.01},\"compute\":0.9,\"reduce\":0.02,\"wait\":0.03},\"peak_rss_bytes\":1}"
exit "${RUN_STATUS:-0}"
FAKE
chmod +x fake
CALLS=$folder/calls
DPTRAIN_BINARY=$folder/fake
export CALLS DPTRAIN_BINARY

# ---- help, everywhere, on standard output
for script in bootstrap quickstart test sweep supervise; do
  expect 0 "$source/scripts/$script" --help
  has out "scripts/$script"
done
expect 0 "$source/scripts/dptrain" --help
has out "scripts/dptrain"

# ---- dptrain: arguments arrive as they are, the status comes back, the caller's folder stays
cat >echo_arguments <<'FAKE'
#!/bin/sh
pwd
for argument in "$@"; do echo "<$argument>"; done
exit 75
FAKE
chmod +x echo_arguments
DPTRAIN_BINARY=$folder/echo_arguments expect 75 "$source/scripts/dptrain" --cuda 'a  b' --set 'x=*' ''
printf '%s\n<a  b>\n<--set>\n<x=*>\n<>\n' "$(pwd)" >wanted
cmp -s out wanted || {
  echo "FAILED: scripts/dptrain changes its arguments:"
  cat out
  failures=$((failures + 1))
}

# ---- examples for clusters: whole, as far as can be told without one
for script in supervise slurm.sbatch; do expect 0 sh -n "$source/scripts/$script"; done
if command -v shellcheck >/dev/null 2>&1; then
  expect 0 shellcheck -e SC1091 "$source/scripts/supervise" "$source/scripts/slurm.sbatch"
fi
if python3 -c 'import yaml' 2>/dev/null; then
  cat >mpijob.py <<'PYTHON'
import sys, yaml
job = yaml.safe_load(open(sys.argv[1]))
assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v2beta1", "MPIJob"), job
spec = job["spec"]
launcher, worker = (spec["mpiReplicaSpecs"][name] for name in ("Launcher", "Worker"))
container, other = (s["template"]["spec"]["containers"][0] for s in (launcher, worker))
assert all(isinstance(word, str) for word in container["command"] + container["args"]), container
assert container["command"][0] == "supervise" and container["command"][-1] == "--", container
assert "--resume" in container["args"] and "--bind-to" in container["args"], container
assert int(container["args"][container["args"].index("-np") + 1]) == worker["replicas"] * spec["slotsPerWorker"], job
assert container["image"] == other["image"] and container["volumeMounts"] == other["volumeMounts"], job
PYTHON
  expect 0 python3 mpijob.py "$source/scripts/mpijob.yaml"
fi

# ---- slurm.sbatch, with a fake Slurm: what is queued again and what is not
mkdir slurm
printf '#!/bin/sh\necho "srun $*" >>"$CALLS"\nexit "$SRUN_STATUS"\n' >slurm/srun
printf '#!/bin/sh\necho "scontrol $*" >>"$CALLS"\n' >slurm/scontrol
chmod +x slurm/srun slurm/scontrol
batch() {
  : >calls
  expect "$1" env PATH="$folder/slurm:$PATH" SLURM_JOB_ID=42 SLURM_CPUS_PER_TASK=8 SRUN_STATUS="$1" SLURM_RESTART_COUNT="$2" \
    "$source/scripts/slurm.sbatch" "my job.yaml" run --seed 3
  has calls "srun --mpi=pmix --kill-on-bad-exit=1 --cpus-per-task=8 dptrain my job.yaml --out run --resume --seed 3"
}
for status in 75 137 138 1; do
  batch "$status" 2
  has calls "scontrol requeue 42"
  has err "restart 3 of 20"
done
for status in 0 2 3 4; do
  batch "$status" 0
  [ "$(wc -l <calls)" -eq 1 ] || {
    echo "FAILED: a job that ended with $status is queued again"
    failures=$((failures + 1))
  }
done
batch 75 20
has err "given up after 20 restart(s)"
[ "$(wc -l <calls)" -eq 1 ] || {
  echo "FAILED: a job is queued again without end"
  failures=$((failures + 1))
}
expect 2 "$source/scripts/slurm.sbatch" job.yaml

# ---- sweep: table, JSON, one run a number
: >calls
expect 0 "$source/scripts/sweep" "$folder/my job.yaml" --devices 4,1,2,2 --json sweep.json --seed 3
has out "      1          1000      1.00        100%         99.12%  aaaa"
has out "      2          2000      2.00        100%         99.12%  aaaa"
has out "      4          4000      4.00        100%         99.12%  aaaa"
has out "limited by: nothing up to 4 devices"
has out "weights: the same bits in every run"
has calls "$folder/my job.yaml --devices 1 --json --seed 3"
[ "$(wc -l <calls)" -eq 3 ] || {
  echo "FAILED: not three runs"
  failures=$((failures + 1))
}
has sweep.json "{\"job\": \"$folder/my job.yaml\", \"same_weights\": true, \"limit\": \"nothing up to 4 devices\", \"skipped\": [], \"runs\": ["
has sweep.json '{"devices": 4, "speedup": 4.0000, "efficiency": 1.0000, "summary": {"status": "done",'
if command -v jq >/dev/null 2>&1; then
  expect 0 jq -e '.runs | length == 3' sweep.json
  expect 0 "$source/scripts/sweep" 'a "quoted\job"' --devices 1 --json quoted.json
  expect 0 jq -e '.job == "a \"quoted\\job\""' quoted.json
fi

# ---- sweep: what limits it
SCALING=50 DATA=0.4 expect 0 "$source/scripts/sweep" job --devices 1,2
if [ "$(nproc)" -ge 2 ]; then has out "limited by: waiting for data, 40% of the time at 2 devices"; fi
SCALING=50 expect 0 "$source/scripts/sweep" job --devices 1,100000
has out "limited by: 100000 replicas share $(nproc) cores"
expect 0 "$source/scripts/sweep" job --devices 2,4
has out "speed-up and efficiency are against 2 devices"
ACCURACY=null expect 0 "$source/scripts/sweep" job --devices 1
has out "              -  aaaa"

# ---- sweep: weights that differ
DIFFER_AT=2 expect 4 "$source/scripts/sweep" job --devices 1,2,4 --json differ.json
has out "weights: DIFFERENT, in a reproducible job"
has differ.json '"same_weights": false'
DIFFER_AT=2 REPRODUCIBLE=false expect 0 "$source/scripts/sweep" job --devices 1,2
has out "the job is not reproducible"

# ---- sweep: runs that fail, and wrong usage
FAIL_AT=2 expect 3 "$source/scripts/sweep" job --devices 1,2,4
has err "the run on 2 device(s) failed with exit status 3"
RUN_STATUS=4 expect 4 "$source/scripts/sweep" job --devices 1,2
has out "weights: the same bits in every run"
has err "ended below what the job expects"
expect 2 "$source/scripts/sweep"
expect 2 "$source/scripts/sweep" job --devices 0,1
expect 2 "$source/scripts/sweep" job --devices 1,,2
expect 2 "$source/scripts/sweep" job --devices
expect 2 "$source/scripts/sweep" --quiet job

# ---- sweep: numbers that the job refuses are skipped; what cannot be done is said before the first run
MICRO_BATCHES=4 expect 0 "$source/scripts/sweep" job --json skipped.json
has out "      4          4000      4.00        100%         99.12%  aaaa"
has out "skipped, because the job refuses them: 8 devices"
has skipped.json '"skipped": [8]'
MICRO_BATCHES=2 expect 0 "$source/scripts/sweep" job --json skipped.json
has skipped.json '"skipped": [4, 8]'
MICRO_BATCHES=1 expect 2 "$source/scripts/sweep" job --devices 2,4
: >calls
mkdir folder
for wrong in "--out run" --out=run "--json /nowhere/sweep.json" "--json folder"; do
  # shellcheck disable=SC2086 # an option and its value
  expect 2 "$source/scripts/sweep" job $wrong
done
[ ! -s calls ] || {
  echo "FAILED: sweep ran before it refused"
  failures=$((failures + 1))
}
[ ! -e sweep.json.tmp ] || {
  echo "FAILED: sweep leaves a file"
  failures=$((failures + 1))
}

# ---- bootstrap, with a fake package system
mkdir system
for tool in dirname sed grep id env uname; do ln -s "$(command -v "$tool")" "system/$tool"; done
for tool in g++ ninja mpirun ip; do printf '#!/bin/sh\n' >"system/$tool"; done
# shellcheck disable=SC2016 # for the fakes to expand
printf '#!/bin/sh\necho "cmake version ${CMAKE_VERSION:-3.25.1}"\n' >system/cmake
# shellcheck disable=SC2016
printf '#!/bin/sh\nshift 2\nfor p in "$@"; do [ "$p" = "${MISSING-}" ] || echo "$p installed"; done\n' >system/dpkg-query
# shellcheck disable=SC2016
printf '#!/bin/sh\necho "apt-get $*" >>"$CALLS"\nexit "${APT_STATUS:-0}"\n' >system/apt-get
# shellcheck disable=SC2016
printf '#!/bin/sh\nexec "$@"\n' >system/sudo
chmod +x system/*
with_system() { PATH=$folder/system expect "$@"; }
: >calls
with_system 0 "$source/scripts/bootstrap" --no-install
with_system 0 "$source/scripts/bootstrap"
[ ! -s calls ] || {
  echo "FAILED: apt-get was called with nothing missing"
  failures=$((failures + 1))
}
MISSING=libdnnl-dev with_system 2 "$source/scripts/bootstrap" --no-install
has out "missing packages: libdnnl-dev"
has err "apt-get install --no-install-recommends libdnnl-dev"
MISSING=libdnnl-dev with_system 0 "$source/scripts/bootstrap"
has calls "apt-get update"
has calls "apt-get install -y --no-install-recommends libdnnl-dev"
MISSING=libdnnl-dev APT_STATUS=100 with_system 1 "$source/scripts/bootstrap"
CMAKE_VERSION=3.22.1 with_system 2 "$source/scripts/bootstrap"
has err "cmake here is 3.22; dptrain needs 3.25 or later"
CMAKE_VERSION=4.0.2 with_system 0 "$source/scripts/bootstrap"
rm system/ninja
with_system 2 "$source/scripts/bootstrap" --no-install
has out "missing packages: ninja-build"
rm system/dpkg-query
with_system 2 "$source/scripts/bootstrap"
has err "not Debian or Ubuntu"
expect 2 "$source/scripts/bootstrap" --nonsense

# ---- quickstart: MNIST where it can be had, otherwise digits, and nothing else instead of an error
: >calls
expect 0 "$source/scripts/quickstart" --no-install --devices 2 --json
has err "training configs/mnist.yaml"
has calls "data fetch mnist"
has calls "$source/configs/mnist.yaml --devices 2 --json"
[ "$(wc -l <out)" -eq 1 ] || {
  echo "FAILED: quickstart --json prints more than one line"
  failures=$((failures + 1))
}
: >calls
FETCH_STATUS=3 expect 0 "$source/scripts/quickstart" --no-install --offline
has err "cannot be compared"
has calls "data fetch mnist --offline"
has calls "$source/configs/digits.yaml --offline"
FETCH_STATUS=2 expect 2 "$source/scripts/quickstart" --no-install
RUN_STATUS=4 expect 4 "$source/scripts/quickstart" --no-install

# ---- test: usage
for given in some ""; do  # shellcheck disable=SC2086
  expect 2 "$source/scripts/test" --no-install --sanitizers $given
  has err "takes sample, full or none"
done

# ---- kill_drill: what it must not let pass
cat >drilled <<'END'
#!/bin/sh
case "$*" in *whole*) hash=aaaa said= ;; *) hash=${HASH:-aaaa} said=${SAID-} ;; esac
sleep 0.1
[ -z "$said" ] || echo "$said" >&2
echo "{\"steps\": 2, \"samples\": 2, \"test_loss\": 1.0, \"test_accuracy\": 0.5, \"weights_hash\": \"$hash\"}"
END
chmod +x drilled
export DPTRAIN_BINARY="$PWD/drilled"
expect 0 "$source/scripts/kill_drill" 3 --replicas 1,2
has out "kill_drill: 3 kills in"
has out "the same weights every time"
HASH=bbbb expect 1 "$source/scripts/kill_drill" 3
has err "weights bbbb"
SAID='a checkpoint that cannot be used' expect 1 "$source/scripts/kill_drill" 3
has err "a checkpoint was damaged"

# ---- supervise: what is tried again and what is not, how often, and what signals do
cat >failing <<'FAKE'
#!/bin/sh
# Ends with the next of $STATUSES each time, at the end with 0.
echo "$*" >>"$CALLS"
status=$(echo "$STATUSES" | cut -d' ' -f"$(wc -l <"$CALLS")")
exit "${status:-0}"
FAKE
chmod +x failing
# tried TIMES: so often has the command run.
tried() {
  [ "$(wc -l <calls)" -eq "$1" ] && return
  echo "FAILED: the command ran $(wc -l <calls) times, not $1"
  failures=$((failures + 1))
}
supervise=$source/scripts/supervise
: >calls
STATUSES="75 1 137 0" expect 0 "$supervise" --delay 0 -- ./failing 'a  b' --resume
tried 4
has calls "a  b --resume"
has err "status 75 after "
has err "restart 1 of 3 in 0 s"
has err "status 137 after "
: >calls
STATUSES="75 75 75 75 75" expect 75 "$supervise" --delay=0 --retries=2 -- ./failing --resume
tried 3
has err "given up after 2 restart(s)"
for status in 0 2 3 4; do
  : >calls
  STATUSES="$status 1" expect "$status" "$supervise" --delay 0 -- ./failing --resume
  tried 1
done
: >calls
STATUSES="1" expect 1 "$supervise" --retries 0 -- ./failing
tried 1
has err "no --resume"
expect 2 "$supervise"
expect 2 "$supervise" --retries
expect 2 "$supervise" --retries two -- ./failing
expect 2 "$supervise" ./failing
has err "the command comes after --"

# One that says when it is ready and what it was sent, and ends when told to.
cat >waiting <<'FAKE'
#!/bin/sh
echo "$*" >>"$CALLS"
trap 'echo USR1 >>"$CALLS"; exit 138' USR1
[ "${STUBBORN-}" = yes ] && trap 'echo USR1 >>"$CALLS"' USR1
trap 'echo TERM >>"$CALLS"; exit 143' TERM
: >ready
while :; do sleep 0.05; done
FAKE
chmod +x waiting
# await_line FILE TEXT
await_line() {
  for _ in $(seq 600); do
    grep -qF "$2" "$1" 2>/dev/null && return
    sleep 0.05
  done
  echo "FAILED: '$2' does not come in $1"
  failures=$((failures + 1))
}
await_ready() {
  for _ in $(seq 600); do
    [ -e ready ] && return
    sleep 0.05
  done
  echo "FAILED: the command does not begin"
  failures=$((failures + 1))
}
# stopped STATUS: the supervisor ends with it.
stopped() {
  status=0
  wait "$supervisor" || status=$?
  [ "$status" -eq "$1" ] && return
  echo "FAILED: supervise ended with $status, not $1"
  failures=$((failures + 1))
}
for signal in TERM HUP USR1; do
  : >calls
  rm -f ready
  "$supervise" --delay 0 -- ./waiting --resume 2>err &
  supervisor=$!
  await_ready
  kill -s "$signal" "$supervisor"
  stopped 138
  has calls USR1
  has err "asked to stop"
  tried 2 # the run and what it was sent: no restart
done
: >calls
rm -f ready
STUBBORN=yes "$supervise" --delay 0 -- ./waiting --resume 2>err &
supervisor=$!
await_ready
kill -s TERM "$supervisor"
await_line calls USR1
kill -s TERM "$supervisor"
stopped 143
has calls TERM
: >calls
STATUSES="75 0" "$supervise" --delay 600 -- ./failing --resume 2>err &
supervisor=$!
await_line err "restart 1 of 3 in 600 s"
kill -s TERM "$supervisor"
stopped 75
tried 1

if [ "$failures" -ne 0 ]; then
  echo "$failures failure(s)"
  exit 1
fi
echo "all scripts behave"

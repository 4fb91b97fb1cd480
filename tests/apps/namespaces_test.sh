#!/bin/sh
# namespaces_test.sh DPTRAIN: two hosts on this machine (network namespaces with host names of their own, a veth pair between
# them, a launch agent in the place of ssh): mpirun over both gives the weights of one process, and in mode async such that a
# replay gives them too. Skipped (77) where the system does not allow that.

set -eu
dptrain=$1
skip() {
  echo "skipped: $*"
  exit 77
}
[ "$(id -u)" -eq 0 ] || skip "namespaces need root"
for tool in mpirun ip unshare; do command -v "$tool" >/dev/null || skip "there is no $tool"; done

folder=$(mktemp -d)
one=dptrain-one-$$ two=dptrain-two-$$ link=dpt$$
clean() {
  ip netns del "$one" 2>/dev/null || true
  ip netns del "$two" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean EXIT
{
  ip netns add "$one" && ip netns add "$two" &&
    ip link add "${link}a" netns "$one" type veth peer name "${link}b" netns "$two" &&
    ip netns exec "$one" unshare --uts true
} 2>"$folder/why" || skip "no namespaces here: $(head -1 "$folder/why")"
ip -n "$one" address add 10.83.0.1/24 dev "${link}a"
ip -n "$two" address add 10.83.0.2/24 dev "${link}b"
for pair in "$one ${link}a" "$two ${link}b" "$one lo" "$two lo"; do ip -n "${pair% *}" link set "${pair#* }" up; done

cat >"$folder/agent" <<END
#!/bin/sh
shift  # the host: there is but one to launch on
exec ip netns exec $two unshare --uts sh -c 'hostname node2; eval "\$*"' sh "\$@"
END
chmod +x "$folder/agent"
cat >"$folder/job.yaml" <<'END'
name: job
dataset: {name: digits, train_samples: 301, test_samples: 150}
model:
  input: [1, 28, 28]
  layers: [{conv2d: {out_channels: 6, kernel_size: 3}}, batch_norm, relu, {max_pool2d: 2}, flatten, {linear: 10}]
train: {steps: 12, global_batch_size: 64, micro_batch_size: 7, clip_grad_norm: 1.0, optimizer: {name: sgd, lr: 0.1, momentum: 0.9}}
devices: {type: cpu, count: 5}
local_sgd: {workers: 6, sync_every: 3, worker_state: keep, outer_optimizer: {name: sgd, lr: 0.7, momentum: 0.9}}
async: {max_staleness: 0}
END
cd "$folder"
weights() { sed 's/.*"weights_hash":"\([0-9a-f]*\)".*/\1/' "$1/summary.json"; }
# over_both RANKS-HERE RANKS-THERE HOW ARGUMENTS...: the job over both hosts, dealt out by slot or by node.
over_both() {
  here=$1 there=$2 how=$3
  shift 3
  # shellcheck disable=SC2016 # for the shell inside to expand
  ip netns exec "$one" unshare --uts sh -c 'hostname node1; exec "$@"' sh \
    mpirun --allow-run-as-root --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 --map-by "$how" \
    --mca plm_rsh_agent "$folder/agent" --mca btl_tcp_if_include 10.83.0.0/24 --mca oob_tcp_if_include 10.83.0.0/24 \
    --host "10.83.0.1:$here,10.83.0.2:$there" -np $((here + there)) "$dptrain" job.yaml --quiet --fresh --out run "$@"
}

failures=0
# Ranks on the first host, on the second, how they are dealt out, and the mode.
for case in "2 2 slot sync" "2 2 node sync" "1 2 slot sync" "2 2 node local_sgd" "1 2 slot local_sgd" "2 2 node async" \
  "1 2 slot async"; do
  # shellcheck disable=SC2086 # a list of words
  set -- $case
  mode=$4
  "$dptrain" job.yaml --quiet --fresh --out whole --mode "$mode"
  whole=$(weights whole)
  over_both "$1" "$2" "$3" --mode "$mode" ||
    { echo "FAILED: $case: status $?"; failures=$((failures + 1)); continue; }
  [ "$(weights run)" = "$whole" ] || {
    echo "FAILED: $case: weights $(weights run), and $whole with one process"
    failures=$((failures + 1))
  }
done
# What is stale depends on time; the record says how it was.
if ! { over_both 2 2 node --mode async --set 'async={record: true, max_staleness: 2}' && "$dptrain" replay run; }; then
  echo "FAILED: a record over two hosts"
  failures=$((failures + 1))
fi
[ "$failures" -eq 0 ]

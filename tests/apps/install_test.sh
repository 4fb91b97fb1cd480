#!/bin/sh
# install_test.sh BUILD_FOLDER SOURCE_FOLDER [PROGRAM...]: installs into a temporary folder, and configures, builds and runs
# examples/own_loop against what lies there; the named programs must be there and start.

set -eu
build=$1
source=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

fail() {
  echo "FAILED: $*"
  exit 1
}

cmake --install "$build" --prefix "$folder/prefix" >"$folder/log" 2>&1 || { cat "$folder/log"; fail "cmake --install"; }
[ -f "$folder/prefix/include/dptrain/core/shape.h" ] || fail "headers are not installed"
[ -f "$folder/prefix/share/dptrain/datasets/mnist.yaml" ] || fail "dataset descriptors are not installed"
for program in "$@"; do
  "$folder/prefix/bin/$program" --version || fail "the installed $program does not start"
done
for program in "$@"; do
  "$folder/prefix/bin/$program" data info digits | grep -qF "$folder/prefix/share/dptrain/datasets/digits.yaml" ||
    fail "the installed $program reads other descriptors than its own"
done

# Nothing of the source tree may be needed: a copy of the example, and no path of ours but the prefix.
cp -r "$source/examples/own_loop" "$folder/own_loop"
cmake -S "$folder/own_loop" -B "$folder/build" -G Ninja -DCMAKE_PREFIX_PATH="$folder/prefix" -DCMAKE_BUILD_TYPE=Release \
  >"$folder/log" 2>&1 || { cat "$folder/log"; fail "the example does not configure"; }
cmake --build "$folder/build" >"$folder/log" 2>&1 || { cat "$folder/log"; fail "the example does not build"; }
if grep -rqF "$source/lib" "$folder/prefix"/lib*/cmake; then fail "the installed package points into the source tree"; fi
DPTRAIN_DATASETS="$folder/prefix/share/dptrain/datasets" "$folder/build/own_loop" >"$folder/out" || fail "the example does not run"
cat "$folder/out"
# It learns: one sample in ten is right without training.
right=$(sed -n 's/^step 400 .* \([0-9]*\) of 50 right$/\1/p' "$folder/out")
[ "${right:-0}" -ge 30 ] || fail "the example does not learn"

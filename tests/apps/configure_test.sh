#!/bin/sh
# configure_test.sh SOURCE_FOLDER: what configuring says on a machine that lacks things, and scripts/collect_sources with a
# fake package system.

set -eu
source=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0

# refused TEXT CMAKE_OPTION...: configuring ends with an error that says this, in words that CMake may have wrapped.
refused() {
  text=$1
  shift
  rm -rf build
  if cmake -S "$source" -B build -G Ninja "$@" >log 2>&1; then
    echo "FAILED: configured, with $*"
    failures=$((failures + 1))
  elif ! tr -s ' \n' '  ' <log | grep -qF -- "$text"; then
    echo "FAILED: '$text' is not said with $*:"
    cat log
    failures=$((failures + 1))
  fi
}

bare=
for package in fmt yaml-cpp nlohmann_json CLI11 xxHash doctest; do
  bare="$bare -DCMAKE_DISABLE_FIND_PACKAGE_$package=ON"
done
# shellcheck disable=SC2086 # a list of words
refused "Not found: fmt, yaml-cpp, nlohmann_json, CLI11, xxHash, doctest. Install the packages" $bare
refused "scripts/collect_sources FOLDER" -DCMAKE_DISABLE_FIND_PACKAGE_fmt=ON
refused "there is no folder $folder/nowhere" -DDPTRAIN_SOURCES="$folder/nowhere"
refused "there would be nothing to train on" -DCMAKE_DISABLE_FIND_PACKAGE_OneDNN=ON

# ---- collect_sources: an archive a package, and of each what is needed
mkdir bin sources
cat >bin/apt-get <<'FAKE'
#!/bin/sh
for word; do package=$word; done
case "$*" in *" update") exit "${UPDATE_STATUS:-0}" ;; esac
top=$package-1.0
mkdir -p "$top/include/fmt" "$top/include/yaml-cpp" "$top/include/CLI" "$top/include/nlohmann" "$top/src" "$top/doctest" "$top/test"
for file in include/fmt/format.h include/yaml-cpp/yaml.h include/CLI/CLI.hpp include/nlohmann/json.hpp src/format.cc \
  src/node.cpp doctest/doctest.h xxhash.h xxhash.c zlib.h inflate.c test/large.cpp; do echo "$package" >"$top/$file"; done
tar -czf "${package}_1.0.orig.tar.gz" "$top"
rm -r "$top"
FAKE
chmod +x bin/apt-get
PATH=$folder/bin:$PATH "$source/scripts/collect_sources" "$folder/sources" >log 2>&1 || {
  cat log
  failures=$((failures + 1))
}
for file in fmt/src/format.cc yaml-cpp/src/node.cpp nlohmann-json/include/nlohmann/json.hpp CLI11/include/CLI/CLI.hpp \
  doctest/doctest/doctest.h xxHash/xxhash.c zlib/inflate.c zlib/VERSION; do
  [ -f "sources/$file" ] || {
    echo "FAILED: $file was not collected"
    failures=$((failures + 1))
  }
done
if find sources -name large.cpp | grep -q .; then
  echo "FAILED: more is kept than is needed"
  failures=$((failures + 1))
fi
if UPDATE_STATUS=100 PATH=$folder/bin:$PATH "$source/scripts/collect_sources" "$folder/sources" >log 2>&1; then
  echo "FAILED: collect_sources goes on without lists"
  failures=$((failures + 1))
fi
grep -qF "update failed" log || failures=$((failures + 1))

[ "$failures" -eq 0 ] || exit 1
echo "configuring says what is missing"

# Shared by the scripts beside it, which set `root` and source this file. POSIX sh.
# shellcheck shell=sh
: "${root:?}"

warn() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die STATUS MESSAGE...
die() {
  status=$1
  shift
  warn "$*"
  exit "$status"
}

# The comment block at the top of the calling script is its help.
show_help() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# A CUDA build is wanted where a GPU is visible and can be built for.
cuda_visible() {
  command -v nvcc >/dev/null 2>&1 &&
    { [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]; } && nvidia-smi -L >/dev/null 2>&1
}

# build_folder PRESET
build_folder() {
  case $1 in
    cpu) echo "$root/build" ;;
    *) echo "$root/build-$1" ;;
  esac
}

# quietly LOG COMMAND...: output goes to the log, and is shown where the command fails.
quietly() {
  log=$1
  shift
  "$@" >"$log" 2>&1 || {
    status=$?
    cat "$log" >&2
    return "$status"
  }
}

# build_dptrain PRESET: configures on first use, builds what is out of date, sets `binary`. One caller at a time builds;
# another waits. When nothing changed this takes a fraction of a second.
build_dptrain() {
  folder=$(build_folder "$1")
  binary=$folder/apps/dptrain/dptrain
  mkdir -p "$folder"
  exec 9>"$folder/.lock"
  flock 9
  [ -x "$binary" ] || warn "building in $folder; the first build takes a few minutes, and build.log there says how far it is"
  if [ ! -f "$folder/build.ninja" ]; then
    command -v cmake >/dev/null 2>&1 || die 2 "cmake is missing; scripts/bootstrap installs what is needed"
    (cd "$root" && quietly "$folder/configure.log" cmake --preset "$1") ||
      die 1 "cannot configure (above); scripts/bootstrap installs missing packages"
  fi
  quietly "$folder/build.log" cmake --build "$folder" --target dptrain || die 1 "the build failed (above)"
  exec 9>&-
}

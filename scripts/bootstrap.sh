#!/usr/bin/env bash
# Prepares this checkout and installs nothing that is already there:
# the system libraries a Qt window needs, a virtual environment in .venv, the dependencies.
#
#   scripts/bootstrap.sh demo    to run the program
#   scripts/bootstrap.sh dev     to run its tests as well
#
# PYTHON=/path/to/python chooses the interpreter for a new .venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH=$PATH:/usr/sbin:/sbin # ldconfig, for people who are not root

# library or command:Debian package that has it
qt_needs=(
    libEGL.so.1:libegl1 libGL.so.1:libgl1 libX11-xcb.so.1:libx11-xcb1
    libdbus-1.so.3:libdbus-1-3 libfontconfig.so.1:libfontconfig1
    libgssapi_krb5.so.2:libgssapi-krb5-2 libgthread-2.0.so.0:libglib2.0-0
    libxcb-cursor.so.0:libxcb-cursor0 libxcb-icccm.so.4:libxcb-icccm4
    libxcb-image.so.0:libxcb-image0 libxcb-keysyms.so.1:libxcb-keysyms1
    libxcb-randr.so.0:libxcb-randr0 libxcb-render-util.so.0:libxcb-render-util0
    libxcb-shape.so.0:libxcb-shape0 libxcb-sync.so.1:libxcb-sync1
    libxcb-xfixes.so.0:libxcb-xfixes0 libxcb-xinerama.so.0:libxcb-xinerama0
    libxcb-xkb.so.1:libxcb-xkb1 libxkbcommon-x11.so.0:libxkbcommon-x11-0
)
virtual_display_needs=(xvfb-run:xvfb xauth:xauth libGLX_mesa.so.0:libglx-mesa0)

say() { printf 'setup: %s\n' "$*"; }
die() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# Prints those of its arguments that this machine lacks.
missing() {
    local libraries pair name
    libraries=$(ldconfig -p)
    for pair in "$@"; do
        name=${pair%%:*}
        [[ $libraries == *"$name "* ]] || command -v "$name" >/dev/null || echo "$pair"
    done
}

# Installs what is missing (name:package ...), or says exactly what to install.
apt_install() {
    local names=("${@%%:*}") packages=("${@##*:}") root=()
    command -v apt-get >/dev/null || die "This machine lacks: ${names[*]}" \
        "Install what has these (on Debian and Ubuntu: ${packages[*]}), then run the same command again."
    if [[ $(id -u) != 0 ]]; then
        root=(sudo -n)
        sudo -n true 2>/dev/null || die "This machine lacks: ${names[*]}" "Installing them needs root. Run:" \
            "  sudo apt-get install ${packages[*]}" "then the same command again."
    fi
    say "installing system packages: ${packages[*]}"
    "${root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists there are"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        die "apt-get could not install: ${packages[*]}" "Install them by hand, then run the same command again."
}

system_libraries() {
    [[ $(uname -s) == Linux ]] || return 0
    local needs=("${qt_needs[@]}") lacking
    if [[ $1 == dev || -z ${DISPLAY:-}${WAYLAND_DISPLAY:-} ]]; then
        needs+=("${virtual_display_needs[@]}")
    fi
    mapfile -t lacking < <(missing "${needs[@]}")
    [[ ${#lacking[@]} == 0 ]] || apt_install "${lacking[@]}"
}

# Prints the first Python that really starts (version managers leave dead ones), is new
# enough and can make a virtual environment.
find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11 python3.14)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

virtual_environment() {
    .venv/bin/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    local python
    if ! python=$(find_python); then
        [[ -z ${PYTHON:-} ]] || die "PYTHON=$PYTHON is no Python 3.11 or newer with the modules venv and ensurepip."
        if [[ $(uname -s) == Linux ]]; then apt_install python3:python3 venv:python3-venv; fi
        python=$(find_python) || die "Found no Python 3.11 or newer with the modules venv and ensurepip." \
            "Install one, then: PYTHON=/path/to/python make ..."
    fi
    say "creating .venv with $python"
    "$python" -m venv --clear .venv
}

# What the installation depends on; the folder is in it because an editable install names it.
fingerprint() {
    {
        pwd
        cat pyproject.toml setup.py MANIFEST.in
    } | cksum
}

dependencies() {
    local extra=all output=--progress-bar=on
    [[ $1 != dev ]] || extra=dev
    [[ -t 1 ]] || output=--quiet
    say "installing napari-softseg[$extra] into .venv (the first time: minutes, and about 6 GB)"
    .venv/bin/python -m pip install --disable-pip-version-check "$output" --editable ".[$extra]" ||
        die "pip could not install the dependencies; its message is above. Run the same command to try again."
    fingerprint >".venv/softseg-$1"
}

# True where an earlier run installed all this, for this goal or for the larger one.
up_to_date() {
    [[ -e napari_softseg/napari.yaml ]] && .venv/bin/python -c '' 2>/dev/null &&
        fingerprint | cmp -s - ".venv/softseg-$1"
}

[[ ${1:-} == demo || ${1:-} == dev ]] || die "Usage: scripts/bootstrap.sh demo|dev"
system_libraries "$1"
if ! up_to_date "$1" && ! up_to_date dev; then
    virtual_environment
    dependencies "$1"
fi

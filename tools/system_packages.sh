#!/usr/bin/env bash
# Makes sure that a virtual screen and the libraries Qt asks for are there.
# On Debian and Ubuntu as root they are installed; elsewhere a line says what is missing.
set -euo pipefail

packages=(
  xvfb xauth libegl1 libgl1 libglx-mesa0 libdbus-1-3 libfontconfig1 libglib2.0-0
  libxkbcommon-x11-0 libxkbcommon0 libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1
  libxcb-randr0 libxcb-render-util0 libxcb-shape0 libxcb-xinerama0 libxcb-xkb1
)

[ "$(uname -s)" = Linux ] || exit 0

if ! command -v dpkg-query >/dev/null; then
  command -v Xvfb >/dev/null || echo "Xvfb is missing: install it with your system's package manager, for tests and demos without a screen." >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  # Ubuntu 24.04 renamed some: a package counts if it or its t64 twin is installed.
  state=$(dpkg-query -W -f='${db:Status-Status}\n' "$package" "${package}t64" 2>/dev/null || true)
  grep -q '^installed$' <<<"$state" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
  echo "These system packages are missing: ${missing[*]}" >&2
  echo "Install them with: sudo apt-get install ${missing[*]}" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null

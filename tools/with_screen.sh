#!/usr/bin/env bash
# Runs a command under a virtual screen where Xvfb is to be had, else on the screen there is.
set -euo pipefail
if [ "$(uname -s)" = Linux ] && command -v xvfb-run >/dev/null; then
  exec xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24" "$@"
fi
if [ "$(uname -s)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
  echo "There is no screen and no Xvfb. Install Xvfb (Debian: apt-get install xvfb xauth)." >&2
  exit 1
fi
exec "$@"

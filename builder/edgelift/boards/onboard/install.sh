#!/bin/sh
# Installs or upgrades the edgelift agent from this folder, without a network: sudo ./install.sh
# --uninstall takes it away and keeps its configuration and models; with --purge these go too.
set -eu
cd "$(dirname "$0")"
python=$(cat python)
# The system's own first: one in somebody's home is out of reach of the agent's user.
for candidate in "/usr/bin/python$python" /usr/bin/python3 "python$python" python3; do
  if command -v "$candidate" >/dev/null 2>&1 &&
    [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$python" ]; then
    exec onboard/run "$candidate" "$@"
  fi
done
found=$(python3 --version 2>/dev/null || echo "no python3")
echo "error: this bundle is for Python $python, and this board has $found: make one by edgelift device bundle --python VERSION" >&2
exit 1

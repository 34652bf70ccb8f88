#!/usr/bin/env bash
# Debian's Chromium and plain fonts, where there is no Chromium yet and this user may install it.
set -euo pipefail
PACKAGES=(chromium fonts-liberation fonts-urw-base35)

for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit; fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "There is no Chromium on PATH, so the tests of the page will be skipped. To run them, as root:"
    echo "apt-get install ${PACKAGES[*]}"
    exit
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" >/dev/null

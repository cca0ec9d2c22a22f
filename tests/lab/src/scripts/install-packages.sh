# Installs the packages named in $1 into the root this runs in. Nothing may start: 101 is "not
# allowed" in Debian's policy for init scripts.
set -eu
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q update
# $1 is a list of names on purpose.
# shellcheck disable=SC2086
apt-get -y -q --no-install-recommends install $1
rm /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/*

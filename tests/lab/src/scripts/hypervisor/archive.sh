# Makes an archive of Debian's packages: those in $1 as they are, and a higher version of each; into $2, where each
# flavour is an archive of its own:
#   stock    what Debian has, nothing else
#   newer    that, and higher versions
#   changed  newer, with one package built anew under the same version
#   broken   that of `newer`, with an openvswitch-switch whose postinst fails
#   removing that of `newer`, with an openvswitch-switch that conflicts with ovn-host
#   dead     that of `newer`, with an ovs-vswitchd that ends at once
#   mute     that of `newer`, with an ovs-vswitchd that answers, and cannot make a bridge's own interface
set -eu
debs=$1
out=$2
work=$out/work
export LC_ALL=C
export GNUPGHOME="$work/gnupg"
mkdir -p "$GNUPGHOME" "$work/pool"
chmod 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-generate-key 'The lab <lab@drydock.invalid>' rsa2048 sign never
gpg --batch --quiet --export >"$out/key.gpg"

# The version after a package's own, such as 3.1.0-2+deb12u1 and then 3.1.9-1.
higher() {
    case $1 in
        3.1.0-*) echo 3.1.9-1 ;;
        9.0.0-*) echo 9.0.9-1 ;;
        23.03.1-*) echo 23.03.9-1 ;;
        *) echo "no higher version is known for $1" >&2 && return 1 ;;
    esac
}

# What a program says about itself, in as many bytes as before. libvirt's daemon answers with a number
# (9000000, little-endian), the others with words. Names of symbols' versions are left alone.
restamp() {
    find "$1" -type f -size +8k | while read -r file; do
        [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
        case $2 in
            3.1.9-1) sed -i 's/3\.1\.0/3.1.9/g' "$file" ;;
            9.0.9-1) sed -i 's/\x40\x54\x89\x00/\x49\x54\x89\x00/g' "$file" ;;
            23.03.9-1) sed -i 's/23\.03\.1/23.03.9/g' "$file" ;;
        esac
    done
}

# Unpacks deb $1 into $2 under its higher version, exact dependencies on each other with it.
raise() {
    old=$(dpkg-deb -f "$1" Version)
    new=$(higher "$old")
    dpkg-deb -R "$1" "$2"
    pattern=$(printf '%s' "$old" | sed 's/[.]/\\&/g')
    sed -i "s/^Version: .*/Version: $new/; s/(= $pattern)/(= $new)/g" "$2/DEBIAN/control"
    restamp "$2" "$new"
    # The sums of what was changed.
    (cd "$2" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | xargs -d '\n' md5sum >DEBIAN/md5sums)
}

pack() { dpkg-deb --root-owner-group -Zgzip -z1 -b "$1" "$2" >/dev/null; }

for deb in "$debs"/*.deb; do
    name=$(dpkg-deb -f "$deb" Package)
    raise "$deb" "$work/$name"
    pack "$work/$name" "$work/pool"
done

# The index, and the signature over it.
index() {
    (
        cd "$1"
        for deb in *.deb; do
            dpkg-deb -f "$deb"
            printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" \
                "$(sha256sum "$deb" | cut -d ' ' -f 1)"
        done >Packages
        printf 'Origin: drydock-lab\nLabel: drydock-lab\nSuite: lab\nDate: %s\nSHA256:\n %s %s Packages\n' \
            "$(date -u '+%a, %d %b %Y %H:%M:%S UTC')" "$(sha256sum Packages | cut -d ' ' -f 1)" \
            "$(stat -c %s Packages)" >Release
        gpg --batch --quiet --clearsign --output InRelease Release
        gpg --batch --quiet --armor --detach-sign --output Release.gpg Release
    )
}

flavour() {
    mkdir "$out/$1"
    cp "$debs"/*.deb "$out/$1"
    [ "$1" = stock ] || cp "$work"/pool/*.deb "$out/$1"
}

flavour stock
index "$out/stock"
flavour newer
index "$out/newer"

flavour changed
mkdir -p "$work/openvswitch-switch/usr/share/doc/openvswitch-switch"
echo 'Built anew.' >"$work/openvswitch-switch/usr/share/doc/openvswitch-switch/built-anew"
pack "$work/openvswitch-switch" "$out/changed"
rm "$work/openvswitch-switch/usr/share/doc/openvswitch-switch/built-anew"
index "$out/changed"

flavour broken
cp -a "$work/openvswitch-switch" "$work/broken"
printf '#!/bin/sh\necho "this postinst fails on purpose" >&2\nexit 1\n' >"$work/broken/DEBIAN/postinst"
pack "$work/broken" "$out/broken"
index "$out/broken"

flavour removing
cp -a "$work/openvswitch-switch" "$work/removing"
sed -i 's/^Package: .*/&\nConflicts: ovn-host/' "$work/removing/DEBIAN/control"
pack "$work/removing" "$out/removing"
index "$out/removing"

switch=usr/lib/openvswitch-switch/ovs-vswitchd
flavour dead
cp -a "$work/openvswitch-switch" "$work/dead"
printf '#!/bin/sh\necho "this ovs-vswitchd ends at once on purpose" >&2\nexit 1\n' >"$work/dead/$switch"
pack "$work/dead" "$out/dead"
index "$out/dead"

# In userspace that interface is a tap: a device that is not there is asked for it.
flavour mute
cp -a "$work/openvswitch-switch" "$work/mute"
sed -i 's,/dev/net/tun,/dev/net/non,g' "$work/mute/$switch"
if ! grep -q /dev/net/non "$work/mute/$switch"; then
    echo "this ovs-vswitchd names no /dev/net/tun" >&2
    exit 1
fi
pack "$work/mute" "$out/mute"
index "$out/mute"

# Of the key only the public half is wanted from here on.
gpgconf --kill all 2>/dev/null || :
rm -rf "$work"

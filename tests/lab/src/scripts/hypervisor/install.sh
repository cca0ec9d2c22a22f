# Makes a hypervisor of a bare root: the packages named in $1, and what its guests boot from. Nothing may start:
# 101 is "not allowed" in Debian's policy for init scripts.
set -eu
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get -q update
# $1 is a list of names on purpose.
# shellcheck disable=SC2086
apt-get -y -q --no-install-recommends -o APT::Keep-Downloaded-Packages=true install $1
rm /usr/sbin/policy-rc.d

# The packages whose higher versions the archive will have: what they are repacked from.
debs=/usr/share/drydock-lab/debs
mkdir -p "$debs"
cd /var/cache/apt/archives
mv libvirt*.deb openvswitch-*.deb ovn-*.deb python3-openvswitch*.deb "$debs"

# The guests' kernel is unpacked and not installed: no initramfs is made, no boot loader asked.
work=$(mktemp -d)
cd "$work"
kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/ *Depends: //p')
apt-get -q -o APT::Sandbox::User=root download "$kernel"
dpkg-deb -x ./*.deb kernel
guest=/usr/share/drydock-lab/guest
mkdir -p "$guest" tree/bin tree/modules tree/proc tree/sys tree/dev tree/www
cp kernel/boot/vmlinuz-* "$guest/vmlinuz"
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover \
    virtio_net; do
    find kernel/lib/modules -name "$module.ko" -exec cp '{}' tree/modules/ ';'
done
cp /bin/busybox tree/bin/busybox
for applet in sh mount ip insmod httpd cat sed sleep; do
    ln -s busybox "tree/bin/$applet"
done
cat >tree/init <<'INIT'
#!/bin/sh
# A guest that can be seen from outside: it answers pings, and says over HTTP which boot this is.
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in virtio virtio_ring virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci failover net_failover \
    virtio_net; do
    insmod "/modules/$module.ko"
done
address=$(sed -n 's/.*drydock\.address=\([^ ]*\).*/\1/p' /proc/cmdline)
ip link set lo up
ip addr add "$address" dev eth0
ip link set eth0 up
cat /proc/sys/kernel/random/boot_id >/www/boot
httpd -h /www -p 80
echo "drydock: the guest answers at $address"
while :; do sleep 3600; done
INIT
chmod 755 tree/init
(cd tree && find . | busybox cpio -o -H newc | gzip -1) >"$guest/initrd"
cd /
rm -rf "$work"
apt-get clean
rm -rf /var/lib/apt/lists/*

# Turns the root of a hypervisor into the lower layer of a node.
set -eu
# Each node gets an identity of its own at its first boot.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
: >/etc/resolv.conf
# Nothing but the lab's own archive is asked, which a node has from the start.
: >/etc/apt/sources.list

# No security driver and no user of their own: containers have neither.
cat >>/etc/libvirt/qemu.conf <<'CONF'
user = "root"
group = "root"
security_driver = "none"
CONF
# Networks of libvirt's own are not used.
rm -f /etc/libvirt/qemu/networks/autostart/*

systemctl enable systemd-networkd.service systemd-networkd-wait-online.service
# They start when a scenario has configured them.
for unit in libvirtd.service libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirt-guests.service \
    virtlogd.socket virtlockd.socket openvswitch-switch.service ovn-host.service ovn-central.service; do
    systemctl disable "$unit"
done
# Nothing happens in a node but what the scenario does.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty.target console-getty.service

# Turns a fresh root into the lower layer of a node.
set -eu
# Each node gets an identity of its own at its first boot.
: >/etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
: >/etc/resolv.conf

mkdir -p /etc/systemd/system/etcd.service.d
# A member that starts before its address is there ends with 1, and Debian's unit does not restart
# after that.
cat >/etc/systemd/system/etcd.service.d/10-lab.conf <<'UNIT'
[Unit]
After=network-online.target
UNIT

systemctl enable systemd-networkd.service systemd-networkd-wait-online.service
# Services start when a scenario has configured them.
for unit in etcd.service; do
    systemctl disable "$unit"
done
# Nothing happens in a node but what the scenario does.
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer getty.target console-getty.service

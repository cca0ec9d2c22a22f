# libvirt on node number $1, and the guest that is described beside it.
set -eu
# There is no hardware to ask for it, and libvirtd would invent another one at each start.
printf 'host_uuid = "6c616200-0000-4000-8000-00000000000%s"\n' "$1" >>/etc/libvirt/libvirtd.conf
systemctl enable --quiet virtlogd.socket libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service
systemctl start virtlogd.socket libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service
virsh -q define /etc/drydock-lab/guest.xml
virsh -q start "guest$1"

# The OVN controller of node number $1, and who is behind its logical port.
set -eu
n=$1
ovs-vsctl set open_vswitch . external_ids:ovn-remote=tcp:10.99.0.1:6642 \
    external_ids:ovn-encap-type=geneve external_ids:ovn-encap-ip="10.99.0.$n" \
    external_ids:ovn-bridge-datapath-type=netdev external_ids:ovn-bridge-mappings=lab:br0
systemctl enable --quiet --now ovn-host.service
ip netns add logical
ip link add logical0 type veth peer name eth0 netns logical
nsenter --net=/run/netns/logical ethtool -K eth0 tx off >/dev/null
ip -n logical link set eth0 address "02:00:00:97:00:0$n"
ip -n logical addr add "10.99.0.12$n/24" dev eth0
ip -n logical link set eth0 up
ip link set logical0 up
# OVN makes br-int by itself, a moment after its start.
ovs-vsctl --timeout=20 wait-until bridge br-int
ovs-vsctl --may-exist add-port br-int logical0 -- set interface logical0 external_ids:iface-id="port$n"

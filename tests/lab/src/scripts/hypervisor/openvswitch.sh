# The plain bridge of node number $1: br0 with a userspace datapath, secure and with no controller, so that
# without its flows it forwards nothing. The cable `uplink` is there already.
set -eu
n=$1
# The name by which OVN knows the node; Open vSwitch invents one otherwise, and again at every restart.
echo "n$n" >/etc/openvswitch/system-id.conf
systemctl enable --quiet --now openvswitch-switch.service
# A userspace datapath hands on what it gets: nobody would fill in a checksum that was left to the hardware.
ethtool -K host0 tx off >/dev/null
ethtool -K uplink tx off >/dev/null
ip link set uplink up
ovs-vsctl --may-exist add-br br0 -- set bridge br0 datapath_type=netdev fail_mode=secure \
    other_config:hwaddr="02:00:00:98:00:0$n"

# Somebody behind the bridge who is no guest.
ip netns add plain
ip link add plain0 type veth peer name eth0 netns plain
nsenter --net=/run/netns/plain ethtool -K eth0 tx off >/dev/null
ip -n plain addr add "10.99.0.11$n/24" dev eth0
ip -n plain link set eth0 up
ip link set plain0 up
ovs-vsctl --may-exist add-port br0 uplink -- --may-exist add-port br0 plain0

flows=$(mktemp)
# No meter: Debian's reload saves none, and a flow that names one makes it lose every flow of its bridge.
ovs-ofctl -O OpenFlow13 add-group br0 'group_id=1,type=select,bucket=weight:1,actions=drop'
{
    echo 'priority=0,actions=NORMAL'
    echo 'priority=200,ip,nw_dst=198.51.100.254,actions=group:1'
    i=1
    while [ $i -le 220 ]; do
        echo "cookie=0x$i,priority=100,ip,nw_dst=203.0.113.$i,actions=drop"
        i=$((i + 1))
    done
} >"$flows"
ovs-ofctl -O OpenFlow13 add-flows br0 "$flows"
rm "$flows"

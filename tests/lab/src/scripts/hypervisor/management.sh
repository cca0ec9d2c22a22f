# Moves the address by which node number $1 is reached from its first cable onto a bridge of Open vSwitch, `brm`: secure and
# with no controller, so that without its flows, and without the switch, the node is out of everybody's reach.
set -eu
n=$1
# A userspace datapath gets a copy of what the kernel gets: what comes in beside the bridge is dropped.
for link in all default host0 uplink; do
    sysctl -q -w "net.ipv4.conf.$link.rp_filter=1"
done
# While the switch is down the bridge has no carrier, and then networkd takes the address away, as it does by default.
printf '[Match]\nName=brm\n\n[Network]\nAddress=10.99.0.%s/24\nLinkLocalAddressing=no\n' "$n" \
    >/etc/systemd/network/10-brm.network
printf '[Match]\nName=host0\n\n[Network]\nLinkLocalAddressing=no\nConfigureWithoutCarrier=yes\n' \
    >/etc/systemd/network/10-host0.network
ovs-vsctl add-br brm -- set bridge brm datapath_type=netdev fail_mode=secure other_config:hwaddr="02:00:00:96:00:0$n"
flows=$(mktemp)
ovs-ofctl -O OpenFlow13 add-group brm 'group_id=7,type=select,bucket=weight:1,actions=drop'
{
    echo 'priority=0,actions=NORMAL'
    echo 'priority=200,ip,nw_dst=198.51.100.253,actions=group:7'
    i=1
    while [ $i -le 40 ]; do
        echo "cookie=0x$i,priority=100,ip,nw_dst=192.0.2.$i,actions=drop"
        i=$((i + 1))
    done
} >"$flows"
ovs-ofctl -O OpenFlow13 add-flows brm "$flows"
rm "$flows"
networkctl reload
ip addr flush dev host0
ovs-vsctl add-port brm host0
# Whoever is asked first answers for the address from now on.
tries=0
until ip -4 -o addr show dev brm | grep -q "10\.99\.0\.$n/" && ping -n -q -c 1 -W 1 -I brm 10.99.0.254 >/dev/null; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { echo "nobody answers over brm: $(networkctl --no-pager status brm)" >&2; exit 1; }
    sleep 0.2
done

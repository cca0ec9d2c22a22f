# What an outsider compares before and after, one fact a line: what it is of, a tab, what it is. No program of
# Drydock's has a part in it.
set -eu
fact() { printf '%s\t%s\n' "$1" "$2"; }

for pid_file in /run/libvirt/qemu/*.pid; do
    [ -e "$pid_file" ] || continue
    pid=$(cat "$pid_file")
    name=$(basename "$pid_file" .pid)
    # libvirt's own.
    [ "$name" != driver ] || continue
    # Field 22 counted behind the name, which may have blanks: when it was started.
    started=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 20)
    fact "guest $name" "$(virsh domuuid "$name" | head -1) $pid $started $(virsh domstate "$name" | head -1)"
done

for bridge in $(ovs-vsctl list-br); do
    fact "bridge $bridge" "$(ovs-vsctl get bridge "$bridge" datapath_type fail_mode other_config | xargs)"
    # What cannot be read is not the same as nothing.
    if flows=$(ovs-ofctl -O OpenFlow13,OpenFlow15 dump-flows --no-stats --no-names "$bridge" 2>/dev/null); then
        flows=$(printf '%s\n' "$flows" | grep -v '^OFPST\|^NXST' | sed 's/^ *//' | sort)
        fact "flows $bridge" "$(printf '%s\n' "$flows" | grep -c . || :) $(printf '%s' "$flows" | sha256sum | cut -c 1-16)"
    else
        fact "flows $bridge" unreadable
    fi
    for what in groups meters; do
        if said=$(ovs-ofctl -O OpenFlow13,OpenFlow15 "dump-$what" "$bridge" 2>/dev/null); then
            fact "$what $bridge" "$(printf '%s\n' "$said" | tail -n +2 | sort | sha256sum | cut -c 1-16)"
        else
            fact "$what $bridge" unreadable
        fi
    done
    for port in $(ovs-vsctl list-ifaces "$bridge"); do
        fact "port $bridge $port" "$(ovs-vsctl get interface "$port" ofport error type | xargs)"
    done
done
fact "flow-restore-wait" "$(ovs-vsctl --if-exists get open_vswitch . other_config:flow-restore-wait)"

systemctl list-units --type=service --state=active --plain --no-legend | cut -d ' ' -f 1 | while read -r unit; do
    fact "unit $unit" "$(systemctl show -P InvocationID "$unit")"
done

running() {
    pid=$(cat "$2" 2>/dev/null) || return 0
    fact "running $1" "$(stat -L -c %i "/proc/$pid/exe") $(readlink "/proc/$pid/exe")"
}
running ovs-vswitchd /run/openvswitch/ovs-vswitchd.pid
running ovsdb-server /run/openvswitch/ovsdb-server.pid
running ovn-controller /run/ovn/ovn-controller.pid
fact "running libvirtd" "$(stat -L -c %i "/proc/$(systemctl show -P MainPID libvirtd)/exe" 2>/dev/null)"
fact "says ovs-vswitchd" "$(ovs-appctl -t ovs-vswitchd version 2>/dev/null | head -1 | sed 's/.* //')"
fact "says ovn-controller" "$(ovn-appctl -t ovn-controller version 2>/dev/null | head -1 | sed 's/.* //')"
fact "says libvirtd" "$(virsh version --daemon | sed -n 's/Running against daemon: //p')"
dpkg-query -W -f 'package ${Package}\t${Version} ${Status}\n' 'libvirt*' 'openvswitch*' 'ovn-*' 'python3-openvswitch' | grep -v not-installed

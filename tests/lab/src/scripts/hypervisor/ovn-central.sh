# The databases of OVN, on one node, and what is in them: one switch that reaches the lab's network through each
# node's br0, with a port on each of the $1 nodes.
set -eu
systemctl enable --quiet --now ovn-central.service
# The units are there before their sockets are.
tries=0
until ovn-sbctl --timeout=5 show >/dev/null 2>&1 && ovn-nbctl --timeout=5 show >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || { echo "the databases of OVN do not answer" >&2; exit 1; }
    sleep 0.1
done
ovn-sbctl set-connection ptcp:6642:0.0.0.0
ovn-nbctl set-connection ptcp:6641:0.0.0.0
ovn-nbctl ls-add lan -- lsp-add lan lan-outside -- lsp-set-type lan-outside localnet \
    -- lsp-set-addresses lan-outside unknown -- lsp-set-options lan-outside network_name=lab
n=1
while [ $n -le "$1" ]; do
    ovn-nbctl lsp-add lan "port$n" -- lsp-set-addresses "port$n" "02:00:00:97:00:0$n 10.99.0.12$n"
    ovn-nbctl acl-add lan to-lport $((1000 + n)) "outport == \"port$n\" && tcp.dst == 2323" drop
    n=$((n + 1))
done

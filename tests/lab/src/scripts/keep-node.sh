# Runs one node until it is switched off: systemd-nspawn ends with 133 when the node wants to
# reboot, and is then started again over the same overlay. Runs in a mount namespace of its own,
# so that every mount made here is gone with the last process.
#
# Environment: GROUP_NAME (the node's control group, from the root of the hierarchy), LOWER,
# NODE_DIR (upper, work, root), PORT (the node's port of the bridge). Arguments: for
# systemd-nspawn.
set -eu
mount -t overlay overlay \
    -o "lowerdir=$LOWER,upperdir=$NODE_DIR/upper,workdir=$NODE_DIR/work" "$NODE_DIR/root"
# Only with cgroup v2 does systemd in the node know its processes.
umount -R /sys/fs/cgroup 2>/dev/null || :
mount -t cgroup2 none /sys/fs/cgroup
# systemd-nspawn leaves directories here, and refuses names that another lab uses.
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
boots=0
while :; do
    boots=$((boots + 1))
    group="/sys/fs/cgroup/$GROUP_NAME/boot$boots"
    mkdir "$group"
    # After a power loss the kernel takes its time to remove the old cable.
    ip link del "$PORT" 2>/dev/null || :
    code=0
    sh -c 'echo $$ >"$0" && exec "$@"' "$group/cgroup.procs" systemd-nspawn "$@" || code=$?
    [ "$code" = 133 ] || exit "$code"
    echo "-- the node reboots --"
done

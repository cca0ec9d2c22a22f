//! One node: a container that boots real systemd, its power and its cable. What happens inside it is
//! in [`crate::inside`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::cache::remove_tree;
use crate::cgroup::{Cgroup, JOIN};
use crate::exec;
use crate::net;
use crate::state::Record;
use crate::wait::until;
use crate::{Error, Result};

const KEEP: &str = include_str!("scripts/keep-node.sh");
/// Everything that decides whether a node is up, in one go.
const VITAL_SIGNS: &str = "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running; \
     ip -4 -o addr show dev host0 scope global";
const POLL: Duration = Duration::from_millis(50);

/// A node of a lab, on or off. Its disk (the overlay) outlives power loss and reboots.
#[derive(Debug)]
pub struct Node {
    number: usize,
    pub(crate) record: Record,
    dir: PathBuf,
    /// The container.
    group: Cgroup,
    /// What was started into it from outside.
    pub(crate) exec_group: Cgroup,
    keeper: Mutex<Option<Child>>,
    boot_deadline: Duration,
    pub(crate) started: AtomicU64,
}

impl Node {
    pub(crate) fn new(record: &Record, number: usize, boot_deadline: Duration) -> Result<Self> {
        let lab_group = Cgroup::of_lab(&record.id)?;
        Ok(Self {
            number,
            dir: record.work.join(format!("n{number}")),
            group: lab_group.child(&format!("n{number}")),
            exec_group: lab_group.child("exec"),
            record: record.clone(),
            keeper: Mutex::new(None),
            boot_deadline,
            started: AtomicU64::new(0),
        })
    }

    /// `n1`, `n2`, …: the host name, known to all nodes by `/etc/hosts`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("n{}", self.number)
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn address(&self) -> String {
        net::node_address(self.number)
    }

    /// The file with everything that the node's systemd and journal have said, over all boots.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// The upper layer of its disk: everything that was written since the base root.
    #[must_use]
    pub fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    /// Whether the node has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.group.is_populated()
    }

    /// The id of this boot of the node, read without entering it.
    ///
    /// # Errors
    /// When the node is off.
    pub fn boot_id(&self) -> Result<String> {
        self.peek_boot_id().ok_or_else(|| self.no_init())
    }

    /// Reboots in good order and waits until the node is up again.
    ///
    /// # Errors
    /// When it does not come back in time.
    pub fn reboot(&self) -> Result<()> {
        let before = self.boot_id()?;
        // The node may go down before the command has ended.
        let _ = self.exec(&["systemctl", "reboot"])?;
        self.wait_for_reboot(&before)
    }

    /// Waits until the node is up with another boot id than the one given. Nothing enters the node
    /// until it has one: systemd waits at shutdown for every process in the node, but only its own
    /// children's ends wake it, so a process that entered (by [`Node::exec`] or [`Node::spawn`])
    /// and is there at that moment delays the reboot by 10 s.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_for_reboot(&self, boot_id_before: &str) -> Result<()> {
        self.wait_until_up(Some(boot_id_before))
    }

    /// Shuts down in good order and waits until the node is off.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn power_off(&self) -> Result<()> {
        let _ = self.exec(&["systemctl", "poweroff"])?;
        until(
            &format!("{} to switch off", self.name()),
            self.boot_deadline,
            POLL,
            || Ok((!self.is_on()).then_some(())),
            || self.console_tail(),
        )?;
        self.reap();
        Ok(())
    }

    /// Takes the power away: every process of the node is killed at once. The disk keeps what was
    /// written, including what was never synced: gentler than a real power cut.
    ///
    /// # Errors
    /// When something does not die.
    pub fn power_loss(&self) -> Result<()> {
        self.group.remove()?;
        self.reap();
        Ok(())
    }

    /// Switches the node on and waits until it is up.
    ///
    /// # Errors
    /// When it is on already or does not come up in time.
    pub fn start(&self) -> Result<()> {
        self.launch()?;
        self.wait_until_up(None)
    }

    /// Cuts the node off the network: its port of the bridge goes down. Its address stays.
    ///
    /// # Errors
    /// When the port is not there: the node is off.
    pub fn cut(&self) -> Result<()> {
        net::set_port(&self.record.id, &self.port(), "down")
    }

    /// Ends [`Node::cut`].
    ///
    /// # Errors
    /// When the port is not there: the node is off.
    pub fn heal(&self) -> Result<()> {
        net::set_port(&self.record.id, &self.port(), "up")
    }

    /// Switches on without waiting; a disk is made if there is none.
    pub(crate) fn launch(&self) -> Result<()> {
        if self.is_on() {
            return Err(Error::Unfit(format!("{} is on already; switch it off first", self.name())));
        }
        self.reap();
        self.group.remove()?;
        self.make_disk()?;
        self.group.create()?;
        let keeper = self.group.child("keeper");
        keeper.create()?;
        let door = keeper.door();
        let words = ["sh".as_ref(), "-c".as_ref(), JOIN.as_ref(), door.as_os_str()];
        let Some(command) = exec::wrap(&words, &self.keeping()) else {
            return Err(Error::Unfit("no command to start".to_owned()));
        };
        let child = exec::spawn_logged(&self.purpose("booting"), command, &self.console())?;
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        Ok(())
    }

    /// Throws the disk away; the next start is from the base root.
    pub(crate) fn wipe(&self) -> Result<()> {
        self.power_loss()?;
        for layer in ["upper", "work"] {
            remove_tree(&self.dir.join(layer))?;
        }
        Ok(())
    }

    /// Waits until systemd is done booting and the network is there.
    pub(crate) fn wait_until_up(&self, boot_id_before: Option<&str>) -> Result<()> {
        let mut last = String::from("systemd does not answer yet");
        until(
            &format!("{} to be up", self.name()),
            self.boot_deadline,
            POLL,
            || {
                self.fail_if_ended()?;
                if boot_id_before.is_some() && self.peek_boot_id().as_deref() == boot_id_before {
                    "still the boot before".clone_into(&mut last);
                    return Ok(None); // Going down: nothing may enter it now.
                }
                let seen = self.vital_signs();
                let up = seen.as_deref().is_some_and(|seen| self.is_up(seen, boot_id_before));
                last = seen.unwrap_or_else(|| last.clone());
                Ok(up.then_some(()))
            },
            || self.console_tail(),
        )
        .map_err(|error| match error {
            Error::Waited { what, waited, seen } => Error::Waited {
                what,
                waited,
                seen: format!("{}; its console ends with{seen}", last.replace('\n', " | ")),
            },
            other => other,
        })
    }

    fn vital_signs(&self) -> Option<String> {
        // While it boots there may be no PID 1, or one that is not systemd yet.
        let words = ["sh", "-c", VITAL_SIGNS];
        let output = self.exec_within(Duration::from_secs(5), &words).ok()?;
        Some(output.text())
    }

    fn is_up(&self, seen: &str, boot_id_before: Option<&str>) -> bool {
        let mut lines = seen.lines();
        let boot_id = lines.next();
        let state = lines.next();
        // "degraded" is a node with a failed unit, which is for the scenario to judge.
        boot_id.is_some()
            && boot_id != boot_id_before
            && matches!(state, Some("running" | "degraded"))
            && lines.any(|line| line.contains(&format!(" {}/", self.address())))
    }

    fn fail_if_ended(&self) -> Result<()> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(status) = keeper.as_mut().and_then(|child| child.try_wait().ok().flatten()) else {
            return Ok(());
        };
        Err(Error::Command {
            purpose: self.purpose("booting"),
            command: "systemd-nspawn".to_owned(),
            outcome: format!("ended with {status}; its console ends with"),
            said: self.console_tail(),
        })
    }

    /// Collects the process that kept the container, which is dead or about to be.
    pub(crate) fn reap(&self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut child) = keeper.take() {
            exec::wait_for(&mut child, Duration::from_secs(5));
        }
    }

    /// What is on the disk before the first boot.
    fn make_disk(&self) -> Result<()> {
        let upper = self.dir.join("upper");
        if upper.exists() {
            return Ok(());
        }
        let network = upper.join("etc/systemd/network");
        for dir in [&network, &self.dir.join("work"), &self.dir.join("root")] {
            fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        }
        let write = |path: PathBuf, text: String| fs::write(&path, text).map_err(Error::io("write", &path));
        write(network.join("10-host0.network"), self.network_file())?;
        write(upper.join("etc/hostname"), format!("{}\n", self.name()))?;
        let hosts: String = (1..=self.record.nodes)
            .map(|number| format!("{} n{number}\n", net::node_address(number)))
            .collect();
        write(upper.join("etc/hosts"), format!("127.0.0.1 localhost\n::1 localhost\n{hosts}"))
    }

    /// The address stays while the carrier is lost: a cut is meant to be one behind the switch.
    fn network_file(&self) -> String {
        format!(
            "[Match]\nName=host0\n\n[Network]\nAddress={}\nLinkLocalAddressing=no\n\
             ConfigureWithoutCarrier=yes\nIgnoreCarrierLoss=yes\n",
            net::node_address_with_prefix(self.number)
        )
    }

    /// The command that keeps the container, in the lab's network and a mount namespace of its own.
    fn keeping(&self) -> Command {
        let mut command = exec::command("nsenter");
        let mut net = std::ffi::OsString::from("--net=");
        net.push(net::namespace_file(&self.record.id));
        command
            .arg(net)
            .args(["unshare", "--mount", "--propagation", "private"])
            .args(["sh", "-c", KEEP, "keep-node", "-q", "-b", "-D"])
            .arg(self.dir.join("root"))
            .args(["-M", &self.machine(), &format!("--hostname={}", self.name())])
            .args(["--register=no", "--keep-unit", "--resolv-conf=off"])
            .args(["--link-journal=no", "--timezone=off", "--console=read-only"])
            .args(["--capability=all", &format!("--network-bridge={}", net::BRIDGE)])
            // For a container runtime in the node: session keyrings, and device rules of cgroup v2.
            .arg("--system-call-filter=@keyring bpf");
        for device in ["/dev/net/tun", "/dev/kvm"] {
            if Path::new(device).exists() {
                command.arg(format!("--bind={device}"));
            }
        }
        // For systemd in the node; without them the console stays empty.
        command.args(["systemd.journald.forward_to_console=1", "systemd.log_color=0"]);
        command
            .env("GROUP_NAME", self.group_name())
            .env("PORT", self.port())
            .env("LOWER", &self.record.root)
            .env("NODE_DIR", &self.dir);
        command
    }

    fn group_name(&self) -> String {
        format!("drydock-lab-{}/{}", self.record.id, self.name())
    }

    fn machine(&self) -> String {
        format!("{}-{}", self.record.id, self.name())
    }

    /// systemd-nspawn's name for the host's end of the cable.
    fn port(&self) -> String {
        format!("vb-{}", self.machine())
    }

    /// The host's id of the node's PID 1: the process that is number 1 in the outermost PID
    /// namespace below ours (a node may have containers of its own).
    pub(crate) fn init_pid(&self) -> Option<i32> {
        self.group
            .pids()
            .into_iter()
            .filter_map(|pid| Some((namespaces_if_first(pid)?, pid)))
            .min()
            .map(|(_, pid)| pid)
    }

    /// The node's root directory as the host reaches it while this boot lasts.
    ///
    /// # Errors
    /// When the node is off.
    pub fn root(&self) -> Result<PathBuf> {
        let init = self.init_pid().ok_or_else(|| self.no_init())?;
        Ok(PathBuf::from(format!("/proc/{init}/root")))
    }

    /// The host's ids of all processes of the container.
    pub(crate) fn container_pids(&self) -> Vec<i32> {
        self.group.pids()
    }

    fn peek_boot_id(&self) -> Option<String> {
        let init = self.init_pid()?;
        let path = format!("/proc/{init}/root/proc/sys/kernel/random/boot_id");
        let text = fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned())
    }

    pub(crate) fn no_init(&self) -> Error {
        Error::Unfit(format!(
            "{} has no running PID 1; start it first. Its console ends with{}",
            self.name(),
            self.console_tail()
        ))
    }

    pub(crate) fn purpose(&self, what: &str) -> String {
        format!("{what} on {}", self.name())
    }

    pub(crate) fn console_tail(&self) -> String {
        exec::last_lines(&fs::read(self.console()).unwrap_or_default())
    }
}

/// In how many PID namespaces a process is, if it is number 1 in the innermost.
fn namespaces_if_first(pid: i32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("NSpid:"))?;
    let pids: Vec<&str> = line.split_whitespace().skip(1).collect();
    (pids.len() > 1 && pids.last() == Some(&"1")).then_some(pids.len())
}
